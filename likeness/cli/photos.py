"""Photos that are named as files or as folders."""

from __future__ import annotations

from pathlib import Path

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif"})


def photo_files(path: Path) -> list[Path]:
    """Return the photos of a folder by name, or the one file. Raises OSError when a folder cannot be read."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)
