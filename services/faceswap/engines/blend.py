"""Blending without a visible border, and the measure of one.

Source: Burt and Adelson, "A Multiresolution Spline With Application to Image Mosaics", ACM TOG 2(4), 1983.
"""

import cv2
import numpy as np

from core.faces.arrays import FloatArray, IntArray

_MAX_LEVELS = 6


def blend_bands(inside: FloatArray, outside: FloatArray, mask: FloatArray, levels: int) -> FloatArray:
    """Blend two H×W×C float32 pictures by an H×W mask (0–1), each band of frequencies over its own width."""
    levels = max(1, min(levels, _MAX_LEVELS, int(np.log2(max(2, min(mask.shape)))) - 1))
    difference = inside - outside
    weights = [mask]
    bands: list[FloatArray] = []
    current: FloatArray = difference
    for _ in range(levels - 1):
        smaller = np.asarray(cv2.pyrDown(current), dtype=np.float32)
        bands.append(current - cv2.pyrUp(smaller, dstsize=(current.shape[1], current.shape[0])))
        current = smaller
        weights.append(np.asarray(cv2.pyrDown(weights[-1]), dtype=np.float32))
    total: FloatArray = current * weights[-1][..., None]
    for band, weight in zip(reversed(bands), reversed(weights[:-1]), strict=True):
        larger = cv2.pyrUp(total, dstsize=(band.shape[1], band.shape[0]))
        total = np.asarray(larger + band * weight[..., None], dtype=np.float32)
    return np.asarray(outside + total)


def seam_ratio(before: FloatArray, after: FloatArray, mask: FloatArray) -> float:
    """Mean colour gradient across the mask's border after, divided by the same before; near 1 is no seam.

    Pictures are H×W×3 in 0–255, the mask is H×W in 0–1. The border is where the mask changes most; the gradient is
    taken along the mask's own, over two pixels. One gray level is added to both means, so that an even background
    does not divide by zero.
    """
    smooth = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
    across_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    across_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    steep: FloatArray = np.hypot(across_x, across_y)
    border = np.nonzero(steep > 0.5 * max(float(steep.max()), 1e-6))
    if not len(border[0]):
        return 1.0
    direction_x, direction_y = across_x[border] / steep[border], across_y[border] / steep[border]
    means = []
    for picture in (before, after):
        # Only the border's pixels are looked at: it is a line, and the picture may have millions.
        dx, dy = _difference(picture, border, axis=1), _difference(picture, border, axis=0)
        slope = dx * direction_x[:, None] + dy * direction_y[:, None]
        means.append(float(np.linalg.norm(slope, axis=1).mean()))
    return (means[1] + 1.0) / (means[0] + 1.0)


def _difference(picture: FloatArray, places: tuple[IntArray, ...], axis: int) -> FloatArray:
    """Central difference at the given rows and columns of an H×W×3 picture, N×3; one-sided at its edge."""
    last = picture.shape[axis] - 1
    ahead, behind = list(places), list(places)
    ahead[axis], behind[axis] = np.minimum(places[axis] + 1, last), np.maximum(places[axis] - 1, 0)
    span = np.maximum(ahead[axis] - behind[axis], 1)[:, None]
    return np.asarray((picture[tuple(ahead)].astype(np.float32) - picture[tuple(behind)].astype(np.float32)) / span)
