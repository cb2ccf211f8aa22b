"""Running a command: arguments in, calls to the services, exit status out."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import grpc

from likeness.calls import CallOptions
from likeness.cli import output
from likeness.cli.arguments import build_parser
from likeness.cli.progress import ProgressLine
from likeness.client import AsyncClient
from likeness.errors import LikenessError

FAULT, REFUSED, UNAVAILABLE, TOO_LATE, INTERRUPTED, UNREAD = 1, 3, 4, 5, 130, 141
_STATUS = {
    grpc.StatusCode.UNAVAILABLE: UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: TOO_LATE,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (the process's own when left out) and return the exit status."""
    options = build_parser().parse_args(arguments)
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
        asyncio.run(_COMMANDS[options.command](options))
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
    return 0


def exit_status(error: LikenessError) -> int:
    """Return the exit status of an error."""
    if error.code in _STATUS:
        return _STATUS[error.code]
    return REFUSED if 400 <= error.http_status < 499 else FAULT


def _show(options: argparse.Namespace, result: object, text: str, files: Sequence[Path] = ()) -> None:
    if options.json:
        document: dict[str, object] = {"files": [str(path) for path in files]} if files else {}
        print(output.to_json(document | asdict(result)))  # type: ignore[call-overload]
    else:
        print(text)


async def _generate(options: argparse.Namespace) -> None:
    _check_folder(options)
    progress = ProgressLine()
    names = ("negative_prompt", "mode", "aspect_ratio", "width", "height", "seed", "count", "steps", "true_cfg_scale")
    async with AsyncClient(generator_address=options.server) as client:
        try:
            result = await client.generate(
                options.prompt,
                on_progress=progress,
                timeout_seconds=options.timeout,
                output_format=options.output_format or output.format_for(options.output),
                quality=options.quality,
                store=options.store,
                **{name: getattr(options, name) for name in names},
            )
        finally:
            progress.close()
    files = [
        item.picture.save(output.numbered(options.output, item.index, len(result.pictures)))
        for item in result.pictures
        if not options.store
    ]
    _show(options, result, output.describe_generation(result, files), files)


async def _faceswap(options: argparse.Namespace) -> None:
    _check_folder(options)
    names = ("target_face_indexes", "target_order", "reference_face_index", "restore_face", "engine", "min_score")
    async with AsyncClient(faceswap_address=options.server) as client:
        result = await client.swap(
            options.target,
            options.reference,
            timeout_seconds=options.timeout,
            output_format=options.output_format or output.format_for(options.output),
            quality=options.quality,
            store=options.store,
            **{name: getattr(options, name) for name in names},
        )
    files = [] if options.store else [result.picture.save(options.output)]
    _show(options, result, output.describe_swap(result, files), files)


async def _faces(options: argparse.Namespace) -> None:
    async with AsyncClient(faceswap_address=options.server) as client:
        result = await client.detect_faces(
            options.picture, timeout_seconds=options.timeout, order=options.order, min_score=options.min_score
        )
    _show(options, result, output.describe_faces(result))


async def _compare(options: argparse.Namespace) -> None:
    async with AsyncClient(faceswap_address=options.server) as client:
        result = await client.compare_faces(options.first, options.second, timeout_seconds=options.timeout)
    _show(options, result, output.describe_comparison(result))


async def _capabilities(options: argparse.Namespace) -> None:
    call = CallOptions(timeout_seconds=options.timeout)
    async with AsyncClient(options.generator_server, options.faceswap_server) as client:
        generator, faceswap = await asyncio.gather(
            client.generator_capabilities(call), client.faceswap_capabilities(call)
        )
    if options.json:
        print(output.to_json({"generator": generator, "faceswap": faceswap}))
    else:
        print(output.describe_capabilities(generator, faceswap))


def _check_folder(options: argparse.Namespace) -> None:
    """Raise OSError before the work when its result could not be written after it."""
    if options.store:
        return
    path: Path = options.output
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(2, "there is no such folder", str(path.absolute().parent))
    if path.is_dir():
        raise IsADirectoryError(21, "this is a folder; name a file in it", str(path))


_COMMANDS = {
    "generate": _generate,
    "faceswap": _faceswap,
    "faces": _faces,
    "compare": _compare,
    "capabilities": _capabilities,
}
