"""Aligned crops: where a face's five points stand in the pictures that face networks take.

Sources: ArcFace's template (Deng et al., arXiv:1801.07698) as insightface's swappers use it, FFHQ's template (Karras et
al., arXiv:1812.04948) as GFPGAN and its kin use it, and the least-squares similarity of Umeyama (PAMI 13(4), 1991).
"""

from __future__ import annotations

import numpy as np

from core.faces.arrays import FloatArray, Image
from core.faces.mesh import warp_antialiased

ARCFACE_112: FloatArray = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""5×2: right eye, left eye, nose, right and left mouth corner in the 112 × 112 crop of recognition networks."""
FFHQ_512: FloatArray = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""The same points in the 512 × 512 crop of restorers."""
_SHIFT = 8.0
"""Swappers of 128 pixels take ArcFace's template moved to the right by this much, and not scaled."""
_MIN_SPREAD = 1e-3
"""Mean squared distance of five points from their centre, in pixels, under which they make no face."""


class AlignmentError(ValueError):
    """The points of a face are not finite or fall together, so that no crop can be aligned by them."""


def swapper_template(native: int, drawn: int) -> FloatArray:
    """5×2: the points in the crop of a swapper whose network takes `native` pixels and that is cut at `drawn`.

    `drawn` is a multiple of `native`. Pixel centres are at whole numbers, so a crop that is drawn k times as large has
    the native pixel x in the middle of its pixels k·x … k·x + k − 1.
    """
    points = (ARCFACE_112 + np.array([_SHIFT, 0.0])) * (native / 128.0)
    return np.asarray((points + 0.5) * (drawn / native) - 0.5)


def similarity(points: FloatArray, template: FloatArray) -> FloatArray:
    """2×3 float64: the rotation, scale and shift that carry N×2 `points` nearest to N×2 `template`; never a mirroring.

    Raises AlignmentError for points that are not finite or fall together.
    """
    points = np.asarray(points, dtype=np.float64)
    if not np.isfinite(points).all():
        raise AlignmentError("the points of the face are not finite")
    middle, target = points.mean(axis=0), template.mean(axis=0)
    a, b = points - middle, template - target
    spread = float((a**2).sum())
    if spread < _MIN_SPREAD * len(points):
        raise AlignmentError("the points of the face fall together")
    cos = float((a * b).sum()) / spread
    sin = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / spread
    linear = np.array([[cos, -sin], [sin, cos]])
    if np.hypot(cos, sin) < 1e-9:
        raise AlignmentError("the points of the face do not lie like a face")
    return np.concatenate([linear, (target - linear @ middle)[:, None]], axis=1)


def cut(image: Image, crop_from_image: FloatArray, size: int) -> Image:
    """Draw an H×W×3 uint8 picture through a 2×3 similarity at size × size; past the border its pixels repeat."""
    return warp_antialiased(image, crop_from_image, size)


def carry(matrix: FloatArray, points: FloatArray) -> FloatArray:
    """N×2: `points` carried by a 2×3 matrix."""
    return np.asarray(points[:, :2] @ matrix[:, :2].T + matrix[:, 2])


def compose(second: FloatArray, first: FloatArray) -> FloatArray:
    """2×3: the matrix that does `first` and then `second`, both 2×3."""
    square = np.vstack([first, [0.0, 0.0, 1.0]])
    return np.asarray(second @ square)
