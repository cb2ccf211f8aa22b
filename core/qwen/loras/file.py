"""Reading a LoRA's safetensors file into an `Adapter`, or refusing it with the reason.

Nothing is left to a library that skips what it doesn't know: each tensor is accounted for, and compared with the
transformer's module that it changes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes

from core.qwen.loras.adapter import Adapter, LoraRejected, LowRankUpdate
from core.qwen.loras.keys import LoraKeys, ModuleKeys, Part, read_keys, some

Shapes = Mapping[str, tuple[int, int]]
"""Outputs and inputs of each linear layer of a transformer, by its name."""

_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
# What torch.save writes: a zip archive, or a bare pickle of protocol 2 and above.
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# Where diffusers and peft note alpha, which is then in no tensor.
_PEFT_METADATA = "lora_adapter_metadata"


@dataclass(frozen=True)
class _File:
    keys: tuple[str, ...]
    metadata: Mapping[str, str]
    tensor: Callable[[str], torch.Tensor]


def read_lora(
    source: Path | bytes, shapes: Shapes, *, dtype: torch.dtype, max_rank: int, key: str | None = None
) -> Adapter:
    """Read a safetensors file, given by its path or its bytes.

    Args:
        source: the file.
        shapes: the linear layers that a LoRA may change.
        dtype: number format of the adapter's weights: the transformer's own.
        max_rank: highest rank that is taken.
        key: what the content is known by; its SHA-256 when left out.

    Raises:
        LoraRejected: it is no safetensors file, damaged or empty, has keys that aren't known (they are named), shapes
            that don't fit, a rank above ``max_rank``, or numbers that aren't finite; or it would change nothing.
    """
    with _opened(source) as file:
        keys = read_keys(file.keys, shapes.keys())
        alphas = _PeftAlphas.of(file.metadata)
        updates = {
            module: _read_update(file, module, parts, shapes[module], alphas, dtype=dtype, max_rank=max_rank)
            for module, parts in keys.modules.items()
        }
    _check_numbers(keys, updates)
    return Adapter(key=key or _sha256(source), format=keys.format, updates=updates)


@contextmanager
def _opened(source: Path | bytes) -> Iterator[_File]:
    head = source[:8] if isinstance(source, bytes) else _head(source)
    if head.startswith(_PICKLES):
        raise LoraRejected("it is a pickle (.pt, .ckpt, .bin), which could run code; convert it to safetensors")
    try:
        if isinstance(source, bytes):
            tensors = load_bytes(source)
            yield _File(tuple(tensors), _metadata(source), tensors.__getitem__)
        else:
            with safe_open(source, framework="pt") as opened:
                yield _File(tuple(opened.keys()), opened.metadata() or {}, opened.get_tensor)
    except SafetensorError as error:
        raise LoraRejected(f"it is no safetensors file, or it is damaged or cut off: {error}") from error


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(8)


def _metadata(data: bytes) -> Mapping[str, str]:
    # Eight bytes of length, then the header as JSON; the caller has let the library check both.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata: Mapping[str, str] = header.get("__metadata__") or {}
    return metadata


def _sha256(source: Path | bytes) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class _PeftAlphas:
    """Alpha as peft notes it in the file's metadata."""

    alpha: float | None = None
    by_module: Mapping[str, float] | None = None
    root_scaled: bool = False

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> _PeftAlphas:
        try:
            noted: dict[str, Any] = json.loads(metadata.get(_PEFT_METADATA, "{}"))
            plain = {name.removeprefix("transformer."): value for name, value in noted.items()}
            alpha = plain.get("lora_alpha")
            alphas = cls(
                None if alpha is None else float(alpha),
                {name: float(value) for name, value in (plain.get("alpha_pattern") or {}).items()},
                bool(plain.get("use_rslora")),
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise LoraRejected(f"its metadata {_PEFT_METADATA} cannot be read: {error}") from error
        if plain.get("use_dora"):
            raise LoraRejected(f"{_PEFT_METADATA} says use_dora: DoRA is not supported")
        return alphas

    def scale(self, module: str, rank: int) -> float:
        """alpha / rank, or alpha / √rank for rank-stabilised LoRAs (arxiv.org/abs/2312.03732)."""
        matching = [value for name, value in (self.by_module or {}).items() if f".{module}".endswith(f".{name}")]
        alpha = matching[0] if matching else self.alpha
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.root_scaled else rank)


def _read_update(
    file: _File,
    module: str,
    keys: ModuleKeys,
    shape: tuple[int, int],
    alphas: _PeftAlphas,
    *,
    dtype: torch.dtype,
    max_rank: int,
) -> LowRankUpdate:
    down_key, up_key = keys.parts[Part.DOWN], keys.parts[Part.UP]
    down, up = file.tensor(down_key), file.tensor(up_key)
    for key, tensor in ((down_key, down), (up_key, up)):
        if tensor.dtype not in _FLOATS:
            raise LoraRejected(f"{key} has the number format {tensor.dtype}; take float32, bfloat16 or float16")
    outputs, inputs = shape
    if down.ndim != 2 or up.ndim != 2 or down.shape[1] != inputs or up.shape[0] != outputs:
        raise LoraRejected(
            f"it does not fit the model: {module} takes rank×{inputs} and {outputs}×rank, but {down_key} is "
            f"{_shape(down)} and {up_key} is {_shape(up)}"
        )
    rank = down.shape[0]
    if rank != up.shape[1] or rank == 0:
        raise LoraRejected(f"its ranks disagree: {down_key} is {_shape(down)}, {up_key} is {_shape(up)}")
    if rank > max_rank:
        raise LoraRejected(f"{module} has rank {rank}; at most {max_rank} is taken: resize the LoRA")
    scale = alphas.scale(module, rank)
    if (alpha_key := keys.parts.get(Part.ALPHA)) is not None:
        alpha = file.tensor(alpha_key)
        if alpha.numel() != 1:
            raise LoraRejected(f"{alpha_key} is {_shape(alpha)}, not a single number")
        scale = float(alpha.item()) / rank
    if not math.isfinite(scale) or scale == 0:
        raise LoraRejected(f"{module} is scaled by {scale:g}: alpha must be a number other than 0")
    # Copies: what is cut out of the file's memory would keep all of it.
    return LowRankUpdate(down.to(dtype, copy=True).contiguous(), up.to(dtype, copy=True).contiguous(), scale)


def _check_numbers(keys: LoraKeys, updates: Mapping[str, LowRankUpdate]) -> None:
    not_finite = [
        keys.modules[module].parts[part]
        for module, update in updates.items()
        for part, tensor in ((Part.DOWN, update.down), (Part.UP, update.up))
        if not bool(torch.isfinite(tensor).all())
    ]
    if not_finite:
        raise LoraRejected(f"it holds numbers that are not finite: {some(not_finite)}")
    if not any(bool(update.down.any()) and bool(update.up.any()) for update in updates.values()):
        raise LoraRejected("it would change nothing: in every module one of the two matrices is zero")


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a single number"
