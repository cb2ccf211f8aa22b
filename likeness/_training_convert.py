"""Messages of the trainer's contract into the results of `likeness.training`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from likeness.trainer.v1 import trainer_service_pb2 as pb2
from likeness.training import (
    DatasetFinding,
    DatasetImage,
    JobError,
    PublishedLora,
    RankedCheckpoint,
    TrainingEvent,
    TrainingEventType,
    TrainingForecast,
    TrainingJob,
    TrainingSample,
    TrainingSettings,
    TrainingState,
)


def job_from_message(message: pb2.TrainingJob) -> TrainingJob:
    """Return a job."""
    return TrainingJob(
        job_id=message.job_id,
        character_id=message.character_id,
        state=state_from_message(message.state),
        trigger_word=message.trigger_word,
        class_word=message.class_word,
        image_count=message.image_count,
        settings=_settings(message.settings),
        create_time=message.create_time.ToDatetime(tzinfo=UTC),
        start_time=_time(message, "start_time"),
        end_time=_time(message, "end_time"),
        sequence=message.sequence,
        attempt=message.attempt,
        queue_position=message.queue_position,
        cancel_requested=message.cancel_requested,
        checkpoint_step=message.checkpoint_step,
        webhook_url=message.webhook_url,
        webhook_disabled=message.webhook_disabled,
        warnings=tuple(message.warnings),
        dataset=tuple(map(_dataset_image, message.dataset)),
        dataset_sha256=message.dataset_sha256,
        samples=_samples(message, message.job_id),
        checkpoints=tuple(map(_checkpoint, message.checkpoints)),
        further_loras=tuple(map(lora_from_message, message.further_loras)),
        manifest=dict(message.manifest),
        **_progress(message),
    )


def event_from_message(message: pb2.TrainingEvent, job_id: str) -> TrainingEvent:
    """Return an event of a job."""
    name = pb2.TrainingEvent.Type.Name(message.type).removeprefix("TYPE_").lower()
    return TrainingEvent(
        sequence=message.sequence,
        type=TrainingEventType(name),
        time=message.time.ToDatetime(tzinfo=UTC),
        state=state_from_message(message.state),
        message=message.message,
        checkpoint=_checkpoint(message.checkpoint) if message.HasField("checkpoint") else None,
        samples=_samples(message, job_id),
        **_progress(message),
    )


def forecast_from_message(message: pb2.DryRunTrainingResponse) -> TrainingForecast:
    """Return the result of a dry run."""
    return TrainingForecast(
        trainable=message.trainable,
        error=_error(message),
        total_steps=message.total_steps,
        duration_seconds=_seconds(message, "duration"),
        cost=message.cost if message.HasField("cost") else None,
        currency=message.currency,
        warnings=tuple(message.warnings),
        dataset=tuple(map(_dataset_image, message.dataset)),
    )


def lora_from_message(message: pb2.PublishedLora) -> PublishedLora:
    """Return a LoRA that was published."""
    return PublishedLora(message.lora_id, message.version, message.sha256, message.size_bytes, message.step)


def state_from_message(state: int) -> TrainingState:
    """Return a state. Raises ValueError for one that this version doesn't know."""
    name = pb2.TrainingJob.State.Name(state)  # type: ignore[arg-type]  # any int of the wire
    return TrainingState(name.removeprefix("STATE_").lower())


def _progress(message: pb2.TrainingJob | pb2.TrainingEvent) -> dict[str, Any]:
    return {
        "step": message.step,
        "total_steps": message.total_steps,
        "loss": message.loss if message.HasField("loss") else None,
        "seconds_per_step": message.seconds_per_step if message.HasField("seconds_per_step") else None,
        "remaining_seconds": _seconds(message, "remaining"),
        "stage_done": message.stage_done,
        "stage_total": message.stage_total,
        "error": _error(message),
        "lora": lora_from_message(message.lora) if message.HasField("lora") else None,
    }


def _error(message: pb2.TrainingJob | pb2.TrainingEvent | pb2.DryRunTrainingResponse) -> JobError | None:
    error = message.error
    return JobError(error.reason, error.message, error.field) if message.HasField("error") else None


def _settings(message: pb2.TrainingSettings) -> TrainingSettings:
    return TrainingSettings(
        rank=message.rank or None,
        steps=message.steps or None,
        learning_rate=message.learning_rate or None,
        resolution=message.resolution or None,
        seed=message.seed,
        checkpoint_every=message.checkpoint_every or None,
        overrides=json_format.MessageToDict(message.overrides) if message.HasField("overrides") else {},
    )


def _dataset_image(message: pb2.DatasetImage) -> DatasetImage:
    return DatasetImage(
        image_index=message.image_index,
        used=message.used,
        findings=tuple(DatasetFinding(item.reason, item.rejects, item.detail) for item in message.findings),
        held_out=message.held_out,
        caption=message.caption,
        crops=tuple(message.crops),
        thumbnail=message.thumbnail,
        name=message.name,
    )


def _samples(message: pb2.TrainingJob | pb2.TrainingEvent, job_id: str) -> tuple[TrainingSample, ...]:
    return tuple(
        TrainingSample(
            step=sample.step,
            prompt=sample.prompt,
            artifact_uri=sample.artifact_uri,
            seed=sample.seed,
            faces=sample.faces,
            identity=sample.identity,
            url=f"/lora-training/{job_id}/samples/{sample.artifact_uri.rpartition('/')[2]}",
        )
        for sample in message.samples
    )


def _checkpoint(message: pb2.RankedCheckpoint) -> RankedCheckpoint:
    return RankedCheckpoint(
        step=message.step,
        score=message.score,
        identity=message.identity,
        adherence=message.adherence,
        copies=message.copies,
        one_face=message.one_face,
    )


def _time(message: Message, name: str) -> datetime | None:
    value: Timestamp = getattr(message, name)
    return value.ToDatetime(tzinfo=UTC) if message.HasField(name) else None


def _seconds(message: Message, name: str) -> float | None:
    value: Duration = getattr(message, name)
    return value.ToMilliseconds() / 1000 if message.HasField(name) else None
