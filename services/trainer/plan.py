"""What a job asks for as the description of a run, and a run's report as messages of the contract."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format

from core.qwen.profile import load_profile
from core.training.settings import Policy, TrainingSettings, change_settings, default_settings
from core.training.spec import DatasetReport, Finding, PhotoFile, PhotoReport, TrainingSpec
from likeness.errors import FieldViolation, InvalidRequest
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.records import StoredPhoto
from services.trainer.settings import TrainerSettings

_OWN = ("rank", "steps", "learning_rate", "seed", "checkpoint_every")
_TAKEN = frozenset({*_OWN, "resolutions"})
_WARMUP_SHARE = 10
_SUFFIX = ".photo"


def training_settings(request: pb2.CreateTrainingJobRequest, settings: TrainerSettings) -> TrainingSettings:
    """Return the settings of a run: the profile's, with what the request changes.

    Raises:
        InvalidRequest: a value is unknown or out of range, or is there twice; each is named.
    """
    asked = request.settings
    base = default_settings(settings.profile_name)
    changes: dict[str, Any] = json_format.MessageToDict(asked.overrides) if asked.HasField("overrides") else {}
    hyperparameters = changes.setdefault("hyperparameters", {})
    if not isinstance(hyperparameters, dict):
        raise InvalidRequest(
            "settings.overrides.hyperparameters: must be an object", field="settings.overrides.hyperparameters"
        )
    for name in _TAKEN & hyperparameters.keys():
        field = f"settings.overrides.hyperparameters.{name}"
        raise InvalidRequest(f"{field}: has a field of its own in settings", field=field)
    if asked.resolution and asked.resolution % 16:
        raise InvalidRequest("settings.resolution: must be a multiple of 16", field="settings.resolution")
    hyperparameters |= {name: value for name in _OWN if (value := getattr(asked, name))}
    if asked.resolution:
        hyperparameters["resolutions"] = [{"side": asked.resolution}]
    if request.class_word.strip():
        changes["class_word"] = request.class_word.strip()
    _fit_schedule(base, changes)
    try:
        chosen = change_settings(base, changes, field="settings")
    except InvalidRequest as error:
        violations = [FieldViolation(_request_field(found.field), found.message) for found in error.violations]
        text = "; ".join(f"{found.field}: {found.message}" for found in violations)
        raise InvalidRequest(text or error.message, violations=violations) from error
    _check_profile(chosen, settings)
    return chosen


def _check_profile(chosen: TrainingSettings, settings: TrainerSettings) -> None:
    """Raise InvalidRequest for what the generator's profile can't do: told now, and not by a run that fails."""
    profile = load_profile(settings.profile_name)
    if chosen.hyperparameters.rank > profile.loras.max_rank:
        raise InvalidRequest(
            f"settings.rank: this deployment's generator takes LoRAs up to rank {profile.loras.max_rank}",
            field="settings.rank",
        )
    modes = [mode.name for mode in profile.modes]
    if chosen.evaluation.mode not in modes:
        field = "settings.overrides.evaluation.mode"
        raise InvalidRequest(f"{field}: must be one of {', '.join(modes)}", field=field)


def _request_field(path: str) -> str:
    """Return the request's field behind a setting: one of its own, or one of the overrides."""
    name = path.removeprefix("settings").removeprefix(".")
    own = name.removeprefix("hyperparameters.")
    if own in _OWN or name == "class_word":
        return f"settings.{own}" if own in _OWN else name
    if own.startswith("resolutions"):
        return "settings.resolution"
    return f"settings.overrides.{name}" if name else "settings.overrides"


def _fit_schedule(base: TrainingSettings, changes: dict[str, Any]) -> None:
    """Let what was not asked for follow what was: warm-up and evaluation fit the steps and the checkpoints."""
    asked = changes["hyperparameters"]
    steps = int(asked.get("steps", base.hyperparameters.steps))
    if "warmup_steps" not in asked:
        asked["warmup_steps"] = min(base.hyperparameters.warmup_steps, steps // _WARMUP_SHARE)
    checkpoint_every = int(asked.get("checkpoint_every", base.hyperparameters.checkpoint_every))
    evaluation = changes.setdefault("evaluation", {})
    if not isinstance(evaluation, dict):
        return
    # A short run has its best checkpoint as much earlier as it is shorter.
    share = steps / base.hyperparameters.steps
    if "every" not in evaluation:
        every = int(base.evaluation.every * min(1.0, share))
        evaluation["every"] = max(1, every // checkpoint_every) * checkpoint_every
    if "from_step" not in evaluation:
        evaluation["from_step"] = int(base.evaluation.from_step * share)


def training_spec(
    request: pb2.CreateTrainingJobRequest,
    settings: TrainerSettings,
    *,
    job_id: str,
    photos: Sequence[StoredPhoto] = (),
) -> TrainingSpec:
    """Return the description of a run over ``photos``, whose files are named by their places. Raises InvalidRequest."""
    chosen = training_settings(request, settings)
    return TrainingSpec(
        job_id=job_id,
        character_id=request.character_id,
        trigger_word=request.trigger_word,
        photos=tuple(
            PhotoFile(file=photo_file(index), name=photo.name, caption=photo.caption)
            for index, photo in enumerate(photos)
        ),
        settings=chosen,
        profile=settings.profile_name,
        weights_dir=str(settings.weights_dir),
        device=settings.device,
        offline=settings.offline,
        threads=min(settings.threads, 256),
    )


def photo_file(index: int) -> str:
    """Return where a photo is in a run's folder."""
    return f"photos/{index:03d}{_SUFFIX}"


def dataset_messages(report: DatasetReport) -> list[pb2.DatasetImage]:
    """Return what became of each photo."""
    return [_photo_message(index, photo) for index, photo in enumerate(report.photos)]


def dataset_warnings(report: DatasetReport) -> list[str]:
    """Return what is worth knowing about the photos, for a person."""
    return [*report.problems, *report.warnings]


def _photo_message(index: int, photo: PhotoReport) -> pb2.DatasetImage:
    return pb2.DatasetImage(
        image_index=index,
        used=photo.accepted,
        findings=list(map(_finding, photo.findings)),
        held_out=photo.held_out,
        caption=photo.caption,
        crops=[f"{_words(crop.framing)} {crop.width}×{crop.height}" for crop in photo.crops],
        thumbnail=photo.thumbnail,
        name=photo.name,
    )


def _finding(finding: Finding) -> pb2.DatasetFinding:
    return pb2.DatasetFinding(
        reason=str(finding.reason), rejects=finding.policy is Policy.REJECT, detail=finding.message
    )


def _words(name: str) -> str:
    return re.sub("_", " ", str(name))
