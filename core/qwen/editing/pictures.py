"""The pictures of an edit: the sizes in which the model sees them, and the files of their pixels for its two eyes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from diffusers import QwenImageEditPlusPipeline
from PIL import Image as PillowImage

from core.qwen.denoising import pack
from core.qwen.profile import Editing, Size
from core.qwen.vae import FrameEncoder
from likeness.errors import InvalidRequest

MIN_SIDE = 32
"""Shorter side of a picture, at least, in pixels."""

Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class EditPicture:
    """One picture of an edit, with the sizes in which the model sees it."""

    rgb: Rgb
    """Height×width×3, sRGB."""
    vision: Size
    """What the vision tower sees."""
    latent: Size
    """What the autoencoder sees."""

    @property
    def size(self) -> Size:
        """The picture's own size."""
        return Size(width=self.rgb.shape[1], height=self.rgb.shape[0])


def prepare_picture(editing: Editing, rgb: Rgb, *, max_aspect_ratio: float, field: str) -> EditPicture:
    """Choose the sizes in which the model sees a picture, uint8 height×width×3.

    Raises:
        InvalidRequest: it is too small or too long a shape; ``field`` is named.
    """
    height, width = rgb.shape[:2]
    if min(width, height) < MIN_SIDE:
        raise InvalidRequest(
            f"the picture has {width}×{height} pixels: each side must have at least {MIN_SIDE}", field=field
        )
    if max(width, height) > max_aspect_ratio * min(width, height):
        raise InvalidRequest(
            f"the picture has {width}×{height} pixels, too long a shape: one side may be {max_aspect_ratio:g} times "
            "the other; crop it",
            field=field,
        )
    return EditPicture(
        rgb=rgb,
        vision=fit_area(width, height, editing.vision_pixels, editing.multiple),
        latent=fit_area(width, height, editing.latent_pixels, editing.multiple),
    )


def laid_under(editing: Editing, picture: EditPicture, size: Size) -> EditPicture:
    """Return the picture as a result of ``size`` is drawn over it: its middle of that shape, in that size.

    What the transformer sees as a reference then lies where the noised source has it. Elsewhere, or larger, it would
    come through a second time.
    """
    if size == picture.latent:
        return picture
    rgb = cropped(picture.rgb, size)
    height, width = rgb.shape[:2]
    return replace(
        picture, rgb=rgb, vision=fit_area(width, height, editing.vision_pixels, editing.multiple), latent=size
    )


def fit_area(width: int, height: int, pixels: int, multiple: int) -> Size:
    """Return the size of about ``pixels`` pixels in the shape of ``width`` × ``height``, in multiples of ``multiple``.

    The same numbers as ``calculate_dimensions`` of diffusers' ``pipeline_qwenimage_edit_plus`` for a multiple of 32.
    """
    ratio = width / height
    fitted_width = math.sqrt(pixels * ratio)
    fitted_height = fitted_width / ratio
    return Size(
        width=max(multiple, round(fitted_width / multiple) * multiple),
        height=max(multiple, round(fitted_height / multiple) * multiple),
    )


def resized(rgb: Rgb, size: Size) -> Rgb:
    """Return a picture in another size, by Lanczos; the same array when it has it already."""
    if rgb.shape[:2] == (size.height, size.width):
        return rgb
    picture = PillowImage.fromarray(rgb).resize((size.width, size.height), PillowImage.Resampling.LANCZOS)
    return np.asarray(picture)


def cropped(rgb: Rgb, size: Size) -> Rgb:
    """Return the largest middle part of a picture, of one or three channels, in the shape of ``size``.

    Shapes that differ by less than a pixel's rounding to the model's multiples are taken as equal.
    """
    height, width = rgb.shape[:2]
    wanted, own = size.width / size.height, width / height
    if abs(math.log(wanted / own)) < math.log(1 + 32 / min(size.width, size.height)):
        return rgb
    if own > wanted:
        part = max(1, round(height * wanted))
        left = (width - part) // 2
        return np.ascontiguousarray(rgb[:, left : left + part])
    part = max(1, round(width / wanted))
    top = (height - part) // 2
    return np.ascontiguousarray(rgb[top : top + part])


def encode_latents(
    pipeline: QwenImageEditPlusPipeline, encoder: FrameEncoder, rgb: Rgb, size: Size, dtype: torch.dtype
) -> torch.Tensor:
    """Encode a picture, brought to ``size``, into tokens 1×(width/16·height/16)×64 of ``dtype``.

    The mean of the autoencoder's distribution, normalised by channel, as ``QwenImageEditPlusPipeline`` has it.
    """
    pixels = pipeline.image_processor.preprocess(PillowImage.fromarray(rgb), size.height, size.width)
    return pack(encoder(pixels)).to(dtype)
