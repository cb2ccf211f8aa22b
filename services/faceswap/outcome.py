"""What a swap was asked for beside its pictures, and what it did."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.faces import Face, FaceOrder, Gender
from core.faces.arrays import Image
from services.faceswap.references import Reference, ReferenceRules
from services.faceswap.restoration.stage import RestorationChoice
from services.faceswap.selection import SkippedFace

MATCH_THRESHOLD = 0.4
"""Least cosine to the face of match_image; strangers have about 0.05, two photos of one person about 0.5."""


@dataclass(frozen=True)
class SwapChoices:
    """What a request asks for beside its pictures."""

    target_face_indexes: tuple[int, ...] = ()
    """Faces of the target to change, counted among those that the rules leave; as many as references when empty."""
    all_target_faces: bool = False
    """Change every face that the rules leave, and skip those that the engine does not take."""
    target_order: FaceOrder = FaceOrder.LARGE_TO_SMALL
    target_gender: Gender | None = None
    """Only change faces that look like this gender; None for all."""
    match_threshold: float = MATCH_THRESHOLD
    """Least cosine to the face of the picture to match, where there is one."""
    reference_rules: ReferenceRules = field(default_factory=ReferenceRules)
    """Which faces of the reference pictures count."""
    pairing: tuple[int, ...] = ()
    """For the k-th chosen face the place of its reference; in turn when empty."""
    swap_weight: float = 1.0
    """1 for the reference's face, 0 for the target's own, between them a likeness of both."""
    engine: str = ""
    """Name of the engine; the deployment's own when empty."""
    pixel_boost: int = 0
    """Side in pixels at which the engine draws a face; its own when 0."""
    restoration: RestorationChoice = field(default_factory=RestorationChoice)
    """Whether and how the swapped faces are restored."""
    thorough: bool = False
    """Whether the target is searched for small, turned and dark faces although some were found."""
    min_score: float = 0.5
    """Detections below this score do not count."""


@dataclass(frozen=True)
class SwappedFace:
    """What was done to one face of the target. Changes are after minus before; None when no face was found after."""

    index: int
    identity_before: float
    identity_after: float | None
    seam_ratio: float
    pose_change_degrees: float | None
    mouth_openness_change: float | None
    eye_openness_change: float | None
    mouth_curve_change: float | None
    reference_index: int = 0
    """Place of the reference in `SwapOutcome.references`."""
    match_score: float | None = None
    """Cosine to the face to match, before; None when there is none."""
    restore_visibility: float | None = None
    """How strongly the restored face shows, 0–1; None when it was not restored."""


@dataclass(frozen=True)
class SwapSeconds:
    """Where the time went, in seconds."""

    analyse: float
    swap: float
    score: float
    restore: float = 0.0


@dataclass(frozen=True)
class SwapOutcome:
    """The changed picture and what was done."""

    image: Image
    swapped: tuple[SwappedFace, ...]
    skipped: tuple[SkippedFace, ...]
    """The faces that were left as they are, by their places."""
    target_faces: tuple[Face, ...]
    """All faces of the target as they were, in the asked order."""
    references: tuple[Reference, ...]
    """Whom the request names, in its order."""
    engine: str
    warnings: tuple[str, ...]
    seconds: SwapSeconds
    restorer: str = ""
    """Name of the restorer that the faces were shown to; empty when none was."""
