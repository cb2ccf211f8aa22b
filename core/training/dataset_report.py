"""The report of a dataset: what was found out about each photo, and what will be cut out of it. All of it is JSON."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter

from core.training.settings import Framing, Policy, Reason

Base64 = Annotated[
    bytes,
    PlainSerializer(lambda data: b64encode(data).decode(), when_used="json"),
    BeforeValidator(lambda data: b64decode(data) if isinstance(data, str) else data),
]
"""Bytes, in base64 where they are written as JSON."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with a photo."""

    reason: Reason
    policy: Policy
    message: str
    """For a person, with the measure and the limit."""


@dataclass(frozen=True)
class CropReport:
    """A crop that is trained on."""

    framing: Framing
    box: tuple[int, int, int, int]
    """Left, top, right, bottom in the photo's pixels."""
    width: int
    """Of the bucket, at the largest resolution."""
    height: int


@dataclass(frozen=True)
class PhotoReport:
    """What was found out about a photo."""

    name: str
    accepted: bool
    held_out: bool
    """Kept out of the training, to score against."""
    findings: tuple[Finding, ...]
    caption: str
    """The caption that is trained on; empty when the photo is rejected."""
    width: int
    height: int
    face_box: tuple[float, float, float, float] | None
    """Left, top, right, bottom in pixels of the face that is trained on."""
    sharpness: float | None
    turn_degrees: float | None
    identity: float | None
    """Cosine to the mean of the other photos' faces."""
    crops: tuple[CropReport, ...]
    thumbnail: Base64
    """JPEG of the photo with the face and the crops marked; empty when unreadable. Longer side at most 320."""


@dataclass(frozen=True)
class DatasetReport:
    """What a dry run tells."""

    photos: tuple[PhotoReport, ...]
    dataset_sha256: str
    """Over the accepted photos' pixels and captions."""
    problems: tuple[str, ...]
    """Why the set cannot be trained on; empty when it can."""
    warnings: tuple[str, ...]
    samples: int
    """Crops to train on."""

    @property
    def accepted(self) -> int:
        """How many photos are used, those held out among them."""
        return sum(photo.accepted for photo in self.photos)

    @property
    def usable(self) -> bool:
        """Whether the set can be trained on."""
        return not self.problems

    def to_json(self) -> str:
        """Write it; thumbnails in base64."""
        return _REPORT.dump_json(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> DatasetReport:
        """Read what `to_json` wrote."""
        return _REPORT.validate_json(text)


_REPORT = TypeAdapter(DatasetReport)
