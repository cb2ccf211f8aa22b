"""What the faceswap service answers a swap with, and what a deployment can swap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from likeness.results._common import ModelInfo, Picture
from likeness.results._faces import Face


class SkipReason(StrEnum):
    """Why a face of the target was left as it is."""

    UNKNOWN = "unknown"
    GENDER = "gender"
    NO_MATCH = "no-match"
    NOT_ASKED = "not-asked"
    TOO_SMALL = "too-small"
    TURNED_TOO_FAR = "turned-too-far"


@dataclass(frozen=True)
class SkippedFace:
    """A face of the target that was left as it is."""

    target_face_index: int
    """Its place in `SwapResult.target_faces`."""
    reason: SkipReason
    detail: str
    """The reason for a person, with the numbers."""
    match_score: float | None = None
    """Cosine to the face to match, −1 to 1; None when there was none."""


@dataclass(frozen=True)
class UsedReference:
    """A reference of a swap."""

    face: Face
    face_model_id: str = ""
    """Name of the face model; empty for a picture."""


@dataclass(frozen=True)
class SwappedFace:
    """One changed face. Identities are cosines to the reference's embedding, −1 to 1."""

    target_face_index: int
    identity_before: float
    identity_after: float | None
    """None when no face was found any more."""
    seam_ratio: float
    """Colour gradient across the mask's border over the target's own there; near 1 is no seam."""
    pose_change_degrees: float | None
    mouth_openness_change: float | None
    eye_openness_change: float | None
    mouth_curve_change: float | None = None
    """After minus before: positive is more of a smile."""
    reference_index: int = 0
    """Place of the reference in `SwapResult.references`."""
    match_score: float | None = None
    """Cosine to the face to match before the swap, −1 to 1; None when there was none."""
    restore_visibility: float | None = None
    """How strongly the restored face shows, 0–1; None when it was not restored."""


@dataclass(frozen=True)
class Restoration:
    """Whether the swapped faces were restored, and if not, why."""

    applied: bool
    reason: str = ""
    model: str = ""


@dataclass(frozen=True)
class SwapResult:
    """The changed picture and what was done."""

    picture: Picture
    swapped: tuple[SwappedFace, ...]
    target_faces: tuple[Face, ...]
    reference_face: Face
    engine: str
    restoration: Restoration
    warnings: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage: queue, decode, analyse, swap, score, encode, total."""
    skipped: tuple[SkippedFace, ...] = ()
    """The faces of the target that were left as they are, and why."""
    references: tuple[UsedReference, ...] = ()
    """Whom the request named, in its order."""


@dataclass(frozen=True)
class FaceSwapCapabilities:
    """What the faceswap service of a deployment can do."""

    model: ModelInfo
    engines: tuple[str, ...]
    """The default first."""
    restorers: tuple[str, ...]
    max_pose_degrees: float
    """Largest difference of yaw or pitch between reference and target."""
    min_reference_face_pixels: int
    min_target_face_pixels: int
    queue_capacity: int
    max_reference_turn_degrees: float = 0.0
    """How far the reference may look past the camera, turn and nod together; 0 for no limit."""
    content_check: bool = False
    """Whether pictures and results are looked at by a content check."""
    execution_provider: str = ""
    """What runs the networks of the default engine, for example CUDAExecutionProvider."""
    face_sizes: tuple[int, ...] = ()
    """Sides in pixels at which the engine inswapper can draw a face."""
