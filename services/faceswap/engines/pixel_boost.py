"""Pixel boost: a network of a small fixed size draws a larger face, by strided sub-images.

A crop k times as large is taken apart into k² crops of the network's size: every k-th pixel of every k-th row, from
each of the k² first ones. Each holds the whole face, so the network does with each what it was trained for, and put
together again they have k times its resolution. Tiles would each be taken for a face of its own.
"""

from __future__ import annotations

import numpy as np

from core.faces.arrays import FloatArray


def take_apart(crop: FloatArray, factor: int) -> FloatArray:
    """Turn an S×S×C crop into factor²×(S/factor)×(S/factor)×C sub-images, row by row of first pixels.

    Raises ValueError when a side is not a multiple of `factor`.
    """
    height, width, channels = crop.shape
    if height % factor or width % factor:
        raise ValueError(f"a crop of {width} × {height} pixels has no {factor} strided sub-images on each side")
    parts = crop.reshape(height // factor, factor, width // factor, factor, channels).transpose(1, 3, 0, 2, 4)
    return np.ascontiguousarray(parts.reshape(factor * factor, height // factor, width // factor, channels))


def put_together(parts: FloatArray, factor: int) -> FloatArray:
    """Undo `take_apart`."""
    count, height, width, channels = parts.shape
    if count != factor * factor:
        raise ValueError(f"{count} sub-images do not make {factor} on each side")
    grid = parts.reshape(factor, factor, height, width, channels).transpose(2, 0, 3, 1, 4)
    return np.ascontiguousarray(grid.reshape(height * factor, width * factor, channels))
