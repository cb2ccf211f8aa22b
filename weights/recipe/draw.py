"""Draw the training pictures: invented people in scenes, with captions.

    python -m weights.recipe.draw --out DIR --count 30000 --seed 1 --workers 32 --aspects 0.25

Sample `i` depends on the seed and `i` alone. Every shape gets shards of its own:
`WxH-NNNN.npy` (uint8, N×H×W×3) beside `WxH-NNNN.jsonl` (per picture: index, captions, face box, person, shot).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from weights.recipe.captions import caption
from weights.recipe.figure import figure, pose_of
from weights.recipe.people import Person, Shot, sample_person, sample_shot
from weights.recipe.scenes import scene

Picture = npt.NDArray[np.uint8]

ASPECTS = ((192, 336), (336, 192), (224, 288), (288, 224), (208, 320), (320, 208))
"""Heights and widths of about 256²; scaled for another `--size`."""
SHARD = 512
DEFOCUS = 0.009
"""Blur of the scene, as a share of the shorter side."""
CAPTIONS = 6
"""Wordings a picture."""


@dataclass(frozen=True)
class Sample:
    """One training picture."""

    index: int
    image: Picture
    """h×w×3 uint8 RGB."""
    caption: str
    person: Person
    shot: Shot


def draw(person: Person, shot: Shot, size: tuple[int, int] = (256, 256)) -> Picture:
    """`person` in `shot` as an h×w×3 uint8 RGB picture of `size` (height, width)."""
    back = scene(shot.scene, shot.seed, size).astype(np.float32) / np.float32(255)
    # A lens open wide: what lies behind stays soft, so that a small model spends itself on the person.
    back = np.asarray(cv2.GaussianBlur(back, (0, 0), DEFOCUS * min(size)), np.float32)
    ambience = back.mean((0, 1))
    front = figure(person, shot, size, ambience)
    image = front[..., :3] + back * (1 - front[..., 3:])
    warm = np.array([1 + 0.02 * shot.warmth, 1, 1 - 0.03 * shot.warmth], np.float32)
    return np.asarray(np.clip(image * warm * 255 + 0.5, 0, 255), dtype=np.uint8)


def face_box(person: Person, shot: Shot, size: tuple[int, int] = (256, 256)) -> tuple[float, float, float, float]:
    """The face from the brows to the chin: left, top, right, bottom as shares of width and height."""
    corners = [(x, y, 0.6) for x in (-0.85, 0.85) for y in (-0.6, 1.6)]
    points = pose_of(person, shot, size).project(corners) / (size[1], size[0])
    low, high = points.min(0), points.max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def size_of(seed: int, index: int, size: int, aspects: float) -> tuple[int, int]:
    """Height and width of sample `index`: a square, or with odds `aspects` another shape."""
    rng = np.random.default_rng((seed, index, 1))
    if rng.random() >= aspects:
        return size, size
    h, w = ASPECTS[int(rng.integers(len(ASPECTS)))]
    return round(h * size / 4096) * 16, round(w * size / 4096) * 16


def sample(seed: int, index: int, size: tuple[int, int] = (256, 256)) -> Sample:
    """The sample that belongs to `seed` and `index`, in a shape."""
    rng = np.random.default_rng((seed, index))
    person = sample_person(rng)
    shot = sample_shot(rng, person)
    return Sample(index, draw(person, shot, size), caption(person, shot, rng), person, shot)


def _shard(job: tuple[int, list[int], tuple[int, int], str, str]) -> int:
    seed, indices, size, folder, name = job
    cv2.setNumThreads(1)
    samples = [sample(seed, i, size) for i in indices]
    np.save(Path(folder) / f"{name}.npy", np.stack([s.image for s in samples]))
    with (Path(folder) / f"{name}.jsonl").open("w", encoding="utf-8") as out:
        for s in samples:
            more = np.random.default_rng((seed, s.index, 2))
            row = {
                "index": s.index,
                "captions": [s.caption, *(caption(s.person, s.shot, more) for _ in range(CAPTIONS - 1))],
                "face_box": face_box(s.person, s.shot, size),
                "person": asdict(s.person),
                "shot": asdict(s.shot),
            }
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(samples)


def shards(
    count: int, seed: int, size: int, aspects: float, length: int
) -> Iterator[tuple[list[int], tuple[int, int], str]]:
    """The samples' indices by shape, in shards of at most `length`: indices, (h, w), name."""
    shapes: dict[tuple[int, int], list[int]] = {}
    for i in range(count):
        shapes.setdefault(size_of(seed, i, size, aspects), []).append(i)
    for (h, w), indices in sorted(shapes.items()):
        for n, start in enumerate(range(0, len(indices), length)):
            yield indices[start : start + length], (h, w), f"{w}x{h}-{n:04d}"


def sheet(seed: int, count: int, columns: int = 8, size: tuple[int, int] = (256, 256)) -> Picture:
    """A contact sheet of the first `count` samples: uint8 RGB."""
    images = [sample(seed, i, size).image for i in range(count)]
    images += [np.zeros_like(images[0])] * (-count % columns)
    rows = [np.hstack(images[i : i + columns]) for i in range(0, len(images), columns)]
    return np.vstack(rows)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="weights.recipe.draw",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, help="folder for the shards")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of --count pictures here")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--size", type=int, default=256, help="side of the square pictures, a multiple of 16")
    parser.add_argument("--aspects", type=float, default=0.0, help="share of pictures in other shapes, 0..1")
    parser.add_argument("--shard", type=int, default=SHARD, help="pictures a shard")
    args = parser.parse_args(arguments)
    if args.out is None and args.sheet is None:
        parser.error("name --out, --sheet or both")
    if args.size % 16:
        parser.error("--size must be a multiple of 16")
    if args.sheet is not None:
        image = sheet(args.seed, args.count, size=(args.size, args.size))
        cv2.imwrite(str(args.sheet), image[..., ::-1])
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        length = max(1, min(args.shard, -(-args.count // max(args.workers, 1))))
        jobs = [
            (args.seed, *part[:2], str(args.out), part[2])
            for part in shards(args.count, args.seed, args.size, args.aspects, length)
        ]
        done = 0
        with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
            for drawn in pool.map(_shard, jobs):
                done += drawn
                print(f"{done}/{args.count}", flush=True)


if __name__ == "__main__":
    main()
