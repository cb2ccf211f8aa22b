"""The command ``likeness jobs``: training jobs that are there, and the characters that they are of."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from likeness.channel import DEFAULT_TRAINER_ADDRESS
from likeness.cli.options import TRAINER_VARIABLE, add_server, add_tenant, tenant_options
from likeness.cli.photo_report import add_report, write_report
from likeness.cli.training_output import describe_deletion, describe_event, describe_job, describe_line
from likeness.trainer_client import AsyncTrainerClient
from likeness.training import TrainingJob, document

_RECONNECT_SECONDS = 120.0


def add_job_commands(parser: argparse.ArgumentParser) -> Iterable[argparse.ArgumentParser]:
    """Add ``list``, ``show``, ``watch``, ``cancel``, ``publish``, ``delete`` and ``forget``; return their parsers."""
    commands = parser.add_subparsers(dest="jobs_command", required=True, metavar="ACTION")
    listing = commands.add_parser("list", help="list the jobs, the newest first")
    listing.add_argument("--character", default="", metavar="ID", help="only jobs of this character")
    for name, text in (
        ("show", "describe a job"),
        ("watch", "tell how a job goes on until it has ended"),
        ("cancel", "stop a job; its last checkpoint is kept"),
        ("publish", "publish a further checkpoint of an ended job as the next version of the character's LoRA"),
        ("delete", "remove an ended job with its photos, caches and checkpoints"),
    ):
        commands.add_parser(name, help=text).add_argument("job_id", metavar="JOB", help="name of the job")
    commands.choices["delete"].add_argument(
        "--with-lora", action="store_true", help="remove the versions of the LoRA that were published of it too"
    )
    add_report(commands.choices["show"])
    commands.choices["publish"].add_argument(
        "--step", type=int, required=True, metavar="STEP", help="step of a checkpoint that show lists"
    )
    forget = commands.add_parser("forget", help="stop and remove all jobs of a character, and all versions of its LoRA")
    forget.add_argument("character_id", metavar="CHARACTER", help="name of the character, and of its LoRA")
    for command in commands.choices.values():
        add_trainer(command)
    return commands.choices.values()


def add_trainer(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the trainer is, and whose jobs are meant."""
    add_server(parser, TRAINER_VARIABLE, DEFAULT_TRAINER_ADDRESS, "trainer")
    add_tenant(parser)


def open_trainer(options: argparse.Namespace) -> AsyncTrainerClient:
    """Return the client that a command's options ask for. Raises InvalidRequest for a bad tenant."""
    return AsyncTrainerClient(options.server, default_options=tenant_options(options))


@dataclass(frozen=True)
class JobCommandResult:
    """What a command about training jobs has to tell."""

    document: dict[str, object]
    """For a program."""
    text: str
    """For a person."""
    watched: TrainingJob | None = None
    """The job that was watched to its end, whose fate is the command's own."""


async def run_jobs_command(options: argparse.Namespace) -> JobCommandResult:
    """Do what ``likeness jobs`` is told. Raises LikenessError, and OSError when the report can't be written."""
    async with open_trainer(options) as client:
        match options.jobs_command:
            case "list":
                jobs = await _all_jobs(client, options.character)
                return JobCommandResult({"jobs": document(jobs)}, "\n".join(map(describe_line, jobs)) or "no job")
            case "delete":
                await client.delete(options.job_id, delete_lora=options.with_lora)
                return JobCommandResult({"deleted": options.job_id}, f"removed {options.job_id}")
            case "publish":
                lora = await client.publish(options.job_id, options.step)
                text = f"step {lora.step} of {options.job_id} is {lora.lora_id}:{lora.version}"
                return JobCommandResult({"lora": document(lora)}, text)
            case "forget":
                deletion = await client.delete_character(options.character_id)
                text = describe_deletion(options.character_id, deletion)
                return JobCommandResult({"forgotten": document(deletion)}, text)
            case "watch":
                job = await watch_job(client, options.job_id, quiet=options.json)
            case "cancel":
                job = await client.cancel(options.job_id)
            case _:
                job = await client.get(options.job_id)
                write_report(options.report, job.character_id, job.dataset, job.warnings)
        watched = job if options.jobs_command == "watch" else None
        return JobCommandResult({"job": document(job)}, describe_job(job), watched)


async def watch_job(client: AsyncTrainerClient, job_id: str, *, quiet: bool) -> TrainingJob:
    """Tell a job's events on standard error until it has ended; return it then. Raises LikenessError."""
    async for event in client.watch(job_id, reconnect_seconds=_RECONNECT_SECONDS):
        if not quiet:
            print(describe_event(event), file=sys.stderr, flush=True)
    return await client.get(job_id)


async def _all_jobs(client: AsyncTrainerClient, character_id: str) -> Sequence[TrainingJob]:
    jobs: list[TrainingJob] = []
    token = ""
    while True:
        page = await client.list(0, token, character_id)
        jobs += page.jobs
        token = page.next_page_token
        if not token:
            return jobs
