"""The interface of a training run: what goes in, what it tells, what comes out. Needs no torch; all of it is JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError, field_validator
from pydantic.dataclasses import dataclass as checked_dataclass

from core.training.dataset_report import CropReport, DatasetReport, Finding, PhotoReport
from core.training.settings import TrainingSettings
from likeness.errors import InvalidRequest

__all__ = [
    "CheckpointSaved",
    "CheckpointScore",
    "CheckpointScored",
    "CropReport",
    "DatasetInspected",
    "DatasetReport",
    "FellBack",
    "Finding",
    "Photo",
    "PhotoFile",
    "PhotoReport",
    "Progress",
    "Report",
    "RunState",
    "SamplePicture",
    "StateChanged",
    "StepTrained",
    "TrainingEvent",
    "TrainingResult",
    "TrainingSpec",
    "checkpoint_lora",
    "event_from_json",
    "event_to_json",
    "latest_checkpoint",
]


class RunState(StrEnum):
    """What a run is at; the names are those of a job's states."""

    VALIDATING = "VALIDATING"
    CACHING = "CACHING"
    TRAINING = "TRAINING"
    EVALUATING = "EVALUATING"
    PUBLISHING = "PUBLISHING"


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo in memory."""

    name: str
    """What the client calls it."""
    rgb: npt.NDArray[np.uint8] | None
    """H×W×3, upright; None when it could not be decoded."""
    caption: str = ""
    """The client's caption; empty takes the template."""
    error: str = ""
    """Why it could not be decoded."""


@checked_dataclass(frozen=True, kw_only=True)
class PhotoFile:
    """A photo in the work directory."""

    file: Annotated[str, Field(pattern=r"^photos/[0-9a-zA-Z_-]+(\.[0-9a-z]+)?$")]
    """Its path in the work directory; a name of the trainer's making, never the client's."""
    name: str
    """What the client calls it."""
    caption: Annotated[str, Field(max_length=2000)] = ""
    """The client's caption; empty takes the template."""


@checked_dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """A training run, with nothing left open: the same spec on the same machine makes the same LoRA."""

    job_id: str
    character_id: str
    trigger_word: Annotated[str, Field(min_length=1, max_length=64)]
    """What calls the character in a prompt, for example ``ohwx``."""
    photos: tuple[PhotoFile, ...] = ()
    settings: TrainingSettings
    profile: str = "miniature"
    """Name of the generator's profile, or the path of its TOML file."""
    weights_dir: str = "weights"
    """Folder that relative folders of the profile, and ``faces``, are inside."""
    device: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:0``."""
    offline: bool = False
    """Take weights of the hub from the local cache only."""
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """CPU threads; another number rounds otherwise, so a run is resumed with the same."""

    @field_validator("trigger_word")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip() or "{" in value or "}" in value:
            raise ValueError("must be a word, without braces")
        return value.strip()

    @property
    def subject(self) -> str:
        """The trigger word with the class word, as captions and prompts name the character."""
        return f"{self.trigger_word} {self.settings.class_word}"

    def to_json(self) -> str:
        """Write it."""
        return _SPEC.dump_json(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> TrainingSpec:
        """Read what `to_json` wrote. Raises InvalidRequest."""
        try:
            return _SPEC.validate_json(text)
        except ValidationError as error:
            raise InvalidRequest(f"the training's description cannot be read: {error}") from error


@dataclass(frozen=True)
class StateChanged:
    """The run has come to the next part."""

    state: RunState


@dataclass(frozen=True)
class DatasetInspected:
    """The photos are checked."""

    report: DatasetReport


@dataclass(frozen=True)
class Progress:
    """A part that counts its items goes on: caching, evaluating."""

    state: RunState
    done: int
    total: int


@dataclass(frozen=True)
class StepTrained:
    """An optimizer step has ended."""

    step: int
    """From 1."""
    total_steps: int
    loss: float
    smoothed_loss: float
    """Running mean over about 20 steps."""
    learning_rate: float
    gradient_norm: float
    seconds_per_step: float
    eta_seconds: float
    """Until the last step; evaluation comes on top."""


@dataclass(frozen=True)
class CheckpointSaved:
    """The run can be taken up from here."""

    step: int
    folder: str
    """In the work directory."""


@dataclass(frozen=True)
class SamplePicture:
    """A picture that was drawn to score a checkpoint."""

    step: int
    """0: the base, without a LoRA."""
    prompt: str
    seed: int
    file: str
    """JPEG in the work directory."""
    faces: int
    identity: float
    """Mean cosine to the references; 0 unless exactly one face is there."""
    adherence: float
    """0–1; 0.5 is chance. How much nearer the scene is to the base's for this prompt than for the others."""
    copy_distance: int
    """Bits between its perceptual hash and the nearest training crop's, of 64."""


@dataclass(frozen=True)
class CheckpointScore:
    """How good a checkpoint is."""

    step: int
    score: float
    """identity + adherence_weight × (adherence − 0.5) − copy_penalty × copies."""
    identity: float
    adherence: float
    copies: float
    """Share of the pictures that are copies of a training crop."""
    one_face: float
    """Share of the pictures with exactly one face."""
    samples: tuple[SamplePicture, ...]
    lora_file: str
    """Its safetensors in the work directory; empty for the base."""


@dataclass(frozen=True)
class CheckpointScored:
    """A checkpoint was drawn with and scored."""

    score: CheckpointScore


@dataclass(frozen=True)
class FellBack:
    """The run goes on with less than was asked, for want of memory."""

    message: str


TrainingEvent = StateChanged | DatasetInspected | Progress | StepTrained | CheckpointSaved | CheckpointScored | FellBack
Report = Callable[[TrainingEvent], None]
"""Takes events in the run's thread; it should not block for long."""


@dataclass(frozen=True)
class TrainingResult:
    """What a run made. Paths are in the work directory."""

    lora_file: str
    """The best checkpoint's safetensors."""
    sha256: str
    size_bytes: int
    step: int
    """The step of that checkpoint."""
    ranking: tuple[CheckpointScore, ...]
    """All scored checkpoints, the best first."""
    base: CheckpointScore
    """The same pictures without the LoRA."""
    references_held_out: bool
    """False: too few photos, so identity was scored against photos that were trained on."""
    dataset: DatasetReport
    manifest: dict[str, str]
    """The file's metadata: base and its revision, dataset hash, settings, trigger word."""
    train_seconds: float
    """Of this process; a resumed run counts its own part."""
    first_loss: float
    """Smoothed loss after the first 20 steps of this process."""
    last_loss: float

    def to_json(self) -> str:
        """Write it."""
        return _RESULT.dump_json(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> TrainingResult:
        """Read what `to_json` wrote."""
        return _RESULT.validate_json(text)


def event_to_json(event: TrainingEvent) -> str:
    """Write an event, with its class's name under ``event``."""
    body: dict[str, Any] = TypeAdapter(type(event)).dump_python(event, mode="json")
    return _JSON.dump_json({"event": type(event).__name__, **body}).decode()


def event_from_json(text: str | bytes) -> TrainingEvent:
    """Read what `event_to_json` wrote."""
    body = _JSON.validate_json(text)
    event: TrainingEvent = TypeAdapter(_EVENTS[body.pop("event")]).validate_python(body)
    return event


def checkpoint_lora(step: int) -> str:
    """Return where a checkpoint's LoRA is in the work directory: of scored ones, and of the last before a cancel."""
    return f"loras/{step:06d}.safetensors"


def latest_checkpoint(workdir: Path) -> int:
    """Return the step that a run in ``workdir`` would be taken up from; 0 when it would begin anew."""
    folders = (workdir / "checkpoints").glob("[0-9]*")
    return max((int(folder.name) for folder in folders if folder.name.isdigit()), default=0)


_EVENTS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (StateChanged, DatasetInspected, Progress, StepTrained, CheckpointSaved, CheckpointScored, FellBack)
}
_JSON: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
_SPEC = TypeAdapter(TrainingSpec)
_RESULT = TypeAdapter(TrainingResult)
