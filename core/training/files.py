"""Files and folders that are either whole or not there, whenever the process is killed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save

from likeness.errors import InsufficientResources


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, which takes the place of ``folder`` once all its files are on the disk.

    Raises:
        InsufficientResources: the disk is full; nothing is left behind.
    """
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        with full_disk_told(folder):
            yield draft
            for file in draft.iterdir():
                _sync(file)
            _sync(draft)
            if folder.exists():
                shutil.rmtree(folder)
            draft.rename(folder)
            _sync(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_whole(file: Path, data: bytes) -> None:
    """Write a file under another name, and rename it once it is on the disk. Raises InsufficientResources."""
    draft = file.with_name(f".{file.name}.part")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with full_disk_told(file):
            draft.write_bytes(data)
            _sync(draft)
            draft.rename(file)
            _sync(file.parent)
    finally:
        draft.unlink(missing_ok=True)


def write_tensors(file: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file as `write_whole` does; the same content gives the same bytes."""
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    write_whole(file, _with_metadata(data, metadata) if metadata else data)


def _with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """Put metadata into a safetensors file in the order of its names: the library's own order differs between runs."""
    length = int.from_bytes(data[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(data[8 : 8 + length])}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


@contextmanager
def full_disk_told(place: Path) -> Iterator[None]:
    """Turn the system's error of a full disk into one that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InsufficientResources(
            f"the disk of {place.parent.name!r} is full; the last good checkpoint is kept: make room, and the run goes "
            "on from it",
            resource="disk",
        ) from error


def check_free_space(place: Path, needed: int) -> None:
    """Return when the disk of ``place`` has ``needed`` bytes left. Raises InsufficientResources."""
    free = shutil.disk_usage(place).free
    if free < needed:
        raise InsufficientResources(
            f"the training writes about {needed / 2**20:,.0f} MiB, and the disk has {free / 2**20:,.0f} MiB left: "
            "make room, or keep fewer checkpoints",
            resource="disk",
        )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
