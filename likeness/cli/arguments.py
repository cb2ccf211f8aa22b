"""The command line: what can be said, its defaults, and its help."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from likeness.channel import DEFAULT_EDITOR_ADDRESS, DEFAULT_FACESWAP_ADDRESS, DEFAULT_GENERATOR_ADDRESS
from likeness.cli.edits import add_edit, add_scene
from likeness.cli.face_arguments import add_face_model, add_faces, add_faceswap, add_identity
from likeness.cli.generate import add_generate
from likeness.cli.jobs import add_job_commands
from likeness.cli.loras import add_lora_commands
from likeness.cli.options import (
    EDITOR_VARIABLE,
    FACESWAP_VARIABLE,
    GENERATOR_VARIABLE,
    TRAINER_VARIABLE,
    add_common,
)
from likeness.cli.training import add_training_commands
from likeness.cli.ways import add_ways

EPILOG = f"""environment:
  {GENERATOR_VARIABLE}, {FACESWAP_VARIABLE}, {EDITOR_VARIABLE},
  {TRAINER_VARIABLE}
                        where the services are, when --server, or compare's and
                        capabilities' --generator-server and so on, do not say

exit status:
  0  done                 3  the request cannot be done as it is (a bad picture, prompt, option)
  1  a fault              4  the service is down, full or loading: try again
  2  wrong usage          5  not done in time                130  stopped by Ctrl-C
                                                             141  nobody read on

example:
  likeness generate "a professional woman in a modern office" -o office.png
  likeness faceswap office.png me.jpg -o me-in-the-office.png
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line says (the process's own when left out). Raises SystemExit when it makes no sense."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if getattr(options, "preview_every", None) is not None and options.previews is None:
        parser.error("argument --preview-every: goes with --previews")
    if options.command == "faceswap" and not options.references and not options.face_models:
        parser.error("faceswap: name a picture with the face to put in, or --face-model")
    return options


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="likeness",
        description="Make pictures of the same person.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_generate(commands.add_parser("generate", help="draw pictures from words"))
    add_edit(commands.add_parser("edit", help="change pictures as an instruction says"))
    add_scene(commands.add_parser("scene", help="put the persons of pictures into a scene"))
    add_faceswap(commands.add_parser("faceswap", help="put the face of one picture onto another"))
    add_faces(commands.add_parser("faces", help="list the faces of a picture"))
    add_identity(commands.add_parser("identity", help="tell how alike the faces of two pictures are"))
    add_ways(commands.add_parser("compare", help="make one character by swap, edit and LoRA, and measure"))
    add_face_model(commands.add_parser("face-model", help="keep a person as several photos show them"))
    _add_capabilities(commands.add_parser("capabilities", help="tell what generator, faceswap and editor can do"))
    lora = commands.add_parser("lora", help="keep, list, show and remove LoRAs")
    for command in add_lora_commands(lora, GENERATOR_VARIABLE, DEFAULT_GENERATOR_ADDRESS):
        add_common(command)
    for command in add_training_commands(commands.add_parser("train", help="make LoRAs from photos of a character")):
        add_common(command)
    for command in add_job_commands(commands.add_parser("jobs", help="training jobs, and forgetting characters")):
        add_common(command)
    return parser


def _add_capabilities(parser: argparse.ArgumentParser) -> None:
    for name, variable, default in (
        ("generator", GENERATOR_VARIABLE, DEFAULT_GENERATOR_ADDRESS),
        ("faceswap", FACESWAP_VARIABLE, DEFAULT_FACESWAP_ADDRESS),
    ):
        parser.add_argument(
            f"--{name}-server", metavar="HOST:PORT", default=os.environ.get(variable, default),
            help=f"where the {name} is (%(default)s)",
        )  # fmt: skip
    parser.add_argument(
        "--editor-server", metavar="HOST:PORT", default=os.environ.get(EDITOR_VARIABLE),
        help=f"where the editor is (looked for at {DEFAULT_EDITOR_ADDRESS} when left out, and may be missing there)",
    )  # fmt: skip
    add_common(parser)
