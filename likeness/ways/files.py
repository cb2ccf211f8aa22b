"""The pictures of a comparison as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from likeness.ways.result import WayResult, WaysResult


def picture_files(way: WayResult, folder: Path) -> list[Path | None]:
    """Return a file for each picture of a way, ``<way>-<number>-seed-<seed>.png``; None where there is no picture.

    Numbers are those of the scenes, from 1.
    """
    scenes = list(dict.fromkeys(picture.scene for picture in way.pictures))
    return [
        None
        if picture.picture is None
        else folder / f"{way.name}-{scenes.index(picture.scene) + 1}-seed-{picture.seed}.png"
        for picture in way.pictures
    ]


def write_pictures(result: WaysResult, folder: Path) -> Sequence[Path]:
    """Write every picture into a folder, which is made when it is not there; return the files. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        picture.picture.save(file)
        for way in (result.plain, *result.ways)
        for file, picture in zip(picture_files(way, folder), way.pictures, strict=True)
        if file is not None and picture.picture is not None
    ]
