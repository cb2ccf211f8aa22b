"""Aspect buckets and the boxes that are cut from a photo to fill them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from core.qwen.profile import Size, Sizes
from core.training.settings import Framing

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

_REACH: dict[Framing, Box] = {
    Framing.HEAD: (1.15, 1.3, 1.15, 1.1),
    Framing.HALF_BODY: (2.3, 1.6, 2.3, 3.6),
}
"""How far a crop reaches from the middle of the face: left, up, right, down, in heights of the face."""


@dataclass(frozen=True)
class Cut:
    """A part of a photo and the bucket that it fills."""

    framing: Framing
    box: tuple[int, int, int, int]
    """Left, top, right, bottom in the photo's pixels."""
    size: Size
    """Of the bucket."""

    @property
    def enlargement(self) -> float:
        """Pixels of the bucket for one of the photo, along a side."""
        return self.size.width / (self.box[2] - self.box[0])

    def take(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Cut it out of its photo, uint8 H×W×3, and bring it to the bucket's size."""
        left, top, right, bottom = self.box
        shrinks = self.enlargement < 1
        resized = cv2.resize(
            rgb[top:bottom, left:right],
            (self.size.width, self.size.height),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
        )
        return np.asarray(resized, dtype=np.uint8)

    def shares(self, box: Box) -> Box:
        """Return a box of the photo as shares of the cut's width and height; parts outside lie beyond 0–1."""
        left, top, right, bottom = self.box
        width, height = right - left, bottom - top
        return ((box[0] - left) / width, (box[1] - top) / height, (box[2] - left) / width, (box[3] - top) / height)


def buckets_of(sizes: Sizes, side: int) -> tuple[Size, ...]:
    """Return the profile's shapes at the area of a square of ``side`` pixels, in multiples that the model takes."""
    result = []
    for size in sizes.by_aspect_ratio.values():
        scale = side / math.sqrt(size.pixels)
        width, height = (max(1, round(v * scale / sizes.multiple)) * sizes.multiple for v in (size.width, size.height))
        result.append(Size(width=width, height=height))
    return tuple(dict.fromkeys(result))


def plan_cut(framing: Framing, face: Box, photo: tuple[int, int], buckets: tuple[Size, ...]) -> Cut:
    """Choose the box of a framing and its bucket.

    Args:
        framing: how much to show.
        face: the face's box in the photo.
        photo: width and height of the photo.
        buckets: what there is to fill.
    """
    wanted = _wanted(framing, face, photo)
    ratio = (wanted[2] - wanted[0]) / (wanted[3] - wanted[1])
    size = min(buckets, key=lambda bucket: abs(math.log(bucket.width / bucket.height / ratio)))
    return Cut(framing, _fit(wanted, size.width / size.height, photo, face), size)


def covers(first: Cut, second: Cut) -> float:
    """Return the intersection over union of two cuts' boxes."""
    a, b = first.box, second.box
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _wanted(framing: Framing, face: Box, photo: tuple[int, int]) -> Box:
    if framing is Framing.WHOLE:
        return 0.0, 0.0, float(photo[0]), float(photo[1])
    x, y, height = (face[0] + face[2]) / 2, (face[1] + face[3]) / 2, face[3] - face[1]
    left, up, right, down = (reach * height for reach in _REACH[framing])
    return max(0.0, x - left), max(0.0, y - up), min(float(photo[0]), x + right), min(float(photo[1]), y + down)


def _fit(wanted: Box, ratio: float, photo: tuple[int, int], face: Box) -> tuple[int, int, int, int]:
    """Give the box the ratio: wider or higher where the photo has room, else smaller, with the face inside."""
    width, height = wanted[2] - wanted[0], wanted[3] - wanted[1]
    if width / height < ratio:
        width = height * ratio
    else:
        height = width / ratio
    shrink = min(1.0, photo[0] / width, photo[1] / height)
    width, height = width * shrink, height * shrink
    left = _place((wanted[0] + wanted[2]) / 2, width, photo[0], face[0], face[2])
    top = _place((wanted[1] + wanted[3]) / 2, height, photo[1], face[1], face[3])
    right, bottom = min(photo[0], round(left + width)), min(photo[1], round(top + height))
    return round(left), round(top), max(round(left) + 1, right), max(round(top) + 1, bottom)


def _place(middle: float, length: float, limit: int, low: float, high: float) -> float:
    """Return where a stretch around ``middle`` begins, moved to hold ``low`` to ``high`` and stay in 0 to ``limit``."""
    start = middle - length / 2
    start = min(start, max(0.0, low - 0.1 * (high - low)))
    start = max(start, high + 0.1 * (high - low) - length)
    return min(max(0.0, start), limit - length)
