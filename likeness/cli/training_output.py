"""Training jobs, their events and dry runs as a person wants to read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from likeness.training import (
    CharacterDeletion,
    DatasetImage,
    RankedCheckpoint,
    TrainingEvent,
    TrainingEventType,
    TrainingForecast,
    TrainingJob,
    TrainingState,
)


def describe_line(job: TrainingJob) -> str:
    """Return a job as a line."""
    steps = f", step {job.step} of {job.total_steps}" if job.total_steps else ""
    made = f" → {job.lora.lora_id}:{job.lora.version}" if job.lora else ""
    return f"{job.job_id}  {job.character_id}  {job.state}{steps}{made}"


def describe_job(job: TrainingJob) -> str:
    """Return a job as a person wants to see it."""
    lines = [describe_line(job)]
    if job.state is TrainingState.QUEUED:
        lines.append(f"  {job.queue_position} before it")
    if job.error is not None:
        lines.append(f"  {job.error.reason}: {job.error.message}")
    used = sum(image.used for image in job.dataset)
    if job.dataset:
        lines.append(f"  {used} of {len(job.dataset)} photos are used")
    lines += _left_out(job.dataset)
    lines += [f"  warning: {text}" for text in job.warnings]
    made = {lora.step: f", {lora.lora_id}:{lora.version}" for lora in (*job.further_loras, *filter(None, [job.lora]))}
    lines += [f"  {_describe_score(item)}{made.get(item.step, '')}" for item in job.checkpoints]
    last = job.checkpoint_step
    if job.state is TrainingState.CANCELLED and last and last not in {item.step for item in job.checkpoints}:
        lines.append(f"  step {last}: the last checkpoint, not scored{made.get(last, '')}")
    if job.samples:
        lines.append("  samples, at the gateway's address:")
    lines += [f"    step {item.step}, identity {item.identity:.3f}: {item.url}" for item in job.samples]
    return "\n".join(lines)


def _describe_score(item: RankedCheckpoint) -> str:
    of = f"step {item.step}" if item.step else "the base"
    return f"{of}: score {item.score:.3f}, identity {item.identity:.3f}, adherence {item.adherence:.2f}"


def describe_event(event: TrainingEvent) -> str:
    """Return an event as a line."""
    parts = [str(event.state)]
    if event.total_steps:
        parts.append(f"step {event.step} of {event.total_steps}")
    elif event.stage_total:
        parts.append(f"{event.stage_done} of {event.stage_total}")
    if event.loss is not None and event.state is TrainingState.TRAINING:
        parts.append(f"loss {event.loss:.4f}")
    if event.remaining_seconds and event.state is TrainingState.TRAINING:
        parts.append(f"{event.remaining_seconds:.0f} s to go")
    if event.checkpoint is not None:
        parts.append(f"scored {_describe_score(event.checkpoint)}")
    elif event.type not in (TrainingEventType.STATE_CHANGED, TrainingEventType.PROGRESS):
        parts.append(event.message or str(event.type))
    if event.error is not None:
        parts.append(f"{event.error.reason}: {event.error.message}")
    return ", ".join([*parts, *(sample.url for sample in event.samples)])


def with_file_names(dataset: Sequence[DatasetImage], files: Sequence[str]) -> tuple[DatasetImage, ...]:
    """Return photos by the names of the files that they were sent from, where they came as ``images``."""
    names = {f"images[{number}]": file for number, file in enumerate(files)}
    return tuple(replace(image, name=names.get(image.name, image.name)) for image in dataset)


def describe_forecast(told: TrainingForecast) -> str:
    """Return a dry run's result as a person wants to see it."""
    used = sum(image.used for image in told.dataset)
    lines = [f"{used} of {len(told.dataset)} photos would be used, {told.total_steps} steps"]
    if told.duration_seconds is not None:
        cost = "" if told.cost is None else f", {told.cost:.2f} {told.currency}".rstrip()
        lines.append(f"  about {told.duration_seconds / 60:.0f} min{cost}")
    else:
        lines.append("  how long it takes is known once a job has been trained here")
    if told.error is not None:
        lines.append(f"  would not train: {told.error.message}")
    return "\n".join([*lines, *_left_out(told.dataset), *(f"  warning: {text}" for text in told.warnings)])


def _left_out(dataset: Sequence[DatasetImage]) -> list[str]:
    return [
        f"  photo {image.image_index + 1} ({image.name}), {'left out' if finding.rejects else 'kept'}: "
        f"{finding.reason}: {finding.detail}"
        for image in dataset
        for finding in image.findings
    ]


def describe_deletion(character_id: str, deletion: CharacterDeletion) -> str:
    """Return what was forgotten of a character as a line."""
    jobs = ", ".join(deletion.job_ids) or "none"
    versions = ", ".join(map(str, deletion.lora_versions)) or "none"
    return f"{character_id} is forgotten: jobs {jobs}; versions of its LoRA {versions}"
