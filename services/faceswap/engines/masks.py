"""Masks of a face, drawn from its mesh: oval, features, soft and hard borders."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from core.faces import landmarks
from core.faces.arrays import FloatArray

_TEMPLES = (
    (21, 162, 127, 234, 93, 123, 111, 35, 124, 156, 71),
    (251, 389, 356, 454, 323, 352, 340, 265, 353, 383, 301),
)
"""Outlines of the temples, from the forehead down to the cheek bones."""


_FOREHEAD_RIM = (251, 284, 332, 297, 338, 10, 109, 67, 103, 54, 21)
"""Where the forehead ends at the outline."""


def smoothstep(low: float, high: float, values: FloatArray) -> FloatArray:
    """0 up to `low`, 1 from `high`, smooth between; falls when `low` is above `high`."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def fill(points: FloatArray, indexes: Sequence[int], size: tuple[int, int], *, hull: bool = False) -> FloatArray:
    """An H×W float32 mask, 1 inside the polygon of these points (or inside their convex hull)."""
    polygon = np.rint(points[list(indexes), :2] * 16).astype(np.int32)
    if hull:
        polygon = np.asarray(cv2.convexHull(polygon), dtype=np.int32)
    mask = np.zeros(size, dtype=np.uint8)
    cv2.fillPoly(mask, [polygon], 1, shift=4)
    return np.asarray(mask.astype(np.float32))


def grow(mask: FloatArray, radius: float) -> FloatArray:
    """Dilate a mask of 0 and 1 by `radius` pixels; a wide radius is rounded to a few per cent."""
    return _morph(mask, radius, cv2.MORPH_DILATE)


def erode(mask: FloatArray, radius: float) -> FloatArray:
    """Erode a mask of 0 and 1 by `radius` pixels; a wide radius is rounded to a few per cent."""
    return _morph(mask, radius, cv2.MORPH_ERODE)


def _morph(mask: FloatArray, radius: float, operation: int) -> FloatArray:
    # The cost grows with the square of the radius, so a wide one works on a smaller mask.
    factor = max(1, int(radius / 4))
    small = mask if factor == 1 else scaled(mask, (mask.shape[1] // factor, mask.shape[0] // factor))
    changed = np.asarray(cv2.morphologyEx(small, operation, _disc(radius / factor)), dtype=np.float32)
    return changed if factor == 1 else scaled(changed, mask.shape[1::-1])


def blur(values: FloatArray, sigma: float) -> FloatArray:
    """Gaussian blur of a float32 picture; a wide one is worked out on a smaller picture."""
    factor = max(1, int(sigma / 3))
    if factor == 1 or min(values.shape[:2]) < 4 * factor:
        return _gauss(values, max(sigma, 0.3))
    small = scaled(values, (values.shape[1] // factor, values.shape[0] // factor))
    return scaled(_gauss(small, sigma / factor), values.shape[1::-1])


def _gauss(values: FloatArray, sigma: float) -> FloatArray:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))


def scaled(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Resize to `size` (width, height) without aliasing, float32."""
    size = (max(1, size[0]), max(1, size[1]))
    flags = cv2.INTER_AREA if size[0] < values.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, size, interpolation=flags), dtype=np.float32)


def _disc(radius: float) -> NDArray[np.uint8]:
    size = max(1, round(radius)) * 2 + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), dtype=np.uint8)


def soften(mask: FloatArray, radius: float) -> FloatArray:
    """Grow a mask by about `radius` pixels and let it fall off smoothly; float32, 0–1."""
    return smoothstep(0.0, 1.0, blur(grow(mask, radius * 0.7), radius)).astype(np.float32)


def inner_oval(points: FloatArray, size: tuple[int, int], width: float, erode: float, feather: float) -> FloatArray:
    """The face's oval, eroded by `erode` and feathered over `feather` face widths, 0–1."""
    distance = cv2.distanceTransform(fill(points, landmarks.OVAL, size).astype(np.uint8), cv2.DIST_L2, 5)
    return smoothstep(erode * width, (erode + feather) * width, np.asarray(distance)).astype(np.float32)


def lips_and_eyes(points: FloatArray, size: tuple[int, int]) -> FloatArray:
    """What has a colour of its own in every face. 0 or 1."""
    polygons = (landmarks.RIGHT_EYE, landmarks.LEFT_EYE, landmarks.LIPS_OUTER)
    return np.asarray(np.max([fill(points, polygon, size) for polygon in polygons], axis=0))


def middle(points: FloatArray, size: tuple[int, int], width: float) -> FloatArray:
    """The part of the face with brows, eyes, nose and mouth, 0–1, with a soft border."""
    brows, eyes = (*landmarks.RIGHT_BROW, *landmarks.LEFT_BROW), (*landmarks.RIGHT_EYE, *landmarks.LEFT_EYE)
    inside = fill(points, (*brows, *eyes, *landmarks.LIPS_OUTER), size, hull=True)
    return blur(grow(inside, 0.03 * width), 0.035 * width)


def around_brows(points: FloatArray, size: tuple[int, int], radius: float) -> FloatArray:
    """The brows and what is within `radius` pixels of them. 0 or 1."""
    brows = (fill(points, brow, size, hull=True) for brow in (landmarks.RIGHT_BROW, landmarks.LEFT_BROW))
    return grow(np.maximum(*brows), radius)


def forehead(points: FloatArray, size: tuple[int, int], width: float, beyond: float = 0.0) -> FloatArray:
    """Forehead and temples, where hair hangs into the face; 0–1, with a soft border that does not reach the brows.

    With `beyond` the forehead goes on above the outline by so many face widths, so that it has no soft border there.
    """
    bare = 1 - around_brows(points, size, 0.02 * width)
    if beyond:
        up = points[landmarks.FOREHEAD_TOP] - points[landmarks.NOSE_BRIDGE]
        points = points.copy()
        points[list(_FOREHEAD_RIM)] += up * (beyond * width / max(float(np.linalg.norm(up[:2])), 1e-6))
    above = erode(fill(points, landmarks.FOREHEAD, size, hull=True) * bare, 0.02 * width)
    beside = np.max([fill(points, temple, size) for temple in _TEMPLES], axis=0)
    return blur(np.maximum(above, beside * bare), 0.02 * width)


def features(points: FloatArray, size: tuple[int, int], width: float) -> FloatArray:
    """Eyes, brows, lips and nostrils: what is not skin in every face. 0 or 1."""
    mask = lips_and_eyes(points, size)
    for polygon in (landmarks.RIGHT_BROW, landmarks.LEFT_BROW):
        mask = np.maximum(mask, fill(points, polygon, size, hull=True))
    mask = np.maximum(mask, fill(points, (98, 97, 2, 326, 327, 294, 19, 64), size, hull=True))
    return grow(mask, 0.035 * width)
