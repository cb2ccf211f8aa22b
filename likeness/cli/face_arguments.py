"""The command line of faces: what the commands faceswap, faces, identity and face-model can be told."""

from __future__ import annotations

import argparse
from pathlib import Path

from likeness.channel import DEFAULT_FACESWAP_ADDRESS
from likeness.cli.options import (
    FACESWAP_VARIABLE,
    add_common,
    add_min_score,
    add_order,
    add_output,
    add_server,
    add_thorough,
)
from likeness.face_models import FaceModelAverage
from likeness.results import Gender

_SWAP_EPILOG = """rules:
  --min-score, --target-gender, --like, --target-order and --target-face act in this order: an index counts the faces
  that the rules before it have left. Reference k goes to the k-th changed face, beginning again after the last one,
  unless --pairing says otherwise.
"""


def add_faceswap(parser: argparse.ArgumentParser) -> None:
    """Add what ``faceswap`` can be told."""
    parser.epilog = _SWAP_EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("target", help="the picture to change")
    parser.add_argument("references", nargs="*", metavar="reference", help="a picture with a face to put in")
    parser.add_argument(
        "--face-model", action="append", default=[], metavar="ID", dest="face_models",
        help="a face model to put in; may be repeated, and comes after the pictures",
    )  # fmt: skip
    add_output(parser, "swapped.png", "where to write (%(default)s)")
    _add_server(parser)
    target = parser.add_argument_group("whom to change")
    target.add_argument(
        "--target-face", type=_indexes, action="extend", default=[], metavar="INDEXES", dest="target_face_indexes",
        help="faces to change, for example 0,2; the first ones when left out, as many as there are references",
    )  # fmt: skip
    target.add_argument("--all-faces", action="store_true", dest="all_target_faces", help="change all that are left")
    add_order(target, "--target-order", "order in which the target's faces are counted")
    _add_gender(target, "--target-gender", "only change faces that look like this")
    target.add_argument(
        "--like", metavar="FILE", dest="match_image", help="only change faces that are like the one in this picture"
    )
    target.add_argument(
        "--like-threshold", type=float, metavar="COSINE", dest="match_threshold", help="how like, −1 to 1 (0.4)"
    )
    reference = parser.add_argument_group("whom to put in")
    reference.add_argument(
        "--reference-face", type=_indexes, action="extend", default=[], metavar="INDEXES",
        dest="reference_face_indexes",
        help="faces of the one reference picture, or one face for each of several pictures",
    )  # fmt: skip
    add_order(reference, "--reference-order", "order in which a reference's faces are counted")
    _add_gender(reference, "--reference-gender", "only count faces of a reference that look like this")
    reference.add_argument(
        "--pairing", type=_indexes, default=[], metavar="INDEXES", help="for each changed face the reference, from 0"
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--weight", type=float, dest="swap_weight", help="1 for the reference's face (the default), 0 for the target's"
    )
    how.add_argument("--engine", default="", help="swap engine; the deployment's own when left out")
    how.add_argument(
        "--pixel-boost", type=int, default=0, metavar="PIXELS", help="side at which a network draws faces: 256, 512"
    )
    how.add_argument("--no-restore", action="store_false", dest="restore_face", help="do not restore the faces")
    how.add_argument("--restore-model", default="", metavar="NAME", help="restoration model; the deployment's own")
    how.add_argument(
        "--restore-visibility", type=float, metavar="SHARE", help="how strongly the restored face shows, 0–1 (1)"
    )
    how.add_argument(
        "--restore-fidelity", type=float, metavar="SHARE", help="for CodeFormer: 0 looks best, 1 keeps the face most"
    )
    add_min_score(parser, "do not count faces")
    add_thorough(parser)


def add_faces(parser: argparse.ArgumentParser) -> None:
    """Add what ``faces`` can be told."""
    parser.add_argument("picture", help="the picture")
    _add_server(parser)
    add_common(parser)
    add_order(parser, "--order", "order of the list")
    add_min_score(parser, "leave out faces")
    add_thorough(parser)
    parser.add_argument(
        "--draw", type=Path, metavar="FILE", help="write the picture with boxes, indexes and landmarks drawn on it"
    )


def add_identity(parser: argparse.ArgumentParser) -> None:
    """Add what ``identity`` can be told."""
    parser.add_argument("first", help="a picture")
    parser.add_argument("second", help="another picture")
    _add_server(parser)
    add_common(parser)
    for name in ("first", "second"):
        parser.add_argument(
            f"--{name}-face", type=int, default=0, metavar="INDEX", dest=f"{name}_face_index",
            help=f"which face of the {name} picture (%(default)s)",
        )  # fmt: skip
    add_order(parser, "--order", "order in which faces are counted")
    add_min_score(parser, "do not count faces")


def add_face_model(parser: argparse.ArgumentParser) -> None:
    """Add what ``face-model`` and its actions can be told."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="build a model from photos of one person, and keep it")
    build.add_argument("face_model_id", metavar="ID", help="name to keep it under: a-z, 0-9, _ and -")
    build.add_argument("photos", nargs="+", metavar="photo", help="a photo with one face, up to 20")
    build.add_argument(
        "--average", type=FaceModelAverage, choices=list(FaceModelAverage), default=FaceModelAverage.MEAN,
        help="how the photos become one likeness (%(default)s)",
    )  # fmt: skip
    build.add_argument("--replace", action="store_true", help="take the place of a model of the same name")
    add_min_score(build, "do not count faces")
    listed = actions.add_parser("list", help="list the models")
    listed.add_argument("--page-size", type=int, default=0, metavar="COUNT", help="most models a page, 1–1,000 (100)")
    listed.add_argument("--page-token", default="", metavar="TOKEN", help="the page, as the one before told")
    for name, text in (("show", "tell how a model was built"), ("delete", "remove a model")):
        actions.add_parser(name, help=text).add_argument("face_model_id", metavar="ID", help="name of the model")
    for action in actions.choices.values():
        _add_server(action)
        add_common(action)


def _add_server(parser: argparse.ArgumentParser) -> None:
    add_server(parser, FACESWAP_VARIABLE, DEFAULT_FACESWAP_ADDRESS, "faceswap service")


def _add_gender(parser: argparse._ArgumentGroup, flag: str, text: str) -> None:
    genders = [Gender.FEMALE, Gender.MALE]
    parser.add_argument(flag, type=Gender, choices=genders, help=f"{text}; an estimate from looks")


def _indexes(text: str) -> list[int]:
    """Return indexes with commas between them. Raises ArgumentTypeError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError("must be indexes from 0 on, with commas between them")
    return [int(part) for part in parts]
