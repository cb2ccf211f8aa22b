"""What a training run can be told: hyperparameters, dataset policy, evaluation; with limits, and defaults by profile.

The shipped defaults are ``profiles/<name of the generator's profile>.toml``. Needs no torch.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from likeness.errors import FieldViolation, InvalidRequest

PROFILES_FOLDER = Path(__file__).parent / "profiles"
_STRICT = ConfigDict(extra="forbid")


class Reason(StrEnum):
    """Why a photo may not be trained on."""

    UNREADABLE = "unreadable"
    """The file could not be decoded."""
    NO_FACE = "no_face"
    """No face was found."""
    MULTI_FACE = "multi_face"
    """Several faces, and none of them is both dominant and the set's person."""
    FACE_TOO_SMALL = "face_too_small"
    """The face is narrower than ``min_face_pixels``."""
    BLURRED = "blurred"
    """The face's sharpness is below ``min_sharpness``."""
    DUPLICATE = "duplicate"
    """A photo before it is nearly the same."""
    IDENTITY_OUTLIER = "identity_outlier"
    """The face is unlike the others': another person, most likely."""
    EXTREME_POSE = "extreme_pose"
    """The head is turned further than ``max_turn_degrees``."""
    LOW_RESOLUTION = "low_resolution"
    """The shorter side is below ``min_short_side``."""


class Policy(StrEnum):
    """What a finding does."""

    REJECT = "reject"
    """The photo is left out."""
    WARN = "warn"
    """The photo is kept, and the report tells."""


ALWAYS_REJECTED = frozenset({Reason.UNREADABLE, Reason.NO_FACE, Reason.MULTI_FACE})
"""There is nothing to train on without exactly one known face."""


class Framing(StrEnum):
    """How much of a photo a crop shows."""

    HEAD = "head"
    HALF_BODY = "half_body"
    WHOLE = "whole"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DatasetSettings:
    """Checks and crops of the photos."""

    policy: Mapping[Reason, Policy] = Field(default_factory=dict)
    """What each finding does; what is not named is rejected."""
    min_photos: Annotated[int, Field(ge=1, le=100)] = 4
    """Fewest usable photos."""
    max_photos: Annotated[int, Field(ge=1, le=1000)] = 100
    """Most photos."""
    min_short_side: Annotated[int, Field(ge=16, le=8192)] = 768
    """Pixels."""
    min_face_pixels: Annotated[float, Field(ge=8, le=4096)] = 128.0
    """Width of the face in the photo."""
    min_sharpness: Annotated[float, Field(ge=0, le=10_000)] = 30.0
    """Variance of the Laplacian of the aligned face."""
    max_turn_degrees: Annotated[float, Field(gt=0, le=90)] = 55.0
    """Angle between the gaze and the viewer."""
    duplicate_bits: Annotated[int, Field(ge=0, le=32)] = 4
    """Perceptual hashes of 64 bits that differ in so many or fewer are of one picture."""
    min_identity: Annotated[float, Field(ge=-1, le=1)] = 0.3
    """Cosine of a face to the mean of all others, at least."""
    dominant_face: Annotated[float, Field(gt=1, le=100)] = 2.0
    """A face is dominant when its area is so many times the next one's."""
    framings: Annotated[tuple[Framing, ...], Field(min_length=1)] = (Framing.HEAD, Framing.HALF_BODY, Framing.WHOLE)
    """Which crops are made of a photo."""
    held_out: Annotated[int, Field(ge=0, le=20)] = 3
    """Photos that are kept out of the training to score against; at most a third of the usable ones."""

    def policy_of(self, reason: Reason) -> Policy:
        """Return what ``reason`` does."""
        return Policy.REJECT if reason in ALWAYS_REJECTED else self.policy.get(reason, Policy.REJECT)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ResolutionShare:
    """A picture size to train at, and how often."""

    side: Annotated[int, Field(ge=128, le=2048, multiple_of=16)]
    """Side of the square of this area, in pixels."""
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Relative odds of a step at this size."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TimestepSettings:
    """How noise levels (sigma, 0–1) are drawn, and what each counts in the loss."""

    sampling: Literal["uniform", "logit_normal", "shifted"] = "logit_normal"
    """Uniform; logit-normal (Esser et al. 2024, arxiv.org/abs/2403.03206); or uniform, shifted as in drawing."""
    mean: Annotated[float, Field(ge=-5, le=5)] = 0.0
    """Of the logit."""
    spread: Annotated[float, Field(gt=0, le=5)] = 1.0
    """Standard deviation of the logit."""
    uniform_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of logit-normal draws that are uniform instead: it hardly visits the ends."""
    weighting: Literal["none", "bell"] = "none"
    """Bell: the middle counts more, a Gaussian around 0.5 as DiffSynth weights."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class PriorSettings:
    """Prior preservation (Ruiz et al. 2022, arxiv.org/abs/2208.12242): the base's own pictures of the class."""

    pictures: Annotated[int, Field(ge=1, le=200)]
    weight: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Weight of a prior picture's loss."""
    every: Annotated[int, Field(ge=2, le=100)] = 4
    """Every so many steps one is on the prior."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Hyperparameters:
    """The optimisation."""

    steps: Annotated[int, Field(ge=1, le=20_000)] = 1200
    batch_size: Annotated[int, Field(ge=1, le=64)] = 1
    rank: Annotated[int, Field(ge=1, le=256)] = 32
    alpha: Annotated[float, Field(gt=0, le=1024)] | None = None
    """The update's scale is alpha / rank; None takes the rank. It is folded into the exported weights."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("to_q", "to_k", "to_v", "to_out.0")
    """Endings of the names of the linear layers that get an adapter."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    warmup_steps: Annotated[int, Field(ge=0, le=5000)] = 50
    min_learning_rate_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Where the cosine ends, as a share of the learning rate."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_gradient_norm: Annotated[float, Field(gt=0, le=1000)] = 1.0
    face_weight: Annotated[float, Field(ge=1, le=20)] = 2.0
    """What a token of the face counts against one elsewhere, before both are brought to mean 1."""
    resolutions: Annotated[tuple[ResolutionShare, ...], Field(min_length=1, max_length=4)] = (
        ResolutionShare(side=1024),
    )
    timesteps: TimestepSettings = Field(default_factory=TimestepSettings)
    prior: PriorSettings | None = None
    base_storage: Literal["full", "float8"] = "full"
    """How the frozen base's big matrices are kept: as they are loaded, or in eight bits with a scale for each row."""
    checkpointed_blocks: Annotated[int, Field(ge=0, le=1000)] | None = None
    """How many blocks are computed again in the backward pass instead of kept; None: as many as memory forces."""
    checkpoint_every: Annotated[int, Field(ge=1, le=5000)] = 100
    """Steps between checkpoints; the last step always makes one."""
    export_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Number format of the published file; the training itself is float32."""
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> Hyperparameters:
        if self.warmup_steps >= self.steps:
            raise ValueError("warmup_steps must be fewer than steps")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class EvaluationSettings:
    """What is drawn to choose the checkpoint, and how the scores weigh."""

    prompts: Annotated[tuple[str, ...], Field(min_length=1, max_length=20)] = (
        "close-up portrait of {subject} in an office",
        "half body photo of {subject} in a café",
        "photo of {subject} on the beach",
    )
    """Scenes with ``{subject}`` in them."""
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] = 1000
    """Of the first prompt; prompt k has ``seed + k``. The same for every checkpoint and for the base."""
    every: Annotated[int, Field(ge=0, le=5000)] = 200
    """Every so many steps the checkpoint is scored; a multiple of ``checkpoint_every``. 0: the last one only."""
    from_step: Annotated[int, Field(ge=0, le=20_000)] = 0
    """No checkpoint before it is scored."""
    mode: str = "fast"
    """Mode of the generator's profile."""
    side: Annotated[int, Field(ge=128, le=2048, multiple_of=16)] = 1024
    """Side of the pictures in pixels."""
    adherence_weight: Annotated[float, Field(ge=0, le=10)] = 0.5
    copy_penalty: Annotated[float, Field(ge=0, le=10)] = 0.5
    copy_bits: Annotated[int, Field(ge=0, le=32)] = 8
    """A drawn picture is a copy when its perceptual hash differs from a training crop's in so many bits or fewer."""

    @model_validator(mode="after")
    def _subject(self) -> EvaluationSettings:
        for prompt in self.prompts:
            _check_template("prompts", prompt, ("subject",))
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TrainingSettings:
    """Everything about a run but the photos and the names."""

    caption_template: str = "{framing} of {subject}"
    """Caption of a photo that has none; ``{framing}`` is close-up portrait, half body photo or photo."""
    class_word: Annotated[str, Field(min_length=1, max_length=40)] = "person"
    """What the character is, for example ``woman``; stands behind the trigger word."""
    dataset: DatasetSettings = Field(default_factory=DatasetSettings)
    hyperparameters: Hyperparameters = Field(default_factory=Hyperparameters)
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings)

    @model_validator(mode="after")
    def _consistent(self) -> TrainingSettings:
        _check_template("caption_template", self.caption_template, ("subject", "framing"))
        if self.evaluation.every % self.hyperparameters.checkpoint_every:
            raise ValueError("evaluation.every must be a multiple of hyperparameters.checkpoint_every")
        return self

    def to_json(self) -> str:
        """Write them."""
        return TypeAdapter(TrainingSettings).dump_json(self).decode()


def default_settings(profile: str) -> TrainingSettings:
    """Return the defaults of a generator's profile; those of the large model where it has no file of its own."""
    file = PROFILES_FOLDER / f"{Path(profile).stem}.toml"
    data = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return TypeAdapter(TrainingSettings).validate_python(data)


def change_settings(base: TrainingSettings, changes: Mapping[str, Any], *, field: str = "settings") -> TrainingSettings:
    """Return ``base`` with nested ``changes``, for example ``{"hyperparameters": {"rank": 16}}``.

    Raises:
        InvalidRequest: an entry is unknown or out of range; each is named, below ``field``.
    """
    adapter = TypeAdapter(TrainingSettings)
    try:
        return adapter.validate_python(_merge(adapter.dump_python(base, mode="json"), changes))
    except ValidationError as error:
        faults = [
            FieldViolation(".".join([field, *map(str, fault["loc"])]), _said(fault, base)) for fault in error.errors()
        ]
        text = "; ".join(f"{fault.field}: {fault.message}" for fault in faults)
        raise InvalidRequest(f"the training cannot be set so: {text}", violations=faults) from error


def _said(fault: ErrorDetails, settings: TrainingSettings) -> str:
    """Return what is wrong; of a name that there is not, which ones there are."""
    if fault["type"] != "unexpected_keyword_argument":
        return fault["msg"].removeprefix("Value error, ")
    *path, name = fault["loc"]
    known = _names_at(settings, path)
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}" if known else ""
    return f"there is no such setting; {hint}" if hint else "there is no such setting"


def _names_at(settings: TrainingSettings, path: Sequence[int | str]) -> list[str]:
    """Return the names of a part of the settings; none for a part that the defaults leave out."""
    place: Any = settings
    for part in path:
        place = place[0] if isinstance(part, int) else getattr(place, part, None)
    return sorted(item.name for item in fields(place)) if is_dataclass(place) else []


def _check_template(name: str, template: str, known: tuple[str, ...]) -> None:
    try:
        used = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if "subject" not in used or not set(used) <= set(known):
        raise ValueError(f"{name} needs {{subject}}, and takes no braces but those of {', '.join(known)}")


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        before = merged.get(name)
        nested = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[name] = _merge(before, value) if nested else value  # type: ignore[arg-type]
    return merged
