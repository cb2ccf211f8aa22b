"""Restoring one swapped face: which crop, how strongly, and where in the picture.

The crop is aligned by the points that the swap itself used, so no second detector is asked, and only what the engine
replaced is changed. Restorers draw faces as they know them and cost likeness, so the change is weakened until the face
is about as like the reference as it was before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from core.faces import Face, identity_score
from core.faces.alignment import FFHQ_512, carry, cut, similarity
from core.faces.arrays import FloatArray, Image
from services.faceswap.engines.base import EngineResult
from services.faceswap.restoration.base import CROP_SIZE, DEFAULT_FIDELITY, Restorer
from services.faceswap.restoration.change import add_change

Embed = Callable[[Image, FloatArray], FloatArray]
"""Describes the identity of the face with 5×2 points in an H×W×3 uint8 picture, as `Face.embedding`."""

_TOLERANCE = 0.02
"""How much of the cosine to the reference restoring may cost."""
_STEPS = (1.0, 0.75, 0.5, 0.25)
"""Shares of the asked visibility that are tried, the strongest first."""


@dataclass(frozen=True)
class RestorationChoice:
    """What a request asks for."""

    wanted: bool = True
    """Whether swapped faces are to be restored at all."""
    model: str = ""
    """Name of the restorer; the deployment's first when empty."""
    visibility: float = 1.0
    """How strongly the restored face is to show, 0–1."""
    fidelity: float | None = None
    """How closely to keep to the swapped face, 0–1; None when nothing is asked."""


@dataclass(frozen=True)
class RestoredFace:
    """A picture with one swapped face restored."""

    image: Image
    """H×W×3 uint8 RGB."""
    visibility: float
    """How strongly the restored face shows, 0–1: the asked visibility, or less where likeness would have suffered."""
    identity_lost: float
    """How much of the cosine to the reference the shown visibility costs; negative where it helps."""


def restore_face(
    result: EngineResult,
    face: Face,
    reference: FloatArray,
    restorer: Restorer,
    choice: RestorationChoice,
    embed: Embed,
) -> RestoredFace:
    """Restore the face that `result` has changed; `face` is the target's, found before, `reference` who it is to be.

    Raises NonFiniteResult when the restorer's output is no picture, AlignmentError for points that make no face.
    """
    matrix = similarity(face.landmarks, FFHQ_512)
    crop = cut(result.image, matrix, CROP_SIZE).astype(np.float32) / 255
    mask = mask_of_crop(result, matrix)
    if choice.visibility <= 0 or not mask.any():
        return RestoredFace(result.image, 0.0, 0.0)
    fidelity = DEFAULT_FIDELITY if choice.fidelity is None else choice.fidelity
    change = restorer.restore(crop, fidelity) - crop
    points = carry(matrix, face.landmarks)

    def identity(visibility: float) -> float:
        shown = np.clip(crop + change * (mask * visibility)[..., None], 0, 1)
        return identity_score(embed(np.rint(shown * 255).astype(np.uint8), points), reference)

    before = identity(0.0)
    for step in _STEPS:
        visibility = choice.visibility * step
        lost = before - identity(visibility)
        if lost <= _TOLERANCE:
            return RestoredFace(add_change(result.image, change * visibility, mask, matrix), visibility, lost)
    return RestoredFace(result.image, 0.0, 0.0)


def mask_of_crop(result: EngineResult, crop_from_image: FloatArray) -> FloatArray:
    """512×512 float32, 0–1: how much of each pixel of an aligned crop the engine replaced."""
    local = np.array(crop_from_image, dtype=np.float64)
    local[:, 2] += local[:, :2] @ np.array([result.region.left, result.region.top], dtype=np.float64)
    drawn = cv2.warpAffine(np.asarray(result.mask, dtype=np.float32), local, (CROP_SIZE, CROP_SIZE))
    return np.clip(np.asarray(drawn, dtype=np.float32), 0, 1)
