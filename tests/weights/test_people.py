"""The drawn people: repeatable, of every shape, with faces that a detector finds."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from weights.recipe.captions import caption, sample_captions, vocabulary
from weights.recipe.draw import ASPECTS, draw, main, sample, size_of
from weights.recipe.people import SCENES, sample_person, sample_shot

DETECTOR = Path(__file__).parents[2] / "weights" / "faces" / "face_detection.onnx"


def faces(image: npt.NDArray[np.uint8], detector: object) -> list[npt.NDArray[np.float32]]:
    """Boxes (x0, y0, x1, y1 in pixels of 192) that BlazeFace finds, overlaps merged."""
    h, w = image.shape[:2]
    side = max(h, w)
    square = np.zeros((side, side, 3), np.uint8)
    square[(side - h) // 2 : (side - h) // 2 + h, (side - w) // 2 : (side - w) // 2 + w] = image
    small = cv2.resize(square, (192, 192), interpolation=cv2.INTER_LINEAR)
    given = (small.astype(np.float32) / 127.5 - 1)[None]
    first, second = detector.run(None, {"input": given})  # type: ignore[attr-defined]
    boxes, logits = (first, second) if first.shape[-1] == 16 else (second, first)
    score = 1 / (1 + np.exp(-np.clip(logits[0, :, 0], -50, 50)))
    cell = np.stack(np.meshgrid(np.arange(48), np.arange(48)), -1).reshape(-1, 2)
    centre = boxes[0, :, :2] + (cell + 0.5) * 4
    found = np.concatenate([centre - boxes[0, :, 2:4] / 2, centre + boxes[0, :, 2:4] / 2], 1)
    kept: list[npt.NDArray[np.float32]] = []
    for i in np.argsort(-score):
        if score[i] <= 0.5:
            break
        box = found[i]
        for other in kept:
            lo, hi = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
            shared = float(np.prod(np.clip(hi - lo, 0, None)))
            both = float(np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]))
            if shared / (both - shared) > 0.3:
                break
        else:
            kept.append(box)
    return kept


def test_a_sample_depends_on_seed_and_index_alone() -> None:
    sample(4, 1)
    one, two, other = sample(4, 2), sample(4, 2), sample(4, 3)
    assert np.array_equal(one.image, two.image)
    assert (one.caption, one.person, one.shot) == (two.caption, two.person, two.shot)
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize("size", [(256, 256), *ASPECTS])
def test_every_shape(size: tuple[int, int]) -> None:
    image = sample(1, 5, size).image
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    assert image.std() > 20


def test_every_scene_has_its_own_colours() -> None:
    rng = np.random.default_rng(0)
    person = sample_person(rng)
    shot = sample_shot(rng, person)
    means = [draw(person, type(shot)(**{**vars(shot), "scene": name})).mean((0, 1)) for name in SCENES]
    gaps = [np.abs(a - b).max() for i, a in enumerate(means) for b in means[:i]]
    assert min(gaps) > 2


def test_shapes_are_shared_out() -> None:
    sizes = [size_of(1, i, 256, 0.25) for i in range(400)]
    assert 60 < sum(size != (256, 256) for size in sizes) < 140
    assert set(sizes) == {(256, 256), *ASPECTS}
    assert all(h % 16 == 0 and w % 16 == 0 for h, w in sizes)


def test_captions_keep_to_the_vocabulary() -> None:
    words = {re.sub(r"[.,]", "", word) for word in vocabulary()}
    assert len(words) <= 400
    for text in sample_captions(600, 3):
        assert {word.strip(".,") for word in text.lower().split()} <= words, text


def test_a_caption_names_what_is_drawn() -> None:
    rng = np.random.default_rng(2)
    person = sample_person(rng)
    shot = sample_shot(rng, person)
    texts = {caption(person, shot, rng) for _ in range(60)}
    assert len(texts) > 50
    others = {"man", "guy", "gentleman"} if person.gender == "woman" else {"woman", "lady"}
    assert not any(others & set(re.findall(r"\w+", text.lower())) for text in texts)


def test_one_face_is_found() -> None:
    runtime = pytest.importorskip("onnxruntime")
    if not DETECTOR.exists():
        pytest.skip("the face detector is not in weights/faces")
    detector = runtime.InferenceSession(str(DETECTOR), providers=["CPUExecutionProvider"])
    found = [len(faces(sample(11, i).image, detector)) for i in range(24)]
    assert sum(n == 1 for n in found) >= 23, found


def test_shards(tmp_path: Path) -> None:
    main(["--out", str(tmp_path), "--count", "4", "--seed", "2", "--aspects", "0.5"])
    arrays = [np.load(path) for path in sorted(tmp_path.glob("*.npy"))]
    rows = [line for path in tmp_path.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert sum(len(array) for array in arrays) == len(rows) == 4
