"""Thumbnails of a dataset report: the photo with its face and its crops marked."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from core.runtime.images import ImageFormat, encode_image
from core.training.buckets import Box

LONGER_SIDE = 320
_QUALITY = 85
_FACE = (80, 220, 100)
_CROP = (250, 180, 60)


def draw_thumbnail(rgb: npt.NDArray[np.uint8], face: Box | None, crops: Sequence[Box]) -> bytes:
    """Return a JPEG of a photo, uint8 H×W×3, its longer side at most 320 pixels, with boxes in the photo's pixels."""
    height, width = rgb.shape[:2]
    scale = min(1.0, LONGER_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.ascontiguousarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    for boxes, colour in ((crops, _CROP), ([] if face is None else [face], _FACE)):
        for box in boxes:
            left, top, right, bottom = (round(value * scale) for value in box)
            cv2.rectangle(small, (left, top), (right - 1, bottom - 1), colour, 1)
    return encode_image(small, ImageFormat.JPEG, _QUALITY).data
