"""Face models as the client answers with them: a person as several photos show them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from likeness.results import Face


class FaceModelAverage(StrEnum):
    """How the photos' embeddings become one."""

    MEAN = "mean"
    MEDIAN = "median"


class PhotoRejection(StrEnum):
    """Why a photo is no part of a model."""

    UNKNOWN = "unknown"
    NO_FACE = "no-face"
    SEVERAL_FACES = "several-faces"
    TOO_SMALL = "too-small"
    BLURRED = "blurred"
    OUTLIER = "outlier"
    TURNED_TOO_FAR = "turned-too-far"


@dataclass(frozen=True)
class FaceModelView:
    """One view of the person."""

    image_index: int
    """Which photo of the build it comes from, from 0."""
    yaw: float
    """Degrees, as `Face.yaw`."""
    pitch: float
    roll: float
    width_pixels: int
    """Width of the face as it is kept."""
    sharpness: float
    similarity: float
    """Cosine to the model, −1 to 1."""


@dataclass(frozen=True)
class FaceModel:
    """A kept face model."""

    face_model_id: str
    create_time: datetime
    """UTC."""
    average: FaceModelAverage
    photo_count: int
    agreement: float
    """Mean cosine of the photos to the model, −1 to 1."""
    views: tuple[FaceModelView, ...]
    """The most typical first."""
    engines: tuple[str, ...]
    """Engines that can use it."""
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class PhotoReport:
    """What became of one photo of a build."""

    image_index: int
    used: bool
    rejection: PhotoRejection | None
    """None when it is used."""
    detail: str
    """The rejection for a person, with the numbers."""
    face: Face | None
    similarity: float | None
    """Cosine to the model, −1 to 1; of an outlier to the other photos."""


@dataclass(frozen=True)
class FaceModelBuild:
    """A model that was built, and what became of each photo."""

    face_model: FaceModel
    photos: tuple[PhotoReport, ...]


@dataclass(frozen=True)
class FaceModelPage:
    """A page of models."""

    face_models: tuple[FaceModel, ...]
    next_page_token: str
    """Empty on the last page."""
