"""Options that several commands share."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

from likeness.calls import CallOptions
from likeness.metadata import DEFAULT_TENANT, CallMetadata
from likeness.results import FaceOrder, ImageFormat

GENERATOR_VARIABLE = "LIKENESS_GENERATOR_ADDRESS"
FACESWAP_VARIABLE = "LIKENESS_FACESWAP_ADDRESS"
EDITOR_VARIABLE = "LIKENESS_EDITOR_ADDRESS"
TRAINER_VARIABLE = "LIKENESS_TRAINER_ADDRESS"


def add_output(parser: argparse.ArgumentParser, default: str, text: str) -> None:
    """Add where the pictures go and how they are encoded."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument("-o", "--output", type=Path, default=Path(default), metavar="FILE", help=text)
    place.add_argument(
        "--store", action="store_true", help="write nothing: keep the answer with the service, and tell its URI"
    )
    parser.add_argument(
        "--format", type=ImageFormat, choices=list(ImageFormat), dest="output_format",
        help="file format; by the file's name when left out",
    )  # fmt: skip
    parser.add_argument("--quality", type=int, help="JPEG or WebP quality, 1–100")
    add_common(parser)


def add_min_score(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the least detection score."""
    parser.add_argument("--min-score", type=float, metavar="SCORE", help=f"{what} below this detection score, 0.1–0.99")


def add_thorough(parser: argparse._ActionsContainer) -> None:
    """Add whether faces are searched for in every way."""
    parser.add_argument(
        "--thorough", action="store_true", help="also look for small, dark and turned faces where others were found"
    )


def add_order(parser: argparse._ActionsContainer, flag: str, text: str) -> None:
    """Add an order of faces."""
    parser.add_argument(
        flag, type=FaceOrder, choices=list(FaceOrder), default=FaceOrder.LARGE_TO_SMALL, help=f"{text} (%(default)s)"
    )


def add_server(parser: argparse.ArgumentParser, variable: str, default: str, what: str) -> None:
    """Add where a service is."""
    parser.add_argument(
        "--server", metavar="HOST:PORT", default=os.environ.get(variable, default),
        help=f"where the {what} is (%(default)s)",
    )  # fmt: skip


def add_tenant(parser: argparse.ArgumentParser) -> None:
    """Add whose work it is."""
    parser.add_argument(
        "--tenant", default=DEFAULT_TENANT, help="who asks: whose LoRAs and jobs are meant (%(default)s)"
    )


def tenant_options(options: argparse.Namespace) -> CallOptions:
    """Return what goes along with the calls of a command that has a tenant. Raises InvalidRequest for a bad one."""
    return CallOptions(CallMetadata.new(tenant_id=options.tenant), options.timeout)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every command has."""
    parser.add_argument("--json", action="store_true", help="tell the result as JSON on standard output")
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="give up after so long")


def _seconds(text: str) -> float:
    """Return a time above 0. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("must be a number of seconds above 0")
    return value
