"""Running a command: arguments in, calls to the services, exit status out."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence

import grpc

from likeness.calls import CallOptions
from likeness.cli import edits, face_commands, generate, output, ways
from likeness.cli.arguments import parse_arguments
from likeness.cli.jobs import JobCommandResult, run_jobs_command
from likeness.cli.loras import run_lora_command
from likeness.cli.training import run_training_command
from likeness.client import AsyncClient
from likeness.edits import EditorCapabilities
from likeness.errors import ERRORS, DeadlineExceeded, Internal, LikenessError, ServiceUnavailable
from likeness.training import TrainingState

FAULT, REFUSED, UNAVAILABLE, TOO_LATE, INTERRUPTED, UNREAD = 1, 3, 4, 5, 130, 141
_STATUS = {
    grpc.StatusCode.UNAVAILABLE: UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: TOO_LATE,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (the process's own when left out) and return the exit status."""
    options = parse_arguments(arguments)
    try:
        status = _run(options)
        # Here, and not when the interpreter ends: what goes wrong then has no handler.
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    return status


def _run(options: argparse.Namespace) -> int:
    try:
        status = asyncio.run(_COMMANDS[options.command](options))
    except LikenessError as error:
        print(output.describe_error(error, getattr(options, "server", None)), file=sys.stderr)
        if options.json:
            print(output.error_json(error, options.command))
        return exit_status(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"likeness: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("likeness: stopped", file=sys.stderr)
        return INTERRUPTED
    return status or 0


def exit_status(error: LikenessError | type[LikenessError]) -> int:
    """Return the exit status of an error."""
    if error.code in _STATUS:
        return _STATUS[error.code]
    return REFUSED if 400 <= error.http_status < 499 else FAULT


async def _lora(options: argparse.Namespace) -> None:
    document, text = await run_lora_command(options)
    print(output.to_json(document) if options.json else text)


async def _train(options: argparse.Namespace) -> int:
    return _tell_of_jobs(await run_training_command(options), options)


async def _jobs(options: argparse.Namespace) -> int:
    return _tell_of_jobs(await run_jobs_command(options), options)


def _tell_of_jobs(result: JobCommandResult, options: argparse.Namespace) -> int:
    """Print a result; return the exit status, that of the job's error where a watched one did not go well."""
    print(output.to_json(result.document) if options.json else result.text)
    job = result.watched
    if job is None or job.state is TrainingState.SUCCEEDED:
        return 0
    return exit_status(ERRORS.get(job.error.reason if job.error else "", Internal))


async def _capabilities(options: argparse.Namespace) -> None:
    call = CallOptions(timeout_seconds=options.timeout)
    async with AsyncClient(options.generator_server, options.faceswap_server, options.editor_server) as client:
        generator, faceswap, editor = await asyncio.gather(
            client.generator_capabilities(call),
            client.faceswap_capabilities(call),
            _editor_capabilities(client, call, wanted=bool(options.editor_server)),
            return_exceptions=True,
        )
    fault = next((answer for answer in (generator, faceswap, editor) if isinstance(answer, BaseException)), None)
    if options.json:
        if fault is not None:
            raise fault
        print(output.to_json({"generator": generator, "faceswap": faceswap, "editor": editor}))
        return
    if not isinstance(generator, BaseException):
        print(output.describe_generator(generator))
    if not isinstance(faceswap, BaseException):
        print(output.describe_faceswap(faceswap))
    if not isinstance(editor, BaseException):
        print(output.describe_editor(editor))
    if fault is not None:
        raise fault


async def _editor_capabilities(client: AsyncClient, call: CallOptions, *, wanted: bool) -> EditorCapabilities | None:
    """Ask the editor; None where none answers at its usual address, as not every deployment has one."""
    try:
        return await client.editor_capabilities(call)
    except (ServiceUnavailable, DeadlineExceeded):
        if wanted:
            raise
        return None


_COMMANDS: dict[str, Callable[[argparse.Namespace], Coroutine[None, None, int | None]]] = {
    "generate": generate.generate,
    "edit": edits.edit,
    "scene": edits.edit,
    "faceswap": face_commands.faceswap,
    "faces": face_commands.faces,
    "identity": face_commands.identity,
    "compare": ways.compare_ways,
    "face-model": face_commands.face_model,
    "capabilities": _capabilities,
    "lora": _lora,
    "train": _train,
    "jobs": _jobs,
}
