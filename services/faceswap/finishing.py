"""Grain and sharpness of a face that a network has drawn: the target's own, whichever engine or restorer drew it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.faces import Face, landmarks
from core.faces.arrays import Image
from core.faces.blending import DetailSettings, match_detail
from services.faceswap.engines import masks
from services.faceswap.engines.base import EngineResult

_RESTORED = DetailSettings(least_gain=1.0)
"""A restored face stays as sharp as it was asked to be, and gets the grain alone."""
_DRAWN = DetailSettings()


def match_target(before: Image, result: EngineResult, face: Face, *, restored: bool) -> EngineResult:
    """Return `result` with the grain and, unless it was `restored`, the softness that the face had `before`.

    `before` and the result's picture are H×W×3 uint8; `face` is the target's. Works in the result's region, within its
    mask: pixels that the engine left alone stay as they are.
    """
    region, mask = result.region, result.mask
    rows, columns = np.flatnonzero(mask.max(axis=1) > 0), np.flatnonzero(mask.max(axis=0) > 0)
    if not len(rows):
        return result
    inner = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    part = mask[inner]
    origin = np.array([region.left + inner[1].start, region.top + inner[0].start, 0.0])
    points = face.mesh.points - origin
    size, width = (part.shape[0], part.shape[1]), float(np.ptp(points[:, 0]))
    face_pixels = masks.fill(points, landmarks.OVAL, size) * (part > 0.5)
    skin = face_pixels * (1 - masks.features(points, size, width))
    old = before[region.rows, region.columns][inner].astype(np.float32)
    new = result.image[region.rows, region.columns][inner].astype(np.float32)
    matched = match_detail(new, old, skin, face_pixels, _RESTORED if restored else _DRAWN)
    if matched is new:
        return result
    image = result.image.copy()
    finished = new + (matched - new) * part[..., None]
    image[region.rows, region.columns][inner] = np.rint(np.clip(finished, 0, 255)).astype(np.uint8)
    return replace(result, image=image)
