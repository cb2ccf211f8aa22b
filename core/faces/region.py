"""Rectangles of a picture, so that work on a face costs the face's size and not the picture's."""

from dataclasses import dataclass

import numpy as np

from core.faces.arrays import FloatArray


@dataclass(frozen=True)
class Region:
    """A rectangle of a picture, in whole pixels."""

    left: int
    top: int
    right: int
    """One past the last column."""
    bottom: int
    """One past the last row."""

    @property
    def rows(self) -> slice:
        """Its rows in the picture."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """Its columns in the picture."""
        return slice(self.left, self.right)


def region_around(points: FloatArray, shape: tuple[int, ...], margin: float) -> Region:
    """The part of a picture of `shape` around N points, with `margin` times their longer side of room on each side."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    room = margin * float((high - low).max())
    left, top = (max(0, int(np.floor(value - room))) for value in low)
    right = min(shape[1], int(np.ceil(high[0] + room)) + 1)
    bottom = min(shape[0], int(np.ceil(high[1] + room)) + 1)
    return Region(left, top, max(right, left + 1), max(bottom, top + 1))
