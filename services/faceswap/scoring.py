"""One swap of one face, and its scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.faces import Face, identity_score
from core.faces.arrays import Image
from core.faces.pose import HeadPose
from services.faceswap.engines.base import EngineResult
from services.faceswap.outcome import SwappedFace, SwapSeconds
from services.faceswap.pose_keeping import POSE_LIMIT
from services.faceswap.references import Choice

_WEAK_IDENTITY = 0.3


@dataclass(frozen=True)
class Setting:
    """One face that is to be changed, and by whom."""

    image: Image
    index: int
    face: Face
    choice: Choice
    match_score: float | None


@dataclass(frozen=True)
class SwapTry:
    """One swap of a face, with what a second try would lean the reference's form by; None when none is needed."""

    result: EngineResult
    score: SwappedFace
    lean: HeadPose | None
    seconds: SwapSeconds


def pose_change(attempt: SwapTry) -> float:
    """Degrees by which it changed the head's pose; infinite when no face was found in the result."""
    change = attempt.score.pose_change_degrees
    return math.inf if change is None else change


def score_swap(result: EngineResult, setting: Setting, after: Face | None) -> SwappedFace:
    """Compare the face `after` the swap, None when none was found, with the reference and with what it was."""
    identity, before = setting.choice.reference.embedding, setting.face
    return SwappedFace(
        index=setting.index,
        identity_before=identity_score(before.embedding, identity),
        identity_after=None if after is None else identity_score(after.embedding, identity),
        seam_ratio=result.seam_ratio,
        pose_change_degrees=None if after is None else after.pose.largest_difference(before.pose),
        mouth_openness_change=None if after is None else after.mouth_openness - before.mouth_openness,
        eye_openness_change=None if after is None else after.eye_openness - before.eye_openness,
        mouth_curve_change=None if after is None else after.mouth_curve - before.mouth_curve,
        reference_index=setting.choice.reference_index,
        match_score=setting.match_score,
    )


def score_warnings(score: SwappedFace, weight: float) -> list[str]:
    """Return what a person should know about a swap that was made with this weight."""
    if score.identity_after is None:
        return [f"target face {score.index}: no face was found in the result"]
    warnings = []
    # A lower weight asks for less likeness.
    if weight >= 1 and score.identity_after < _WEAK_IDENTITY:
        warnings.append(f"target face {score.index}: the likeness is weak (identity {score.identity_after:.2f})")
    if score.pose_change_degrees is not None and score.pose_change_degrees > POSE_LIMIT:
        warnings.append(f"target face {score.index}: the head's pose changed by {score.pose_change_degrees:.1f}°")
    return warnings
