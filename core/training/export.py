"""The file that is published: diffusers' key names, a manifest in its header, checked by the generator's own reader."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch

from core.qwen.loras.adapter import Adapter, LoraRejected
from core.qwen.loras.file import read_lora
from core.training.base import BaseSource, TrainableBase
from core.training.files import write_tensors
from core.training.settings import Hyperparameters
from core.training.spec import TrainingSpec
from likeness.errors import Internal

PREFIX = "transformer."
FORMAT_VERSION = "1"


def make_manifest(spec: TrainingSpec, source: BaseSource, *, dataset_sha256: str, step: int) -> dict[str, str]:
    """Return what stands in the file's header: strings, as the format wants it."""
    settings = spec.settings
    return {
        "format": "pt",
        "likeness.version": FORMAT_VERSION,
        "likeness.job_id": spec.job_id,
        "likeness.character_id": spec.character_id,
        "likeness.trigger_word": spec.trigger_word,
        "likeness.class_word": settings.class_word,
        "likeness.base_model": source.profile.weights.name,
        "likeness.base_revision": source.revision,
        "likeness.dataset_sha256": dataset_sha256,
        "likeness.settings": settings.to_json(),
        "likeness.step": str(step),
    }


def export_lora(
    file: Path, base: TrainableBase, settings: Hyperparameters, manifest: Mapping[str, str]
) -> tuple[Adapter, str]:
    """Write the adapter, read it again as the generator does, and return what was read and the file's SHA-256.

    Alpha is folded into the weights, so that every reader scales alike.

    Raises:
        Internal: the file is not what was trained: a module is missing, or a number differs.
        InsufficientResources: the disk is full.
    """
    scale = 1.0 if settings.alpha is None else settings.alpha / settings.rank
    dtype = torch.bfloat16 if settings.export_dtype == "bfloat16" else torch.float32
    tensors = {
        f"{PREFIX}{name}": (parameter.detach() * (scale if ".lora_B." in name else 1.0)).to("cpu", dtype)
        for name, parameter in base.parameters.items()
    }
    write_tensors(file, tensors, manifest)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        adapter = read_lora(file, base.stack.shapes, dtype=base.stack.dtype, max_rank=settings.rank, key=digest)
    except LoraRejected as error:
        raise Internal(f"the generator would refuse the trained file: {error}") from error
    if 2 * len(adapter.updates) != len(tensors):
        raise Internal(f"{len(adapter.updates)} modules were read of the {len(tensors) // 2} trained ones")
    for name, update in adapter.updates.items():
        for part, tensor in (("lora_A", update.down), ("lora_B", update.up)):
            if not torch.equal(tensor, tensors[f"{PREFIX}{name}.{part}.weight"].to(tensor.dtype)):
                raise Internal(f"{name}: the file does not hold the trained weights")
    return adapter, digest
