"""The command ``likeness train``: LoRAs from a folder of photos."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from likeness.calls import CallOptions
from likeness.channel import DEFAULT_TRAINER_ADDRESS
from likeness.errors import InvalidRequest
from likeness.metadata import CallMetadata
from likeness.trainer_client import AsyncTrainerClient, TrainingPlan
from likeness.training import (
    DatasetImage,
    TrainingEvent,
    TrainingEventType,
    TrainingForecast,
    TrainingJob,
    TrainingSettings,
    TrainingState,
    document,
)

TRAINER_VARIABLE = "LIKENESS_TRAINER_ADDRESS"
_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif"})
_RECONNECT_SECONDS = 120.0
_MAX_CAPTION_BYTES = 4000


def add_training_commands(parser: argparse.ArgumentParser) -> Iterable[argparse.ArgumentParser]:
    """Add ``create``, ``dry-run``, ``list``, ``show``, ``watch``, ``cancel`` and ``delete``; return their parsers."""
    commands = parser.add_subparsers(dest="train_command", required=True, metavar="ACTION")
    create = commands.add_parser("create", help="train a LoRA from photos of a character")
    create.add_argument("--watch", action="store_true", help="tell how it goes on until it has ended")
    dry_run = commands.add_parser("dry-run", help="check photos, and tell steps, time and cost without training")
    for command in (create, dry_run):
        _add_plan(command)
    listing = commands.add_parser("list", help="list the jobs, the newest first")
    listing.add_argument("--character", default="", metavar="ID", help="only jobs of this character")
    for name, text in (
        ("show", "describe a job"),
        ("watch", "tell how a job goes on until it has ended"),
        ("cancel", "stop a job; its last checkpoint is kept"),
        ("delete", "remove an ended job with its photos, caches and checkpoints"),
    ):
        commands.add_parser(name, help=text).add_argument("job_id", metavar="JOB")
    commands.choices["delete"].add_argument("--with-lora", action="store_true", help="remove its LoRA too")
    for command in commands.choices.values():
        command.add_argument(
            "--server", metavar="HOST:PORT", default=os.environ.get(TRAINER_VARIABLE, DEFAULT_TRAINER_ADDRESS),
            help="where the trainer is (%(default)s)",
        )  # fmt: skip
        command.add_argument("--tenant", default="default", help="whose jobs they are (%(default)s)")
    return commands.choices.values()


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("character_id", metavar="CHARACTER", help="its name, and that of the LoRA: a-z, 0-9, _ and -")
    parser.add_argument(
        "photos", nargs="+", metavar="PHOTO",
        help="photos, folders of photos, https URLs or one zip file; a text file beside a photo is its caption",
    )  # fmt: skip
    parser.add_argument("--trigger-word", required=True, metavar="TEXT", help="the word that will call the character")
    parser.add_argument("--class-word", default="", metavar="TEXT", help="what the character is, for example woman")
    parser.add_argument("--job", default="", metavar="ID", dest="job_id", help="name of the job; made when left out")
    parser.add_argument("--rank", type=int, help="rank of the LoRA")
    parser.add_argument("--steps", type=int, help="steps in all")
    parser.add_argument("--learning-rate", type=float, metavar="RATE", help="highest learning rate")
    parser.add_argument("--resolution", type=int, metavar="PIXELS", help="side of a square of the size trained at")
    parser.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="seed of data order, noise and samples (%(default)s)")
    parser.add_argument(
        "--overrides", type=Path, metavar="FILE", help="JSON of further training settings of the profile's file"
    )
    parser.add_argument("--webhook", default="", metavar="URL", help="where events are sent")


async def run_training_command(options: argparse.Namespace) -> tuple[dict[str, object], str]:
    """Do what ``likeness train`` is told, and return the result for a program and for a person.

    Raises LikenessError, and OSError when a file cannot be read.
    """
    call = CallOptions(CallMetadata.new(tenant_id=options.tenant), options.timeout)
    async with AsyncTrainerClient(options.server, default_options=call) as client:
        match options.train_command:
            case "create":
                job = await client.create(_plan(options))
                if options.watch:
                    job = await _watch(client, job.job_id, quiet=options.json)
                return {"job": document(job)}, describe_job(job)
            case "dry-run":
                told = await client.dry_run(_plan(options))
                return {"forecast": document(told)}, describe_forecast(told)
            case "watch":
                job = await _watch(client, options.job_id, quiet=options.json)
                return {"job": document(job)}, describe_job(job)
            case "show":
                job = await client.get(options.job_id)
                return {"job": document(job)}, describe_job(job)
            case "cancel":
                job = await client.cancel(options.job_id)
                return {"job": document(job)}, describe_job(job)
            case "delete":
                await client.delete(options.job_id, delete_lora=options.with_lora)
                return {"deleted": options.job_id}, f"removed {options.job_id}"
        jobs = await _all_jobs(client, options.character)
        return {"jobs": document(jobs)}, "\n".join(map(describe_line, jobs)) or "no job"


async def _all_jobs(client: AsyncTrainerClient, character_id: str) -> Sequence[TrainingJob]:
    jobs: list[TrainingJob] = []
    token = ""
    while True:
        page = await client.list(0, token, character_id)
        jobs += page.jobs
        token = page.next_page_token
        if not token:
            return jobs


async def _watch(client: AsyncTrainerClient, job_id: str, *, quiet: bool) -> TrainingJob:
    """Tell a job's events on standard error until it has ended; return it then."""
    async for event in client.watch(job_id, reconnect_seconds=_RECONNECT_SECONDS):
        if not quiet:
            print(describe_event(event), file=sys.stderr, flush=True)
    return await client.get(job_id)


def _plan(options: argparse.Namespace) -> TrainingPlan:
    files = [path for path in options.photos if "://" not in path]
    urls = [path for path in options.photos if "://" in path and not path.startswith("artifact://")]
    archives = [Path(path) for path in files if path.lower().endswith(".zip")]
    if len(archives) > 1:
        raise InvalidRequest("archive: at most one zip file is taken", field="archive")
    photos = [photo for path in files if not path.lower().endswith(".zip") for photo in _photos(Path(path))]
    uris = [path for path in options.photos if path.startswith("artifact://")]
    captions = [*map(_caption, photos), *([""] * (len(uris) + len(urls)))]
    names = ("rank", "steps", "learning_rate", "resolution", "seed", "checkpoint_every")
    overrides = _overrides(options.overrides)
    return TrainingPlan(
        character_id=options.character_id,
        trigger_word=options.trigger_word,
        images=[*photos, *uris],
        image_urls=urls,
        archive=archives[0] if archives else None,
        captions=captions if any(captions) else (),
        class_word=options.class_word,
        job_id=options.job_id,
        settings=TrainingSettings(**{name: getattr(options, name) for name in names}, overrides=overrides),
        webhook_url=options.webhook,
        # On the command line it would stand in the shell's history and in the list of processes.
        webhook_secret=os.environ.get("LIKENESS_WEBHOOK_SECRET", "") if options.webhook else "",
    )


def _photos(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix.lower() in _PICTURES)


def _caption(photo: Path) -> str:
    beside = photo.with_suffix(".txt")
    if not beside.is_file():
        return ""
    if beside.stat().st_size > _MAX_CAPTION_BYTES:
        raise InvalidRequest(f"captions: {beside.name} is too long for a caption", field="captions")
    try:
        return beside.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise InvalidRequest(f"captions: {beside.name} is not UTF-8", field="captions") from None


def _overrides(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InvalidRequest(f"settings.overrides: {path} is not a JSON object", field="settings.overrides")
    return values


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
