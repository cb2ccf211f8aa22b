"""Masks: where a picture may change, for its pixels and for its latents."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from core.qwen.denoising import pack
from core.qwen.profile import Size
from core.runtime.colours import from_srgb, off_white
from core.runtime.decoded_image import DecodedImage
from likeness.errors import InvalidRequest

_LATENT_PIXELS = 8


@dataclass(frozen=True, eq=False)
class Mask:
    """Where a picture may change."""

    weights: npt.NDArray[np.uint8]
    """Height×width of the picture; 255 where it may change, 0 where every pixel stays, between them a mixture."""

    def composite(self, source: npt.NDArray[np.uint8], changed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Lay ``changed`` over ``source``, both height×width×3. Where the mask is 0 the source's bits stay."""
        weights = self.weights[..., None].astype(np.uint32)
        mixed = (weights * changed + (255 - weights) * source + 127) // 255
        return mixed.astype(np.uint8)

    def opened(self, source: DecodedImage) -> DecodedImage:
        """Return ``source`` opaque where the mask is white, and as transparent as it was where it is black.

        What is drawn on a transparent ground would not show. `DecodedImage.rgb` stays the same.
        """
        if source.alpha is None or source.stored is None:
            return source
        weights = self.weights.astype(np.uint32)
        alpha = ((255 * weights + (255 - weights) * source.alpha + 127) // 255).astype(np.uint8)
        straight = off_white(source.rgb, alpha)
        if source.icc_profile is not None:
            straight = from_srgb(straight, source.icc_profile)
        stored = np.where((alpha != source.alpha)[..., None], straight, source.stored)
        return replace(source, alpha=alpha, stored=stored)

    def free_latents(self, size: Size, channels: int) -> torch.Tensor:
        """Return the mask for tokens 1×(width/16·height/16)×4·channels of a picture of ``size``, 0–1.

        A latent is as free as the freest of its pixels: what is drawn reaches to the mask's edge.
        """
        pixels = torch.from_numpy(self.weights).float()[None, None] / 255
        # Smaller masks grow by their nearest pixels, larger ones by their freest.
        if self.weights.shape[0] > size.height or self.weights.shape[1] > size.width:
            freest = functional.adaptive_max_pool2d(pixels, (size.height, size.width))
        else:
            freest = functional.interpolate(pixels, (size.height, size.width), mode="nearest")
        latents = functional.max_pool2d(freest, _LATENT_PIXELS)
        return pack(latents.expand(1, channels, -1, -1).contiguous())


def read_mask(rgb: npt.NDArray[np.uint8], *, size: Size, field: str) -> Mask:
    """Return the mask of a picture of ``size`` from a decoded picture, height×width×3: its luminance.

    Raises:
        InvalidRequest: it has another size, or is black everywhere, so that nothing would change; ``field`` is named.
    """
    height, width = rgb.shape[:2]
    if (width, height) != (size.width, size.height):
        raise InvalidRequest(
            f"the mask has {width}×{height} pixels and the first picture {size.width}×{size.height}: make them equal",
            field=field,
        )
    # ITU-R BT.601, in whole numbers so that grey stays what it is.
    weights = (rgb.astype(np.uint32) @ np.array([299, 587, 114], dtype=np.uint32) + 500) // 1000
    if not weights.any():
        raise InvalidRequest("the mask is black everywhere, so nothing would change: paint white what may", field=field)
    return Mask(weights.astype(np.uint8))
