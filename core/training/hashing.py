"""Perceptual hashes: pictures that look the same have hashes that differ in few bits."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

HASH_BITS = 64
_SIDE = 32
_LOW = 8


def perceptual_hash(rgb: npt.NDArray[np.uint8]) -> int:
    """Hash a picture, uint8 H×W×3 RGB, to 64 bits: the signs of its lowest frequencies against their median.

    Scale, compression and small changes of colour leave it alone (Zauner 2010, "Implementation and Benchmarking of
    Perceptual Image Hash Functions").
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:_LOW, :_LOW].reshape(-1)
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hash_distance(first: int, second: int) -> int:
    """Count the bits that differ: 0 for the same picture, about 32 for unlike ones."""
    return (first ^ second).bit_count()
