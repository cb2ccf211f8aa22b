"""Training jobs, their events and dry runs as a person wants to read them."""

from __future__ import annotations

from collections.abc import Sequence

from likeness.training import (
    CharacterDeletion,
    DatasetImage,
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
    lines += [
        f"  step {item.step}: score {item.score:.3f}, identity {item.identity:.3f}, adherence {item.adherence:.2f}"
        for item in job.checkpoints
    ]
    lines += [f"  sample of step {item.step}: {item.artifact_uri}" for item in job.samples]
    return "\n".join(lines)


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
    if event.type not in (TrainingEventType.STATE_CHANGED, TrainingEventType.PROGRESS):
        parts.append(event.message or str(event.type))
    if event.error is not None:
        parts.append(f"{event.error.reason}: {event.error.message}")
    return ", ".join([*parts, *(sample.artifact_uri for sample in event.samples)])


def describe_forecast(told: TrainingForecast) -> str:
    """Return a dry run's result as a person wants to see it."""
    used = sum(image.used for image in told.dataset)
    lines = [f"{used} of {len(told.dataset)} photos would be used, {told.total_steps} steps"]
    if told.duration_seconds is not None:
        cost = "" if told.cost is None else f", {told.cost:.2f} {told.currency}".rstrip()
        lines.append(f"  about {told.duration_seconds / 60:.0f} min{cost}")
    if told.error is not None:
        lines.append(f"  would not train: {told.error.message}")
    return "\n".join([*lines, *_left_out(told.dataset), *(f"  warning: {text}" for text in told.warnings)])


def _left_out(dataset: Sequence[DatasetImage]) -> list[str]:
    found = [(image.image_index + 1, finding) for image in dataset for finding in image.findings]
    return [
        f"  photo {number}, {'left out' if finding.rejects else 'kept'}: {finding.reason}: {finding.detail}"
        for number, finding in found
    ]


def describe_deletion(character_id: str, deletion: CharacterDeletion) -> str:
    """Return what was forgotten of a character as a line."""
    jobs = ", ".join(deletion.job_ids) or "none"
    versions = ", ".join(map(str, deletion.lora_versions)) or "none"
    return f"{character_id} is forgotten: jobs {jobs}; versions of its LoRA {versions}"
