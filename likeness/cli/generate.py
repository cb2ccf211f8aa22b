"""The command ``likeness generate``."""

from __future__ import annotations

import argparse
from functools import partial

from likeness.channel import DEFAULT_GENERATOR_ADDRESS
from likeness.cli import output
from likeness.cli.drawing import add_drawing_options, draw
from likeness.cli.options import GENERATOR_VARIABLE, add_output, add_server, tenant_options
from likeness.client import AsyncClient


def add_generate(parser: argparse.ArgumentParser) -> None:
    """Add what ``generate`` can be told."""
    parser.add_argument("prompt", help="what to draw")
    add_output(parser, "picture.png", "where to write; several pictures get a number (%(default)s)")
    add_server(parser, GENERATOR_VARIABLE, DEFAULT_GENERATOR_ADDRESS, "generator")
    parser.add_argument("--aspect-ratio", default="", metavar="W:H", help="shape, for example 9:16")
    add_drawing_options(parser, what="pictures", size="in place of a shape, with --height; brought to the nearest size")


async def generate(options: argparse.Namespace) -> None:
    """Run ``generate``. Raises LikenessError and OSError."""
    async with AsyncClient(generator_address=options.server, default_options=tenant_options(options)) as client:
        call = partial(client.generate, options.prompt, aspect_ratio=options.aspect_ratio)
        await draw(options, call, output.describe_generation)
