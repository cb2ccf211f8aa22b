"""Pictures with faces: the public-domain portrait of the examples, and people that the miniature's recipe draws."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from core.faces.arrays import Image
from core.runtime.images import decode_image, encode_image
from weights.recipe.draw import draw, sample
from weights.recipe.people import sample_person, sample_shot

_ROOT = Path(__file__).resolve().parents[2]
_DRAWN_SEED = 901
BARE = (2, 7, 8, 10, 12, 14, 17, 18, 20, 21)
"""Indexes of drawn people without glasses."""
BESPECTACLED = (1, 3)
"""Indexes of drawn people with broad glasses."""


@cache
def portrait() -> Image:
    """A photo of a woman who looks into the camera, 512 × 512 or near."""
    image = decode_image((_ROOT / "examples" / "reference.jpg").read_bytes(), field="reference")
    image.setflags(write=False)
    return image


@cache
def drawn(index: int = BARE[0], size: int = 256) -> Image:
    """A drawn person, head or half shot."""
    image = np.ascontiguousarray(sample(_DRAWN_SEED, index, (size, size)).image)
    image.setflags(write=False)
    return image


@cache
def shots(person: int, count: int = 4, size: int = 384) -> tuple[Image, ...]:
    """Several drawn pictures of one person, in scenes and poses of their own."""
    drawn_person = sample_person(np.random.default_rng((5, person)))
    pictures = []
    for number in range(count):
        shot = sample_shot(np.random.default_rng((6, person, number)), drawn_person)
        picture = np.ascontiguousarray(draw(drawn_person, shot, (size, size)))
        picture.setflags(write=False)
        pictures.append(picture)
    return tuple(pictures)


def side_by_side(*images: Image) -> Image:
    """The pictures in a row, on a common height of 512."""
    height = 512
    row = [cv2.resize(image, (round(image.shape[1] * height / image.shape[0]), height)) for image in images]
    return np.ascontiguousarray(np.hstack(row))


def group_photo() -> Image | None:
    """The photo of six people that the insightface package ships; None where that is not installed."""
    from importlib.util import find_spec

    spec = find_spec("insightface")
    if spec is None or spec.origin is None:
        return None
    return decode_image((Path(spec.origin).parent / "data" / "images" / "t1.jpg").read_bytes(), field="t1")


def png(image: Image) -> bytes:
    """The picture as a PNG file."""
    return encode_image(image).data
