"""How many faces are found, whatever their turn and size, and how many are found where there are none.

Each face of a set is turned by eighths on a grey ground. It counts as found when its five points lie within a fifth of
its width of where the turn has carried them; every other face is one too many. Sets: the portrait of the examples,
people that the miniature's recipe draws (those of the tests, and others that nothing was chosen by), the group photo
that the insightface package ships, and heads of 24 to 96 pixels in a drawn scene. Pictures without people: drawn
scenes, and scikit-image's photos, whole and in halves. It needs the packages of the development environment.

    OMP_NUM_THREADS=1 python -m bench.detection [--output bench/results/detection.json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from bench.report import machine
from core.faces import Face, FaceAnalyser
from core.faces.arrays import FloatArray, Image
from core.runtime.images import decode_image
from tests.support.faces import BARE, BESPECTACLED, drawn, group_photo, portrait, shots
from weights.recipe.draw import sample
from weights.recipe.scenes import PAINTERS, scene

EIGHT_TURNS = tuple(range(0, 360, 45))
SIZES = (24, 32, 48, 96)
PHOTOS_WITHOUT_PEOPLE = (
    "brick.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "color.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "logo.png",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
"""Of scikit-image: a cat and antique coins are among them, which have faces that are nobody's."""
_OTHERS_SEED = 777
_SCENE_SIDE = 1000
_HEADS = 3
"""Drawn people whose small heads are looked for, beside the portrait's."""


@dataclass(frozen=True)
class Count:
    """Faces of a set."""

    found: int = 0
    shown: int = 0
    too_many: int = 0

    def __add__(self, other: Count) -> Count:
        """Both together."""
        return Count(self.found + other.found, self.shown + other.shown, self.too_many + other.too_many)


def turned(image: Image, degrees: int) -> tuple[Image, FloatArray]:
    """Turn a picture clockwise on a grey ground that holds all of it; return it with the 2×3 matrix that did it."""
    height, width = image.shape[:2]
    side = int(np.ceil(np.hypot(height, width)))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    canvas = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_CONSTANT, borderValue=(128, 128, 128))
    return np.asarray(canvas, dtype=np.uint8), np.asarray(matrix)


def found_at(faces: Sequence[Face], landmarks: FloatArray, width: float) -> Face | None:
    """Return the face whose five points lie where they should, within a fifth of its width."""
    for face in faces:
        if np.linalg.norm(face.landmarks - landmarks, axis=1).mean() < 0.2 * width:
            return face
    return None


def count_turns(analyser: FaceAnalyser, image: Image, *, thorough: bool) -> Count:
    """Look for the faces of an upright picture in eight turns of it."""
    upright = analyser.analyse(image, attributes=False, thorough=thorough)
    total = Count()
    for degrees in EIGHT_TURNS:
        canvas, matrix = turned(image, degrees)
        faces = analyser.analyse(canvas, attributes=False, thorough=thorough)
        places = [face.landmarks @ matrix[:, :2].T + matrix[:, 2] for face in upright]
        seen = [found_at(faces, place, face.width) is not None for face, place in zip(upright, places, strict=True)]
        total += Count(sum(seen), len(upright), len(faces) - sum(seen))
    return total


def count_sizes(analyser: FaceAnalyser, image: Image, size: int) -> Count:
    """Look for the picture's head, `size` pixels wide, in eight turns somewhere in a drawn scene."""
    (large,) = analyser.analyse(image, attributes=False)
    x, y, width, height = large.detection.box
    left, top = max(0, int(x - 0.5 * width)), max(0, int(y - 0.5 * height))
    head = image[top : int(y + 1.5 * height), left : int(x + 1.5 * width)]
    factor = size / large.width
    small = np.asarray(cv2.resize(head, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    ground = scene("beach", 3, (512, 512))
    ground = np.asarray(cv2.resize(ground, (_SCENE_SIDE, _SCENE_SIDE)), dtype=np.uint8)
    total = Count()
    for number, degrees in enumerate(EIGHT_TURNS):
        patch, matrix = turned(small, degrees)
        inside, _ = turned(np.full_like(small, 255), degrees)
        corner = np.array([130 + 79 * number, 640 - 53 * number])
        picture = ground.copy()
        part = picture[corner[1] : corner[1] + patch.shape[0], corner[0] : corner[0] + patch.shape[1]]
        # Without the grey around a turned head, which is a shape of its own.
        np.copyto(part, patch, where=inside > 254)
        points = (large.landmarks - (left, top) + 0.5) * factor - 0.5
        faces = analyser.analyse(picture, attributes=False)
        seen = found_at(faces, points @ matrix[:, :2].T + matrix[:, 2] + corner, size) is not None
        total += Count(int(seen), 1, len(faces) - int(seen))
    return total


def other_people() -> list[Image]:
    """Draw 32 people of whom no threshold was chosen."""
    singles = [np.ascontiguousarray(sample(_OTHERS_SEED, index, (320, 320)).image) for index in range(24)]
    return singles + [shot for person in range(30, 34) for shot in shots(person, 2, 320)]


def empty_scenes() -> list[Image]:
    """Draw 53 scenes without people."""
    pictures = [scene(name, seed, (256, 256)) for name in PAINTERS for seed in range(5)]
    more = [scene("night city", 2, (512, 512)), scene("garden", 2, (512, 512)), scene("street", 0, (1024, 768))]
    return [*pictures, *more]


def empty_photos() -> Iterator[Image]:
    """Read scikit-image's photos without people: each whole, and its left and right half."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    for name in PHOTOS_WITHOUT_PEOPLE:
        image = decode_image((folder / name).read_bytes(), field=name)
        middle = image.shape[1] // 2
        yield from (image, np.ascontiguousarray(image[:, :middle]), np.ascontiguousarray(image[:, middle:]))


def count_empty(analyser: FaceAnalyser, pictures: Sequence[Image] | Iterator[Image]) -> dict[str, int]:
    """Count pictures and the faces that are found in them, by the thorough search."""
    faces = [len(analyser.analyse(picture, attributes=False, thorough=True)) for picture in pictures]
    return {"pictures": len(faces), "faces": sum(faces)}


def _sum(counts: Iterator[Count]) -> Count:
    total = Count()
    for count in counts:
        total += count
    return total


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--people", type=int, default=1000, help="most people of a set")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    chosen = parser.parse_args(arguments)
    cv2.setNumThreads(chosen.threads)
    analyser = FaceAnalyser(threads=chosen.threads)
    drawn_people = [drawn(index, 320) for index in (*BARE, *BESPECTACLED)][: chosen.people]
    others, group = other_people()[: chosen.people], group_photo()
    heads = [portrait(), *drawn_people[:_HEADS]]
    sets: dict[str, Callable[[], Count]] = {
        "portrait": lambda: count_turns(analyser, portrait(), thorough=False),
        "drawn people of the tests": lambda: _sum(count_turns(analyser, i, thorough=False) for i in drawn_people),
        "other drawn people": lambda: _sum(count_turns(analyser, image, thorough=False) for image in others),
    }
    if group is not None:
        sets["group photo"] = lambda: count_turns(analyser, group, thorough=False)
        sets["group photo, thorough"] = lambda: count_turns(analyser, group, thorough=True)
    for size in SIZES:
        sets[f"heads of {size} pixels in a scene"] = lambda size=size: _sum(  # type: ignore[misc]
            count_sizes(analyser, image, size) for image in heads
        )
    turns = {}
    for name, count in sets.items():
        began = time.process_time()
        turns[name] = asdict(count()) | {"processor_seconds": round(time.process_time() - began, 1)}
        print(name, json.dumps(turns[name]), flush=True)
    empty = {"drawn scenes": count_empty(analyser, empty_scenes()), "photos": count_empty(analyser, empty_photos())}
    print(json.dumps(empty))
    if chosen.output:
        document = {
            "machine": machine("onnxruntime", "opencv-python-headless", "numpy"),
            "eight_turns": turns,
            "without_people": empty,
        }
        chosen.output.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
