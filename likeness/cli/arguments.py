"""The command line: what can be said, its defaults, and its help."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

from likeness.channel import DEFAULT_FACESWAP_ADDRESS, DEFAULT_GENERATOR_ADDRESS
from likeness.results import FaceOrder, ImageFormat

GENERATOR_VARIABLE = "LIKENESS_GENERATOR_ADDRESS"
FACESWAP_VARIABLE = "LIKENESS_FACESWAP_ADDRESS"

EPILOG = f"""environment:
  {GENERATOR_VARIABLE}, {FACESWAP_VARIABLE}
                        where the services are, when --server does not say

exit status:
  0  done                 3  the request cannot be done as it is (a bad picture, prompt, option)
  1  a fault              4  the service is down, full or loading: try again
  2  wrong usage          5  not done in time                130  stopped by Ctrl-C
                                                             141  nobody read on

example:
  likeness generate "a professional woman in a modern office" -o office.png
  likeness faceswap office.png me.jpg -o me-in-the-office.png
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="likeness",
        description="Make pictures of the same person.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_generate(commands.add_parser("generate", help="draw pictures from words"))
    _add_faceswap(commands.add_parser("faceswap", help="put the face of one picture onto another"))
    _add_faces(commands.add_parser("faces", help="list the faces of a picture"))
    _add_compare(commands.add_parser("compare", help="tell how alike the faces of two pictures are"))
    _add_capabilities(commands.add_parser("capabilities", help="tell what the services can do"))
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", help="what to draw")
    _add_output(parser, "picture.png", "where to write; several pictures get a number (%(default)s)")
    _add_server(parser, GENERATOR_VARIABLE, DEFAULT_GENERATOR_ADDRESS, "generator")
    parser.add_argument("--negative-prompt", metavar="TEXT", help="what to keep out")
    parser.add_argument("--mode", default="", help="full (the default), fast, or another of the deployment")
    parser.add_argument("--aspect-ratio", default="", metavar="W:H", help="shape, for example 9:16")
    parser.add_argument("--width", type=int, metavar="PIXELS")
    parser.add_argument("--height", type=int, metavar="PIXELS")
    parser.add_argument("--seed", type=int, help="the same seed draws the same picture")
    parser.add_argument("-n", "--count", type=int, help="how many pictures, 1–8")
    parser.add_argument("--steps", type=int, help="denoising steps, 1–100")
    parser.add_argument("--guidance", type=float, dest="true_cfg_scale", help="classifier-free guidance, 1–20")


def _add_faceswap(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", help="the picture to change")
    parser.add_argument("reference", help="the picture with the face to put in")
    _add_output(parser, "swapped.png", "where to write (%(default)s)")
    _add_server(parser, FACESWAP_VARIABLE, DEFAULT_FACESWAP_ADDRESS, "faceswap service")
    parser.add_argument(
        "--target-face", type=int, action="append", default=[], metavar="INDEX", dest="target_face_indexes",
        help="which face to change; may be repeated; the first one when left out",
    )  # fmt: skip
    _add_order(parser, "--target-order", "order in which target faces are counted")
    parser.add_argument(
        "--reference-face", type=int, metavar="INDEX", dest="reference_face_index", help="which face to use"
    )
    parser.add_argument("--no-restore", action="store_false", dest="restore_face", help="do not restore the faces")
    parser.add_argument("--engine", default="", help="swap engine; the deployment's own when left out")
    _add_min_score(parser, "do not count faces")


def _add_faces(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("picture", help="the picture")
    _add_server(parser, FACESWAP_VARIABLE, DEFAULT_FACESWAP_ADDRESS, "faceswap service")
    _add_common(parser)
    _add_order(parser, "--order", "order of the list")
    _add_min_score(parser, "leave out faces")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", help="a picture; its largest face counts")
    parser.add_argument("second", help="another picture")
    _add_server(parser, FACESWAP_VARIABLE, DEFAULT_FACESWAP_ADDRESS, "faceswap service")
    _add_common(parser)


def _add_capabilities(parser: argparse.ArgumentParser) -> None:
    for name, variable, default in (
        ("generator", GENERATOR_VARIABLE, DEFAULT_GENERATOR_ADDRESS),
        ("faceswap", FACESWAP_VARIABLE, DEFAULT_FACESWAP_ADDRESS),
    ):
        parser.add_argument(
            f"--{name}-server", metavar="HOST:PORT", default=os.environ.get(variable, default), help="(%(default)s)"
        )
    _add_common(parser)


def _add_output(parser: argparse.ArgumentParser, default: str, text: str) -> None:
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
    _add_common(parser)


def _add_min_score(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--min-score", type=float, metavar="SCORE", help=f"{what} below this detection score, 0.1–0.99")


def _add_order(parser: argparse.ArgumentParser, flag: str, text: str) -> None:
    parser.add_argument(
        flag, type=FaceOrder, choices=list(FaceOrder), default=FaceOrder.LARGE_TO_SMALL, help=f"{text} (%(default)s)"
    )


def _add_server(parser: argparse.ArgumentParser, variable: str, default: str, what: str) -> None:
    parser.add_argument(
        "--server", metavar="HOST:PORT", default=os.environ.get(variable, default),
        help=f"where the {what} is (%(default)s)",
    )  # fmt: skip


def _add_common(parser: argparse.ArgumentParser) -> None:
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
