"""Bringing a change of an aligned crop into its picture.

Not the restored crop is pasted but what the restorer changed in it, so a face with more pixels than the crop keeps the
detail that the crop could not hold, and a restorer that changes nothing changes nothing.
"""

from __future__ import annotations

import cv2
import numpy as np

from core.faces.arrays import FloatArray, Image
from core.faces.blending import covered_region

_SHRINK_FROM = 1.2
"""Crop pixels for one of the picture's, from which the change is shrunk by area before it is sampled."""


def add_change(image: Image, change: FloatArray, mask: FloatArray, crop_from_image: FloatArray) -> Image:
    """Return a copy of an H×W×3 uint8 picture with `change` × `mask` added where the crop was cut.

    `change` is h×w×3 in −1 to 1 (1 is 255 grey levels), `mask` h×w in 0–1, `crop_from_image` the 2×3 similarity that
    the crop was cut by. Pixels where the mask is 0 stay as they are; the rest of the picture is not read.
    """
    result = image.copy()
    matrix = np.array(crop_from_image, dtype=np.float64)
    region = covered_region(mask, matrix, image.shape)
    if region is None:
        return result
    weighted = np.asarray(change * mask[..., None] * 255, dtype=np.float32)
    scale = float(np.hypot(matrix[0, 0], matrix[0, 1]))
    if scale > _SHRINK_FROM:
        height, width = mask.shape
        size = (max(1, round(width / scale)), max(1, round(height / scale)))
        ratio = np.array([width / size[0], height / size[1]])
        weighted = np.asarray(cv2.resize(weighted, size, interpolation=cv2.INTER_AREA))
        # Pixel centres: x_large + 0.5 = (x_small + 0.5) · ratio.
        matrix[:, 2] = (matrix[:, 2] + 0.5) / ratio - 0.5
        matrix[:, :2] /= ratio[:, None]
    matrix[:, 2] += matrix[:, :2] @ np.array([region.left, region.top], dtype=np.float64)
    added = cv2.warpAffine(
        weighted,
        matrix,
        (region.right - region.left, region.bottom - region.top),
        flags=cv2.WARP_INVERSE_MAP | cv2.INTER_CUBIC,
    )
    part = image[region.rows, region.columns].astype(np.float32) + added
    result[region.rows, region.columns] = np.rint(np.clip(part, 0, 255)).astype(np.uint8)
    return result
