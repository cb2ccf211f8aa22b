"""The faces of pictures, as they are found and compared."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from likeness.results._common import Picture


class Gender(StrEnum):
    """Gender as the attribute network sees it; an estimate from looks."""

    UNKNOWN = "unknown"
    FEMALE = "female"
    MALE = "male"


class FaceOrder(StrEnum):
    """Order in which the faces of a picture are counted."""

    LARGE_TO_SMALL = "large-to-small"
    SMALL_TO_LARGE = "small-to-large"
    LEFT_TO_RIGHT = "left-to-right"
    RIGHT_TO_LEFT = "right-to-left"
    TOP_TO_BOTTOM = "top-to-bottom"
    BOTTOM_TO_TOP = "bottom-to-top"
    BEST_SCORE = "best-score"


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the upright picture; it may reach past the border."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Face:
    """One face of a picture."""

    index: int
    """Place in the chosen order, from 0."""
    box: Box
    score: float
    """Detection score, 0–1."""
    landmarks: tuple[tuple[float, float], ...]
    """(x, y) in pixels: right eye, left eye, nose, right and left mouth corner, as the person has them."""
    yaw: float
    """Degrees; positive when the nose points to the picture's right."""
    pitch: float
    """Degrees; positive when the nose points down."""
    roll: float
    """Degrees; positive when the head leans clockwise."""
    gender: Gender
    gender_score: float
    """0.5–1."""
    age_years: float
    sharpness: float
    """Variance of the Laplacian of the face's 112 × 112 crop; below about 30 is blurred."""


@dataclass(frozen=True)
class Faces:
    """The faces of a picture."""

    faces: tuple[Face, ...]
    width: int
    """Width of the upright picture in pixels."""
    height: int
    """Height of the upright picture in pixels."""
    drawing: Picture | None = None
    """The picture with the faces drawn on it, when it was asked for."""


@dataclass(frozen=True)
class Comparison:
    """How alike two faces are."""

    identity: float
    """Cosine of the two embeddings, −1 to 1; strangers have about 0.05, two photos of one person about 0.5."""
    first_face: Face
    second_face: Face
