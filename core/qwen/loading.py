"""Loading a profile's weights onto a device, after a look at whether everything is there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import QwenImagePipeline
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from core.qwen.lora import load_adapter
from core.qwen.modes import adapter_name
from core.qwen.profile import LoraSource, Mode, Profile
from core.qwen.text import TokenCounter, check_template
from core.qwen.vae import FrameDecoder

COMPONENTS = ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")
_WHOLE_FILE_LIMIT = 64 * 1024 * 1024
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class WeightsMissing(RuntimeError):
    """Weights or a device that the profile needs are not there; the message says which, and how to get them."""


@dataclass(frozen=True)
class ModelDescription:
    """What drew a picture, for answers and logs."""

    name: str
    revision: str
    """A commit of the hub, or ``sha256:`` and a hash over the local folder."""
    profile: str
    precision: str
    """The number format of the weights, for example ``bfloat16``."""
    device: str
    """For example ``cpu`` or ``cuda:0``."""


@dataclass(frozen=True)
class QwenImageModel:
    """A loaded model. Its pipeline keeps state while it works: one thread at a time."""

    profile: Profile
    description: ModelDescription
    pipeline: QwenImagePipeline
    decoder: FrameDecoder
    token_counter: TokenCounter
    """For the thread that admits requests; the pipeline's own tokenizer belongs to the thread that draws."""


def load_model(profile: Profile, *, weights_dir: Path, device: str = "cpu", offline: bool = False) -> QwenImageModel:
    """Load the pipeline and every mode's LoRA of ``profile`` onto ``device``.

    Args:
        profile: what to load.
        weights_dir: the folder that relative folders of the profile are inside.
        device: ``cpu``, ``cuda`` or ``cuda:0``.
        offline: take hub weights from the local cache only.

    Raises:
        WeightsMissing: a folder, file, repository or device is not there.
        LoraRejected: a mode's LoRA does not fit or is damaged.
        TokenizerMismatch: the tokenizer does not fit the pipeline's chat template.
    """
    torch_device = _find_device(device)
    precision = profile.precision.cuda if torch_device.type == "cuda" else profile.precision.cpu
    folder = find_weights(profile, weights_dir=weights_dir, offline=offline)
    lora_files = {
        mode.name: _find_lora(mode, mode.lora, folder, offline=offline)
        for mode in profile.modes
        if mode.lora is not None
    }

    pipeline = QwenImagePipeline.from_pretrained(folder, dtype=_DTYPES[precision], local_files_only=True)
    check_template(pipeline)
    pipeline.to(torch_device)
    pipeline.transformer.eval()
    pipeline.text_encoder.eval()
    for mode in profile.modes:
        if mode.lora is not None:
            load_adapter(pipeline, lora_files[mode.name], adapter_name(mode))
    pipeline.transformer.requires_grad_(False)
    return QwenImageModel(
        profile=profile,
        description=ModelDescription(
            name=profile.weights.name,
            revision=profile.weights.revision or f"sha256:{_hash_folder(folder)}",
            profile=profile.name,
            precision=precision,
            device=str(torch_device),
        ),
        pipeline=pipeline,
        decoder=FrameDecoder(pipeline.vae).to(torch_device),
        token_counter=TokenCounter(pipeline, profile.max_prompt_tokens),
    )


def find_weights(profile: Profile, *, weights_dir: Path, offline: bool = False) -> Path:
    """Return the pipeline's folder, fetching it from the hub when the profile names a repository.

    Raises:
        WeightsMissing: naming what is missing and how to get it.
    """
    source = profile.weights
    if source.folder is not None:
        folder = weights_dir / source.folder
        hint = f"put {source.name} there in diffusers' format, or name another folder in the profile"
    else:
        folder = _fetch_repository(str(source.repository), str(source.revision), offline=offline)
        hint = f"fetch it again: hf download {source.repository} --revision {source.revision}"
    _check_folder(folder, hint)
    return folder


def _check_folder(folder: Path, hint: str) -> None:
    index = folder / "model_index.json"
    if not index.is_file():
        raise WeightsMissing(f"no model at {folder} (model_index.json is missing): {hint}")
    pipeline_class = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    if pipeline_class != QwenImagePipeline.__name__:
        raise WeightsMissing(f"{index} is of a {pipeline_class}, not of a {QwenImagePipeline.__name__}: {hint}")
    missing = [name for name in COMPONENTS if not any((folder / name).glob("*.json"))]
    missing += [str(file.relative_to(folder)) for file in _named_shards(folder) if not file.is_file()]
    missing += [
        f"{name}/*.safetensors"
        for name in ("text_encoder", "transformer", "vae")
        if not any((folder / name).glob("*.safetensors"))
    ]
    if missing:
        raise WeightsMissing(f"{folder} is incomplete: {', '.join(missing)} missing. {hint}")


def _named_shards(folder: Path) -> list[Path]:
    shards: set[Path] = set()
    for index in folder.glob("*/*.safetensors.index.json"):
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        shards |= {index.parent / name for name in names}
    return sorted(shards)


def _fetch_repository(repository: str, revision: str, *, offline: bool) -> Path:
    try:
        return Path(snapshot_download(repository, revision=revision, local_files_only=offline))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise WeightsMissing(
            f"{repository} at {revision} is not in the local cache and could not be fetched ({error}). "
            f"On a machine with a connection: hf download {repository} --revision {revision}; "
            "or name a local folder in the profile"
        ) from error


def _find_lora(mode: Mode, source: LoraSource, folder: Path, *, offline: bool) -> Path:
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


def _find_device(device: str) -> torch.device:
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise WeightsMissing(f"unknown device {device!r}: name cpu, cuda or cuda:0") from error
    if found.type == "cuda":
        count = torch.cuda.device_count()
        if (found.index or 0) >= count:
            raise WeightsMissing(f"device {device!r} is not there: this process sees {count} CUDA devices")
        return torch.device("cuda", found.index or 0)
    if found.type != "cpu":
        raise WeightsMissing(f"device {device!r} is not supported: name cpu, cuda or cuda:0")
    return found


def _hash_folder(folder: Path) -> str:
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
