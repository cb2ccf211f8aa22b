from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra inswapper is not installed")
pytest.importorskip("insightface.model_zoo.inswapper", reason="the extra inswapper is not installed")

from bench.paste import Ours, Scene, Theirs, main, make_scene, measure
from core.faces import FaceAnalyser
from core.faces.alignment import cut
from core.runtime.images import decode_image


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(FaceAnalyser(threads=2), 320)


def test_the_face_is_half_as_wide_as_the_picture(scene: Scene) -> None:
    assert scene.image.shape == (320, 320, 3)
    assert scene.face_pixels == pytest.approx(160, rel=0.1)


def test_both_paste_the_same_crop_in_the_same_place_and_only_ours_leaves_the_background(scene: Scene) -> None:
    theirs = Theirs()
    figures, own, other = measure(scene, theirs, runs=1)
    assert set(figures["processor_milliseconds"]) == {"mask", "paste", "insightface"}
    assert all(value > 0 for value in figures["processor_milliseconds"].values())
    ours = Ours.of(scene)
    drawn = theirs.crop(scene)
    surroundings = ours.mask() == 0
    middle = (slice(60, 80), slice(55, 75))
    crops = {name: cut(picture, ours.matrix, 128).astype(float) for name, picture in (("own", own), ("other", other))}
    for crop in crops.values():
        assert np.abs(crop[middle] - drawn[middle]).mean() < 3
    before = ours.cut_out * 255
    assert np.abs(crops["own"] - before)[surroundings].mean() < 1
    assert np.abs(crops["other"] - before)[surroundings].mean() > 5


def test_the_figures_and_the_picture_are_written(tmp_path: Path) -> None:
    written, picture = tmp_path / "paste.json", tmp_path / "both.jpg"
    options = ["--sides", "256", "--runs", "1", "--no-memory", "--output", str(written), "--picture", str(picture)]
    main(options)
    document = json.loads(written.read_text(encoding="utf-8"))
    assert [entry["side"] for entry in document["sizes"]] == [256]
    assert document["machine"]["cores"] > 0
    height, width, _ = decode_image(picture.read_bytes(), field="picture").shape
    assert height == width
