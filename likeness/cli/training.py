"""The command ``likeness train``: LoRAs from a folder of photos."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from likeness.cli.jobs import JobCommandResult, add_trainer, open_trainer, watch_job
from likeness.cli.photo_report import add_report, write_report
from likeness.cli.photos import photo_files
from likeness.cli.training_output import describe_forecast, describe_job, with_file_names
from likeness.errors import InvalidRequest
from likeness.trainer_client import TrainingPlan
from likeness.training import TrainingSettings, document

_MAX_CAPTION_BYTES = 4000


def add_training_commands(parser: argparse.ArgumentParser) -> Iterable[argparse.ArgumentParser]:
    """Add ``create`` and ``dry-run``; return their parsers."""
    commands = parser.add_subparsers(dest="train_command", required=True, metavar="ACTION")
    create = commands.add_parser("create", help="train a LoRA from photos of a character")
    create.add_argument("--watch", action="store_true", help="tell how it goes on until it has ended")
    dry_run = commands.add_parser("dry-run", help="check photos, and tell steps, time and cost without training")
    add_report(dry_run)
    for command in (create, dry_run):
        _add_plan(command)
        add_trainer(command)
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


async def run_training_command(options: argparse.Namespace) -> JobCommandResult:
    """Do what ``likeness train`` is told.

    Raises LikenessError, and OSError when a file cannot be read or written.
    """
    async with open_trainer(options) as client:
        plan = _plan(options)
        if options.train_command == "dry-run":
            told = await client.dry_run(plan)
            told = replace(told, dataset=with_file_names(told.dataset, list(map(str, plan.images))))
            write_report(options.report, options.character_id, told.dataset, told.warnings)
            return JobCommandResult({"forecast": document(told)}, describe_forecast(told))
        job = await client.create(plan)
        if options.watch:
            job = await watch_job(client, job.job_id, quiet=options.json)
        return JobCommandResult({"job": document(job)}, describe_job(job), job if options.watch else None)


def _plan(options: argparse.Namespace) -> TrainingPlan:
    files = [path for path in options.photos if "://" not in path]
    urls = [path for path in options.photos if "://" in path and not path.startswith("artifact://")]
    archives = [Path(path) for path in files if path.lower().endswith(".zip")]
    if len(archives) > 1:
        raise InvalidRequest("archive: at most one zip file is taken", field="archive")
    photos = [photo for path in files if not path.lower().endswith(".zip") for photo in photo_files(Path(path))]
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
