"""The commands ``likeness edit`` and ``likeness scene``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from likeness.channel import DEFAULT_EDITOR_ADDRESS, DEFAULT_FACESWAP_ADDRESS
from likeness.cli import output
from likeness.cli.drawing import add_drawing_options, draw
from likeness.cli.options import EDITOR_VARIABLE, FACESWAP_VARIABLE, add_output, add_server, tenant_options
from likeness.client import AsyncClient
from likeness.edits import Editing
from likeness.errors import InvalidRequest, LikenessError, NoFace, ServiceUnavailable


def add_edit(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``edit``."""
    parser.add_argument("instruction", help="what to change; it may name the pictures: Picture 1, Picture 2 …")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="the pictures, 1–4; the first gives the shape")
    parser.add_argument("--mask", metavar="IMAGE", help="white where the first picture may change, black elsewhere")
    parser.set_defaults(scene="", faceswap_server=DEFAULT_FACESWAP_ADDRESS)
    _add_choices(parser, "edited.png")


def add_scene(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``scene``."""
    parser.add_argument("scene", help="where the persons shall be, for example: on a beach at sunset")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a picture of each person, 1–4")
    parser.set_defaults(instruction="", mask=None)
    _add_choices(parser, "scene.png")
    parser.add_argument(
        "--faceswap-server", metavar="HOST:PORT", default=os.environ.get(FACESWAP_VARIABLE, DEFAULT_FACESWAP_ADDRESS),
        help="where the faceswap is, which looks for a person in each picture first (%(default)s)",
    )  # fmt: skip


async def edit(options: argparse.Namespace) -> None:
    """Edit, or put persons into a scene, and write what came of it. Raises LikenessError and OSError."""
    addresses = {"faceswap_address": options.faceswap_server, "editor_address": options.server}
    async with AsyncClient(**addresses, default_options=tenant_options(options)) as client:
        await draw(options, partial(_edit, client, options), _describe)


async def _edit(client: AsyncClient, options: argparse.Namespace, **arguments: Any) -> Editing:
    if options.command == "scene":
        if not options.scene.strip():
            raise InvalidRequest("the scene is blank: say where the persons shall be", field="scene")
        await _check_persons(client, options.images, options)
    return await client.edit(
        options.images,
        options.instruction,
        scene=options.scene,
        denoise=options.denoise,
        mask=options.mask,
        **arguments,
    )


async def _check_persons(client: AsyncClient, pictures: Sequence[str], options: argparse.Namespace) -> None:
    """Raise NoFace for a picture without a person, before anything is drawn, and the errors of reading it.

    The editor has no eye for faces, and works without a faceswap service: where none answers, that is told.
    """
    for number, picture in enumerate(pictures):
        field = f"images[{number}]"
        try:
            found = await client.detect_faces(picture, timeout_seconds=options.timeout)
        except ServiceUnavailable:
            print(
                f"note: no faceswap service at {options.faceswap_server}, so nobody has looked for persons in the "
                "pictures",
                file=sys.stderr,
            )
            return
        except LikenessError as error:
            error.field = field if error.field else None
            raise
        if not found.faces:
            raise NoFace(f"{picture} shows no person's face; a scene needs one to keep", field=field)


def _describe(result: Editing, files: list[Path]) -> str:
    text = output.describe_drawing(result.pictures, result.finished, files)
    return f"{text}, from noise {result.finished.denoise:.2f}"


def _add_choices(parser: argparse.ArgumentParser, default: str) -> None:
    add_output(parser, default, "where to write; several results get a number (%(default)s)")
    add_server(parser, EDITOR_VARIABLE, DEFAULT_EDITOR_ADDRESS, "editor")
    parser.add_argument("--denoise", type=float, metavar="SHARE", help="how much to replace, over 0 to 1")
    add_drawing_options(parser, what="results", size="in place of the first picture's shape")
