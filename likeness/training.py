"""Training jobs as the client answers with them, and as JSON documents: the same over REST and in webhooks."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class TrainingState(StrEnum):
    """How a job stands."""

    QUEUED = "queued"
    VALIDATING = "validating"
    CACHING = "caching"
    TRAINING = "training"
    EVALUATING = "evaluating"
    PUBLISHING = "publishing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to the job."""
        return self in (TrainingState.SUCCEEDED, TrainingState.FAILED, TrainingState.CANCELLED)


@dataclass(frozen=True)
class CharacterDeletion:
    """What there was of a character that was forgotten."""

    job_ids: tuple[str, ...]
    """The jobs that were removed."""
    lora_versions: tuple[int, ...]
    """The versions of its LoRA that were removed."""


class TrainingEventType(StrEnum):
    """What happened to a job."""

    STATE_CHANGED = "state_changed"
    PROGRESS = "progress"
    CHECKPOINT = "checkpoint"
    SCORED = "scored"
    INTERRUPTED = "interrupted"
    WARNING = "warning"


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. None stands for the profile's own value."""

    rank: int | None = None
    """Rank of the LoRA, 1–256."""
    steps: int | None = None
    """Steps in all, 1–20,000."""
    learning_rate: float | None = None
    """Highest learning rate, 1e-7–0.1."""
    resolution: int | None = None
    """Side of a square picture of the size trained at, 128–2,048 pixels, a multiple of 16."""
    seed: int = 0
    """Seed of data order, noise and samples, 0–4,294,967,295."""
    checkpoint_every: int | None = None
    """Steps from one checkpoint to the next, 1–5,000."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Everything else about a run, by the names of the profile's file of training settings."""


@dataclass(frozen=True)
class JobError:
    """Why a job failed."""

    reason: str
    """The reason for programs, as errors have it."""
    message: str
    """The same for a person."""
    field: str
    """Field of the request that is at fault; empty when none is."""


@dataclass(frozen=True)
class DatasetFinding:
    """Something that is wrong with a photo."""

    reason: str
    """What, for example ``blurred``."""
    rejects: bool
    """Whether the photo is left out because of it."""
    detail: str
    """The same for a person, with the measure and the limit."""


@dataclass(frozen=True)
class DatasetImage:
    """What became of one photo."""

    image_index: int
    """Which photo, from 0."""
    used: bool
    findings: tuple[DatasetFinding, ...]
    held_out: bool
    """Whether it is kept out of the training, to score against."""
    caption: str
    crops: tuple[str, ...]
    """For example ``head 512×640``."""
    thumbnail: bytes
    """A small JPEG; empty when there is none."""
    name: str
    """Its URL, its name within the archive, or its place such as ``images[3]``."""


@dataclass(frozen=True)
class TrainingSample:
    """A picture that was drawn with a checkpoint."""

    step: int
    prompt: str
    artifact_uri: str
    seed: int
    faces: int
    identity: float
    """Mean cosine of its face to the references; 0 unless it shows exactly one."""
    url: str
    """Where the gateway hands it out: a path of the gateway."""


@dataclass(frozen=True)
class RankedCheckpoint:
    """A checkpoint with its scores."""

    step: int
    score: float
    """What it is ranked by; higher is better."""
    identity: float
    """Mean cosine to held-out photos, −1 to 1."""
    adherence: float
    """How well its pictures show their scenes, 0 to 1; 0.5 is chance."""
    copies: float
    """Share of its pictures that are copies of photos."""
    one_face: float
    """Share of its pictures with exactly one face."""


@dataclass(frozen=True)
class PublishedLora:
    """What came out of a job."""

    lora_id: str
    version: int
    sha256: str
    size_bytes: int
    step: int
    """Step of the checkpoint that it is."""


@dataclass(frozen=True)
class TrainingJob:
    """One job."""

    job_id: str
    character_id: str
    state: TrainingState
    step: int
    total_steps: int
    """0 until it is known."""
    trigger_word: str
    class_word: str
    image_count: int
    settings: TrainingSettings
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    loss: float | None
    seconds_per_step: float | None
    remaining_seconds: float | None
    """How long training should still take."""
    stage_done: int
    """Items done of the state's work, where it counts them."""
    stage_total: int
    sequence: int
    """Number of the job's last event."""
    attempt: int
    """From 1; 0 before the first."""
    queue_position: int
    """How many jobs wait before this one, while it is queued."""
    cancel_requested: bool
    checkpoint_step: int
    """Step of the last checkpoint; 0 before the first."""
    error: JobError | None
    lora: PublishedLora | None
    """What was published: the best checkpoint."""
    further_loras: tuple[PublishedLora, ...]
    """Further checkpoints that were published."""
    webhook_url: str
    webhook_disabled: bool
    warnings: tuple[str, ...]
    dataset: tuple[DatasetImage, ...]
    dataset_sha256: str
    samples: tuple[TrainingSample, ...]
    checkpoints: tuple[RankedCheckpoint, ...]
    """The best first."""
    manifest: Mapping[str, str]
    """Base, revision, dataset hash and settings of what was published."""


@dataclass(frozen=True)
class TrainingJobPage:
    """A page of jobs, the newest first."""

    jobs: tuple[TrainingJob, ...]
    next_page_token: str
    """Empty on the last page."""


@dataclass(frozen=True)
class TrainingEvent:
    """Something that happened to a job."""

    sequence: int
    """Number within the job, from 1, without gaps."""
    type: TrainingEventType
    time: datetime
    state: TrainingState
    """State of the job after it."""
    step: int
    total_steps: int
    loss: float | None
    seconds_per_step: float | None
    remaining_seconds: float | None
    stage_done: int
    stage_total: int
    message: str
    """What happened, for a person, of a warning."""
    checkpoint: RankedCheckpoint | None
    """The checkpoint that was scored."""
    samples: tuple[TrainingSample, ...]
    error: JobError | None
    """Why the job failed, or the attempt was lost."""
    lora: PublishedLora | None
    """What was published."""


@dataclass(frozen=True)
class TrainingForecast:
    """What a job would be: the result of a dry run."""

    trainable: bool
    error: JobError | None
    """Why it is not."""
    total_steps: int
    duration_seconds: float | None
    """None when no job has been trained there yet."""
    cost: float | None
    currency: str
    warnings: tuple[str, ...]
    dataset: tuple[DatasetImage, ...]


def document(value: Any) -> Any:
    """Return a value of this module as JSON has it: times in RFC 3339, bytes in base64."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: document(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): document(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [document(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.value if isinstance(value, StrEnum) else value
