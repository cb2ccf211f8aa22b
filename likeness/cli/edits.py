"""The commands ``likeness edit`` and ``likeness scene``."""

from __future__ import annotations

import argparse
from pathlib import Path

from likeness.channel import DEFAULT_EDITOR_ADDRESS
from likeness.cli import output
from likeness.cli.loras import add_lora_options
from likeness.cli.options import EDITOR_VARIABLE, add_output, add_server
from likeness.cli.previews import PreviewFolder
from likeness.cli.progress import ProgressLine
from likeness.cli.writing import check_folder, show
from likeness.client import AsyncClient
from likeness.results import GenerationEvent, Priority

_NAMES = (
    "denoise",
    "mask",
    "negative_prompt",
    "mode",
    "width",
    "height",
    "seed",
    "count",
    "steps",
    "true_cfg_scale",
    "priority",
    "loras",
    "trigger_word",
)


def add_edit(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``edit``."""
    parser.add_argument("instruction", help="what to change; it may name the pictures: Picture 1, Picture 2 …")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="the pictures, 1–4; the first gives the shape")
    parser.add_argument("--mask", metavar="IMAGE", help="white where the first picture may change, black elsewhere")
    _add_choices(parser, "edited.png")


def add_scene(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``scene``."""
    parser.add_argument("scene", help="where the persons shall be, for example: on a beach at sunset")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a picture of each person, 1–4")
    parser.set_defaults(mask=None)
    _add_choices(parser, "scene.png")


async def edit(options: argparse.Namespace) -> None:
    """Edit, or put persons into a scene, and write what came of it."""
    check_folder(options)
    pictures = options.count or 1
    progress = ProgressLine(pictures)
    previews = PreviewFolder(options.previews, options.output.stem, pictures) if options.previews else None

    def on_progress(event: GenerationEvent) -> None:
        progress(event)
        if previews is not None:
            previews(event)

    words = {"scene": options.scene} if options.command == "scene" else {"instruction": options.instruction}
    async with AsyncClient(editor_address=options.server) as client:
        try:
            result = await client.edit(
                options.images,
                on_progress=on_progress,
                preview_every=1 if previews else 0,
                timeout_seconds=options.timeout,
                output_format=options.output_format or output.format_for(options.output),
                quality=options.quality,
                store=options.store,
                **words,
                **{name: getattr(options, name) for name in _NAMES},
            )
        finally:
            progress.close()
    files = [
        item.picture.save(output.numbered(options.output, item.index, len(result.pictures)))
        for item in result.pictures
        if not options.store
    ]
    shown = output.describe_drawing(result.pictures, result.finished, files)
    show(
        options, result, f"{shown}, from noise {result.finished.denoise:.2f}", files, previews.files if previews else ()
    )


def _add_choices(parser: argparse.ArgumentParser, default: str) -> None:
    add_output(parser, default, "where to write; several results get a number (%(default)s)")
    add_server(parser, EDITOR_VARIABLE, DEFAULT_EDITOR_ADDRESS, "editor")
    parser.add_argument("--denoise", type=float, metavar="SHARE", help="how much to replace, over 0 to 1")
    parser.add_argument("--negative-prompt", metavar="TEXT", help="what to keep out")
    parser.add_argument("--mode", default="", help="full (the default), fast, or another of the deployment")
    parser.add_argument("--width", type=int, metavar="PIXELS", help="in place of the first picture's shape")
    parser.add_argument("--height", type=int, metavar="PIXELS", help="goes with --width")
    parser.add_argument("--seed", type=int, help="the same seed draws the same picture")
    parser.add_argument("-n", "--count", type=int, help="how many results, 1–8")
    parser.add_argument("--steps", type=int, help="denoising steps, 1–100")
    parser.add_argument("--guidance", type=float, dest="true_cfg_scale", help="classifier-free guidance, 1–20")
    add_lora_options(parser)
    parser.add_argument(
        "--priority", type=Priority, choices=list(Priority), default=Priority.NORMAL,
        help="high goes before your other work, low after everybody's (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--previews", type=Path, metavar="DIR", help="write small pictures of the steps here")
