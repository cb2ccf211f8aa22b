"""Colours of a picture file: to sRGB for the work, and back to the file's own space for the answer."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

_MAX_PROFILE_BYTES = 4 * 2**20


def read_profile(profile: Any) -> ImageCms.ImageCmsProfile | None:
    """Return the ICC profile of a file; None when there is none, or none that can be used."""
    if not isinstance(profile, bytes) or len(profile) > _MAX_PROFILE_BYTES:
        return None
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    """Whether the profile is sRGB by its name."""
    try:
        return "sRGB" in ImageCms.getProfileDescription(profile)
    except ImageCms.PyCMSError:
        return False


def is_rgb(profile: ImageCms.ImageCmsProfile) -> bool:
    """Whether the profile describes RGB values, as PNG, JPEG and WebP may carry them."""
    return profile.profile.xcolor_space.strip() == "RGB"


def to_srgb(colour: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image | None:
    """Bring a picture of mode L, RGB or CMYK to sRGB, mode RGB; None when the profile cannot be used for it."""
    try:
        return ImageCms.profileToProfile(colour, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def from_srgb(rgb: npt.NDArray[np.uint8], profile: bytes) -> npt.NDArray[np.uint8]:
    """Carry H×W×3 uint8 sRGB into the space of an RGB profile; what lies outside sRGB's reach is not affected."""
    own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    converted = ImageCms.profileToProfile(picture, ImageCms.createProfile("sRGB"), own, outputMode="RGB")
    return np.asarray(converted, dtype=np.uint8)


def on_white(colour: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Lay H×W×3 uint8 colours with an H×W uint8 alpha on white."""
    white = Image.new("RGB", (colour.shape[1], colour.shape[0]), "white")
    white.paste(Image.fromarray(np.ascontiguousarray(colour)), mask=Image.fromarray(np.ascontiguousarray(alpha)))
    return np.array(white, dtype=np.uint8)


def off_white(colour: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Undo `on_white`: the straight colours that look like `colour` on white. Black where nothing shows."""
    share = alpha[:, :, None].astype(np.float32) / 255
    straight = 255 - (255 - colour.astype(np.float32)) / np.maximum(share, 1 / 255)
    return np.where(share > 0, np.clip(np.rint(straight), 0, 255), 0).astype(np.uint8)
