"""From latents to pixels: finished pictures, and previews of those that are still being drawn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from core.qwen.profile import Size
from core.qwen.vae import FrameDecoder
from likeness.errors import NonFiniteResult

PREVIEW_PIXELS = 384
"""Longer side of a preview, at most."""


def decode(decoder: FrameDecoder, latents: torch.Tensor, size: Size) -> npt.NDArray[np.uint8]:
    """Decode latents 1×tokens×64 of a picture of ``size`` into pixels, height×width×3 RGB.

    Raises:
        NonFiniteResult: the latents, or the pixels made from them, hold NaN or infinity.
    """
    _check_finite(latents, "latents")
    pixels = decoder(_unpack(latents, size, decoder.scale))
    _check_finite(pixels, "pixels")
    return _to_rgb(pixels)


def decode_preview(decoder: FrameDecoder, latents: torch.Tensor, size: Size) -> npt.NDArray[np.uint8] | None:
    """Decode latents 1×tokens×64 roughly: RGB of half the size or less, its longer side at most PREVIEW_PIXELS.

    The mean of 2×2 latents stands for them, which spares three quarters of the work. None when the numbers are not
    finite: the picture's own decoding tells of that.
    """
    halved = functional.avg_pool2d(_unpack(latents, size, decoder.scale).float(), 2)
    pixels = decoder(halved)
    scale = PREVIEW_PIXELS / max(pixels.shape[2:])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in pixels.shape[2:])
        pixels = functional.interpolate(pixels.float(), size=(height, width), mode="area")
    return _to_rgb(pixels) if bool(torch.isfinite(pixels).all()) else None


def _unpack(latents: torch.Tensor, size: Size, scale: int) -> torch.Tensor:
    """Lay tokens 1×tokens×64 out as latents 1×16×h×w."""
    rows, columns = size.height // (2 * scale), size.width // (2 * scale)
    # Each token is a patch of 2×2 latents: 16 channels × 2 × 2.
    patches = latents.view(1, rows, columns, -1, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(1, -1, 2 * rows, 2 * columns)


def _to_rgb(pixels: torch.Tensor) -> npt.NDArray[np.uint8]:
    levels = (pixels[0].float() / 2 + 0.5).clamp(0, 1) * 255
    rgb: npt.NDArray[np.uint8] = levels.round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return rgb


def _check_finite(values: torch.Tensor, what: str) -> None:
    if not bool(torch.isfinite(values).all()):
        raise NonFiniteResult(f"the model's {what} are not finite, so there is no picture to show")
