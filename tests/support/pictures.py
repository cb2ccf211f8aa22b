"""Pictures, their files, and what the one decoder makes of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.runtime.images import decode_image

FIELD = "reference_image.data"


def picture(width: int = 40, height: int = 30) -> npt.NDArray[np.uint8]:
    """A smooth picture whose corners differ, so that turns and flips show."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)


def save(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(data: bytes, **limits: int) -> npt.NDArray[np.uint8]:
    rgb = decode_image(data, field=FIELD, **limits)
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3
    assert rgb.shape[2] == 3
    assert rgb.flags.c_contiguous
    assert rgb.flags.writeable
    return rgb


def close(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8], tolerance: int) -> bool:
    return left.shape == right.shape and int(np.abs(left.astype(int) - right.astype(int)).max()) <= tolerance
