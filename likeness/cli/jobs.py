"""The command ``likeness jobs``: training jobs that are there, and the characters that they are of."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence

from likeness.channel import DEFAULT_TRAINER_ADDRESS
from likeness.cli.options import TRAINER_VARIABLE, add_server, add_tenant, tenant_options
from likeness.cli.training_output import describe_deletion, describe_event, describe_job, describe_line
from likeness.trainer_client import AsyncTrainerClient
from likeness.training import TrainingJob, document

_RECONNECT_SECONDS = 120.0


def add_job_commands(parser: argparse.ArgumentParser) -> Iterable[argparse.ArgumentParser]:
    """Add ``list``, ``show``, ``watch``, ``cancel``, ``delete`` and ``forget``; return their parsers."""
    commands = parser.add_subparsers(dest="jobs_command", required=True, metavar="ACTION")
    listing = commands.add_parser("list", help="list the jobs, the newest first")
    listing.add_argument("--character", default="", metavar="ID", help="only jobs of this character")
    for name, text in (
        ("show", "describe a job"),
        ("watch", "tell how a job goes on until it has ended"),
        ("cancel", "stop a job; its last checkpoint is kept"),
        ("delete", "remove an ended job with its photos, caches and checkpoints"),
    ):
        commands.add_parser(name, help=text).add_argument("job_id", metavar="JOB", help="name of the job")
    commands.choices["delete"].add_argument(
        "--with-lora", action="store_true", help="remove the version of the LoRA that it published too"
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


async def run_jobs_command(options: argparse.Namespace) -> tuple[dict[str, object], str]:
    """Do what ``likeness jobs`` is told, and return the result for a program and for a person. Raises LikenessError."""
    async with open_trainer(options) as client:
        match options.jobs_command:
            case "list":
                jobs = await _all_jobs(client, options.character)
                return {"jobs": document(jobs)}, "\n".join(map(describe_line, jobs)) or "no job"
            case "delete":
                await client.delete(options.job_id, delete_lora=options.with_lora)
                return {"deleted": options.job_id}, f"removed {options.job_id}"
            case "forget":
                deletion = await client.delete_character(options.character_id)
                return {"forgotten": document(deletion)}, describe_deletion(options.character_id, deletion)
            case "watch":
                job = await watch_job(client, options.job_id, quiet=options.json)
            case "cancel":
                job = await client.cancel(options.job_id)
            case _:
                job = await client.get(options.job_id)
        return {"job": document(job)}, describe_job(job)


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
