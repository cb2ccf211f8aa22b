"""The commands ``likeness edit`` and ``likeness scene``."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from likeness.channel import DEFAULT_EDITOR_ADDRESS
from likeness.cli import output
from likeness.cli.drawing import add_drawing_options, draw
from likeness.cli.options import EDITOR_VARIABLE, add_output, add_server, tenant_options
from likeness.client import AsyncClient
from likeness.edits import Editing


def add_edit(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``edit``."""
    parser.add_argument("instruction", help="what to change; it may name the pictures: Picture 1, Picture 2 …")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="the pictures, 1–4; the first gives the shape")
    parser.add_argument("--mask", metavar="IMAGE", help="white where the first picture may change, black elsewhere")
    parser.set_defaults(scene="")
    _add_choices(parser, "edited.png")


def add_scene(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``scene``."""
    parser.add_argument("scene", help="where the persons shall be, for example: on a beach at sunset")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a picture of each person, 1–4")
    parser.set_defaults(instruction="", mask=None)
    _add_choices(parser, "scene.png")


async def edit(options: argparse.Namespace) -> None:
    """Edit, or put persons into a scene, and write what came of it. Raises LikenessError and OSError."""
    async with AsyncClient(editor_address=options.server, default_options=tenant_options(options)) as client:
        call = partial(
            client.edit,
            options.images,
            options.instruction,
            scene=options.scene,
            denoise=options.denoise,
            mask=options.mask,
        )
        await draw(options, call, _describe)


def _describe(result: Editing, files: list[Path]) -> str:
    text = output.describe_drawing(result.pictures, result.finished, files)
    return f"{text}, from noise {result.finished.denoise:.2f}"


def _add_choices(parser: argparse.ArgumentParser, default: str) -> None:
    add_output(parser, default, "where to write; several results get a number (%(default)s)")
    add_server(parser, EDITOR_VARIABLE, DEFAULT_EDITOR_ADDRESS, "editor")
    parser.add_argument("--denoise", type=float, metavar="SHARE", help="how much to replace, over 0 to 1")
    add_drawing_options(parser, what="results", size="in place of the first picture's shape")
