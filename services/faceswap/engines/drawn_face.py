"""A face that a network has drawn in its crop: where it replaces the target, and the colours that it gets."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from core.faces import landmarks
from core.faces.arrays import FloatArray, Image
from core.faces.blending import covered_region
from core.faces.region import Region
from services.faceswap.engines import masks
from services.faceswap.engines.base import EngineResult
from services.faceswap.engines.blend import seam_ratio
from services.faceswap.engines.colour import skin_field, to_lab, to_rgb
from services.faceswap.engines.occluders import find_occluders

_FIELD_WIDTH = 0.28
"""Standard deviation of the low-pass that tells skin tone and light from features, in widths of the face."""
_LARGEST_SHIFT = 25.0
"""Largest change of a colour, in Lab: a network that is further off has failed, and is not to be painted over."""


@dataclass(frozen=True)
class PasteSettings:
    """How a drawn face is pasted. Lengths are in widths of the face unless said otherwise."""

    erode: float = 0.02
    """How much of the face's outline stays the target's."""
    feather: float = 0.08
    """Over how much the mask rises from 0 to 1."""
    border: float = 0.06
    """Over how much of the crop's side the mask falls to 0 at the crop's border."""
    keep_occluders: bool = True
    """Leave what lies over the target's face: its hair, the frame of its glasses, what comes over its cheeks."""
    match_colour: bool = True
    """Give the drawn face the target's skin tone and light."""


def paste_mask(
    crop: FloatArray, points: FloatArray, settings: PasteSettings | None = None, yaw_degrees: float = 0.0
) -> FloatArray:
    """S×S float32, 0–1: where a drawn face replaces the target's in its crop.

    `crop` is S×S×3, 0–1, RGB; `points` is the target's mesh in its pixels, `yaw_degrees` how its head is turned.
    """
    settings, side = settings or PasteSettings(), crop.shape[0]
    size, width = (side, side), float(np.ptp(points[:, 0]))
    mask = masks.inner_oval(points, size, width, settings.erode, settings.feather)
    if settings.keep_occluders:
        over = find_occluders(to_lab(crop * 255), points, size, width, yaw_degrees)
        mask = mask * (1 - masks.soften(over.hair, 0.03 * width)) * (1 - over.glasses)
    away = np.minimum(np.arange(side), np.arange(side)[::-1]).astype(np.float32) + 0.5
    ramp = masks.smoothstep(0.0, settings.border * side, away)
    return np.asarray(mask * ramp[:, None] * ramp[None, :], dtype=np.float32)


def match_colour(drawn: FloatArray, crop: FloatArray, points: FloatArray, mask: FloatArray) -> FloatArray:
    """Return a drawn S×S×3 crop (0–1, RGB) with the skin tone and light that `crop` has: the target as it was.

    Only the wide field of skin is matched (low-passes of Lab over what is neither brow, eye, nose nor mouth), so
    features stay as they were drawn, and a crop of the same field comes back as it is. `points` is the target's mesh in
    the crop's pixels, `mask` S×S where the face is to be replaced.
    """
    size, width = crop.shape[:2], float(np.ptp(points[:, 0]))
    skin = masks.fill(points, landmarks.OVAL, (size[0], size[1])) * (mask > 0.5)
    skin = skin * (1 - masks.features(points, (size[0], size[1]), width))
    if skin.sum() < 1:
        return drawn
    sigma = _FIELD_WIDTH * width
    lab = to_lab(drawn * 255)
    shift = skin_field(to_lab(crop * 255), skin, sigma) - skin_field(lab, skin, sigma)
    shift = np.clip(shift, -_LARGEST_SHIFT, _LARGEST_SHIFT)
    # As a difference, so what needs no shift is not rounded on its way through Lab.
    moved = (to_rgb(lab + shift) - to_rgb(lab)) / 255
    return np.asarray(np.clip(drawn + moved, 0, 1), dtype=np.float32)


def pasted_result(
    before: Image, after: Image, mask: FloatArray, crop_from_image: FloatArray, warnings: tuple[str, ...]
) -> EngineResult:
    """Return what a paste did: the region and the mask in the picture's pixels, and the seam."""
    region = covered_region(mask, crop_from_image, before.shape)
    if region is None:
        return EngineResult(
            after,
            Region(0, 0, 1, 1),
            np.zeros((1, 1), dtype=np.float32),
            1.0,
            (*warnings, "the face lies under hair or outside the picture: nothing was changed"),
        )
    share = _mask_of_region(mask, crop_from_image, region)
    parts = [picture[region.rows, region.columns].astype(np.float32) for picture in (before, after)]
    return EngineResult(after, region, share, seam_ratio(parts[0], parts[1], share), warnings)


def _mask_of_region(mask: FloatArray, crop_from_image: FloatArray, region: Region) -> FloatArray:
    """Draw an h×w mask of a crop over a region of its picture: rows × columns, float32, 0–1."""
    local = np.array(crop_from_image, dtype=np.float64)
    local[:, 2] += local[:, :2] @ np.array([region.left, region.top], dtype=np.float64)
    size = (region.right - region.left, region.bottom - region.top)
    drawn = cv2.warpAffine(mask, local, size, flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR)
    return np.clip(np.asarray(drawn, dtype=np.float32), 0, 1)
