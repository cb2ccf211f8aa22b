"""A checkpoint in diffusers' folder format: where it is, whether it is whole, and how large its tensors are."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from core.qwen.pipelines import DRAW_PIPELINE, EDIT_PIPELINE
from core.qwen.profile import LoraSource, Mode, Profile

COMPONENTS = ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")
"""The parts of a pipeline's folder."""
EDIT_COMPONENTS = (*COMPONENTS, "processor")
"""The parts of an edit pipeline's folder."""
WEIGHED = ("text_encoder", "transformer", "vae")
"""Those of them that have weights."""
_WHOLE_FILE_LIMIT = 64 * 1024 * 1024
_HEADER_LIMIT = 100 * 1024 * 1024
_LINK_LIMIT = 4096
"""Longest path of Linux in bytes: no file that should be a link is larger."""


class WeightsMissing(RuntimeError):
    """What a profile needs is not there: weights, a device, memory; the message says what, and how to get it."""


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a safetensors file, by the file's header."""

    name: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def find_weights(profile: Profile, *, weights_dir: Path, offline: bool = False) -> Path:
    """Return the pipeline's folder, fetching it from the hub when the profile names a repository.

    Raises:
        WeightsMissing: naming all that is missing and how to get it.
    """
    source = profile.weights
    if source.folder is not None:
        folder = weights_dir / source.folder
        hint = f"put {source.name} there in diffusers' format, or name another folder in the profile"
    else:
        folder = _fetch_repository(str(source.repository), str(source.revision), offline=offline)
        hint = f"fetch it again: hf download {source.repository} --revision {source.revision}"
    _check_folder(folder, hint, editing=profile.editing is not None)
    return folder


def find_lora(mode: Mode, source: LoraSource, folder: Path, *, offline: bool = False) -> Path:
    """Return the file of a mode's LoRA: inside the pipeline's ``folder``, or fetched from the hub.

    Raises:
        WeightsMissing: naming the mode, the file and how to get it.
    """
    if source.repository is None:
        file = folder / source.file
        if not file.is_file():
            raise WeightsMissing(f"mode {mode.name!r} needs the LoRA {file}, which is not there")
        return file
    try:
        return Path(hf_hub_download(source.repository, source.file, revision=source.revision, local_files_only=offline))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise WeightsMissing(
            f"mode {mode.name!r} needs the LoRA {source.label}, which could not be fetched ({error}): "
            f"hf download {source.repository} {source.file} --revision {source.revision}"
        ) from error


def read_config(folder: Path, component: str) -> dict[str, Any]:
    """Read the ``config.json`` of a component."""
    config: dict[str, Any] = json.loads((folder / component / "config.json").read_text(encoding="utf-8"))
    return config


def read_tensors(folder: Path, component: str) -> list[TensorEntry]:
    """Read the names and shapes of a component's tensors, from the headers of its files alone.

    Raises:
        WeightsMissing: a file is damaged or shorter than its header says.
    """
    return [entry for file in sorted((folder / component).glob("*.safetensors")) for entry in read_header(file)]


def read_header(file: Path) -> Iterator[TensorEntry]:
    """Read the header of a safetensors file (github.com/huggingface/safetensors): its tensors' names and shapes.

    Raises:
        WeightsMissing: the file is damaged or shorter than its header says.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(size - 8, _HEADER_LIMIT):
                raise ValueError("its header does not fit into it")
            header = json.loads(stream.read(length))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = 8 + length + max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
        if size < end:
            raise ValueError(f"it has {size:,} bytes of {end:,}")
        tensors = [TensorEntry(name, tuple(map(int, entry["shape"]))) for name, entry in entries.items()]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise WeightsMissing(f"{file} is damaged or was not fetched to its end ({error}): fetch it again") from error
    return iter(tensors)


def hash_folder(folder: Path) -> str:
    """Hash the names and contents of a folder; of big files their size, head and tail, so that it takes seconds."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in {".json", ".safetensors", ".txt"}):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()}:{size}:".encode())
        with file.open("rb") as stream:
            if size <= _WHOLE_FILE_LIMIT:
                digest.update(stream.read())
            else:
                digest.update(stream.read(_WHOLE_FILE_LIMIT // 2))
                stream.seek(-_WHOLE_FILE_LIMIT // 2, 2)
                digest.update(stream.read())
    return digest.hexdigest()[:16]


def _check_folder(folder: Path, hint: str, *, editing: bool) -> None:
    index = folder / "model_index.json"
    if not index.is_file():
        raise WeightsMissing(f"no model at {folder} (model_index.json is missing): {hint}")
    try:
        pipeline_class = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsMissing(f"{index} cannot be read ({error!r}): {hint}") from error
    wanted = EDIT_PIPELINE if editing else DRAW_PIPELINE
    if pipeline_class != wanted:
        raise WeightsMissing(
            f"{index} is of a {pipeline_class}. This service draws with {wanted}, whose text encoder, autoencoder and "
            f"token layout other pipelines do not share: {hint}"
        )
    if lost := _lost_links(folder):
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise WeightsMissing(
            f"{folder} is incomplete: its links lead nowhere or have become text: {lost[0]}{more}. Put copies of those "
            f"files in their places, or bring the links back with what they lead to (in git: core.symlinks): {hint}"
        )
    components = EDIT_COMPONENTS if editing else COMPONENTS
    missing = [name for name in components if not any((folder / name).glob("*.json"))]
    missing += [str(file.relative_to(folder)) for file in _named_shards(folder) if not file.is_file()]
    missing += [f"{name}/*.safetensors" for name in WEIGHED if not any((folder / name).glob("*.safetensors"))]
    if missing:
        raise WeightsMissing(f"{folder} is incomplete: {', '.join(missing)} missing. {hint}")
    if editing and read_config(folder, "transformer").get("zero_cond_t") is not True:
        raise WeightsMissing(
            f"{folder / 'transformer' / 'config.json'} has no zero_cond_t, by which the pictures that are handed in "
            f"count as free of noise: this is not Qwen-Image-Edit-2511 or a later one. {hint}"
        )


def _lost_links(folder: Path) -> list[str]:
    """Return what should be links to other files: those that lead nowhere, and those that a copy turned into text."""
    lost = []
    for file in sorted(file for suffix in (".json", ".safetensors") for file in folder.glob(f"*/*{suffix}")):
        target = ""
        if file.is_symlink() and not file.exists():
            target = file.readlink().as_posix()
        elif file.stat().st_size <= _LINK_LIMIT and (text := file.read_bytes()).startswith(b"../"):
            target = text.decode(errors="replace").strip()
        if target:
            lost.append(f"{file.relative_to(folder).as_posix()} → {target}")
    return lost


def _named_shards(folder: Path) -> list[Path]:
    shards: set[Path] = set()
    for index in folder.glob("*/*.safetensors.index.json"):
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        shards |= {index.parent / name for name in names}
    return sorted(shards)


def _fetch_repository(repository: str, revision: str, *, offline: bool) -> Path:
    try:
        if not offline:
            _check_disk(repository, revision)
        return Path(snapshot_download(repository, revision=revision, local_files_only=offline))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise WeightsMissing(
            f"{repository} at {revision} is not in the local cache and could not be fetched ({error}). "
            f"On a machine with a connection: hf download {repository} --revision {revision}; "
            "or name a local folder in the profile"
        ) from error


def _check_disk(repository: str, revision: str) -> None:
    """Compare what is still to be fetched with what the disk has left, before the first byte."""
    files = snapshot_download(repository, revision=revision, dry_run=True)
    needed = sum(file.file_size or 0 for file in files if file.will_download)
    place = existing_parent(Path(constants.HF_HUB_CACHE))
    free = shutil.disk_usage(place).free
    if needed > free:
        raise WeightsMissing(
            f"{repository} needs {needed / 2**30:.1f} GiB more on the disk of {constants.HF_HUB_CACHE}, which has "
            f"{free / 2**30:.1f} GiB left: make room, or name another place by HF_HUB_CACHE"
        )


def existing_parent(path: Path) -> Path:
    """Return ``path``, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
