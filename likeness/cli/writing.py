"""Where results go: to standard output, and into files whose place is looked at before the work."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from likeness.cli import output


def show(
    options: argparse.Namespace,
    result: object,
    text: str,
    files: Sequence[Path] = (),
    previews: Sequence[Path] = (),
) -> None:
    """Print a result as text, or as JSON with the paths of the files that were written."""
    if options.json:
        document: dict[str, object] = {
            name: [str(path) for path in paths] for name, paths in (("files", files), ("previews", previews)) if paths
        }
        print(output.to_json(document | asdict(result)))  # type: ignore[call-overload]
    else:
        print(text)


def check_folder(options: argparse.Namespace) -> None:
    """Raise OSError before the work when its result could not be written after it."""
    if options.store:
        return
    check_place(options.output)


def check_place(path: Path) -> None:
    """Raise OSError when no file could be written there."""
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(2, "there is no such folder", str(path.absolute().parent))
    if path.is_dir():
        raise IsADirectoryError(21, "this is a folder; name a file in it", str(path))
