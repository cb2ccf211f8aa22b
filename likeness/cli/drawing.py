"""What generate, edit and scene share: their options, progress, previews and files."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from likeness.cli import output
from likeness.cli.loras import add_lora_options
from likeness.cli.options import add_tenant
from likeness.cli.previews import PreviewFolder
from likeness.cli.progress import ProgressLine
from likeness.cli.writing import check_folder, show
from likeness.results import Finished, GeneratedPicture, GenerationEvent, Priority

_OPTIONS = (
    "negative_prompt",
    "mode",
    "width",
    "height",
    "seed",
    "count",
    "steps",
    "true_cfg_scale",
    "loras",
    "trigger_word",
    "priority",
    "quality",
    "store",
)


class Drawn(Protocol):
    """The pictures of one request and how they were made."""

    @property
    def pictures(self) -> tuple[GeneratedPicture, ...]:
        """In their order."""

    @property
    def finished(self) -> Finished:
        """How they were made."""


D = TypeVar("D", bound=Drawn)


def add_drawing_options(parser: argparse.ArgumentParser, *, what: str, size: str) -> None:
    """Add the options of a drawing. ``what`` is the result's name in the plural, ``size`` the help of ``--width``."""
    parser.add_argument("--negative-prompt", metavar="TEXT", help="what to keep out")
    parser.add_argument("--mode", default="", help="full (the default), fast, or another of the deployment")
    parser.add_argument("--width", type=int, metavar="PIXELS", help=size)
    parser.add_argument("--height", type=int, metavar="PIXELS", help="goes with --width")
    parser.add_argument("--seed", type=int, help="the same seed draws the same picture")
    parser.add_argument("-n", "--count", type=int, help=f"how many {what}, 1–8")
    parser.add_argument("--steps", type=int, help="denoising steps, 1–100")
    parser.add_argument("--guidance", type=float, dest="true_cfg_scale", help="classifier-free guidance, 1–20")
    add_lora_options(parser)
    add_tenant(parser)
    parser.add_argument(
        "--priority", type=Priority, choices=list(Priority), default=Priority.NORMAL,
        help="high goes before your other work, low after everybody's (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--previews", type=Path, metavar="DIR", help="write small pictures of the steps into this folder"
    )
    parser.add_argument(
        "--preview-every",
        type=int,
        metavar="STEPS",
        help="steps from one preview to the next (1); goes with --previews",
    )


async def draw(
    options: argparse.Namespace, call: Callable[..., Awaitable[D]], describe: Callable[[D, list[Path]], str]
) -> None:
    """Call a method of the client with the shared options, show its progress, write its pictures and tell of them.

    ``describe`` turns the result and the files into text. Raises LikenessError, and OSError, before the work where
    nothing could be written.
    """
    check_folder(options)
    pictures = options.count or 1
    progress = ProgressLine(pictures)
    previews = PreviewFolder(options.previews, options.output.stem, pictures) if options.previews else None

    def on_progress(event: GenerationEvent) -> None:
        progress(event)
        if previews is not None:
            previews(event)

    arguments: dict[str, Any] = {name: getattr(options, name) for name in _OPTIONS}
    try:
        result = await call(
            on_progress=on_progress,
            preview_every=(options.preview_every or 1) if previews else 0,
            timeout_seconds=options.timeout,
            output_format=options.output_format or output.format_for(options.output),
            **arguments,
        )
    finally:
        progress.close()
    files = [
        item.picture.save(output.numbered(options.output, item.index, len(result.pictures)))
        for item in result.pictures
        if not options.store
    ]
    text = describe(result, files)
    if previews is not None:
        count = len(previews.files)
        text += f"\n{count} preview{'' if count == 1 else 's'} in {options.previews}"
    show(options, result, text, files, previews.files if previews else ())
