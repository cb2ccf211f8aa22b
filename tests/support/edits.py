"""Pictures and masks for tests of edits."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

Rgb = npt.NDArray[np.uint8]


def scenery(width: int = 192, height: int = 160, seed: int = 0) -> Rgb:
    """Return a smooth picture, uint8 height×width×3, other for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def half_mask(width: int, height: int) -> Rgb:
    """Return a mask whose left half may change: white there, black on the right."""
    mask = np.zeros((height, width, 3), dtype=np.uint8)
    mask[:, : width // 2] = 255
    return mask


def encoded(rgb: Rgb, kind: str = "PNG") -> bytes:
    """Return a picture as a file."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind)
    return buffer.getvalue()
