"""The names of tensors in LoRA files: which module of the transformer, and which part of its update."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from core.qwen.loras.adapter import LoraFormat, LoraRejected


class Part(Enum):
    """A tensor's place in the update of its module."""

    DOWN = "down"
    UP = "up"
    ALPHA = "alpha"


@dataclass(frozen=True)
class ModuleKeys:
    """The keys of one module's tensors."""

    parts: dict[Part, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether both matrices are there."""
        return Part.DOWN in self.parts and Part.UP in self.parts


@dataclass(frozen=True)
class LoraKeys:
    """The keys of a file, in order."""

    format: LoraFormat
    modules: Mapping[str, ModuleKeys]
    """By the module's name; each has its down and up part."""


_PREFIXES = (
    ("model.diffusion_model.", LoraFormat.COMFYUI),
    ("diffusion_model.", LoraFormat.COMFYUI),
    ("base_model.model.", LoraFormat.PEFT),
    ("transformer.", LoraFormat.DIFFUSERS),
    ("lora_unet_", LoraFormat.KOHYA),
)
_SUFFIX = re.compile(
    r"\.(?:(?P<down>lora_A|lora_down|lora\.down)|(?P<up>lora_B|lora_up|lora\.up))(?P<default>\.default)?\.weight$"
    r"|\.(?P<alpha>alpha)$"
)
_TEXT_ENCODER = re.compile(r"(text_encoders?|lora_te\d*|te\d*|conditioner|cond_stage_model)[._]")
_DORA = re.compile(r"\.(dora_scale|lora_magnitude_vector)\b")


def read_keys(keys: Iterable[str], modules: Collection[str]) -> LoraKeys:
    """Sort the keys of a file by the transformer's ``modules``.

    Raises:
        LoraRejected: naming keys that are of no known form, of the text encoder, of DoRA, of a module that the
            transformer lacks, there twice, or without their counterpart.
    """
    names = sorted(keys)
    _refuse([key for key in names if _DORA.search(key)], "DoRA is not supported: without its scale the LoRA is wrong")
    _refuse(
        [key for key in names if _TEXT_ENCODER.match(key)],
        "it also changes the text encoder, which stays as it is here; save it without",
    )
    by_underscores = {name.replace(".", "_"): name for name in modules}
    found: dict[str, ModuleKeys] = {}
    formats: dict[LoraFormat, str] = {}
    unknown, misfits, twice = [], [], []
    for key in names:
        suffix = _SUFFIX.search(key)
        if suffix is None:
            unknown.append(key)
            continue
        kind, module = _split(key[: suffix.start()])
        if kind is LoraFormat.KOHYA:
            module = by_underscores.get(module, module)
        if suffix["default"] and kind is LoraFormat.BARE:
            kind = LoraFormat.DIFFSYNTH
        if module not in modules:
            misfits.append(key)
            continue
        part = Part.DOWN if suffix["down"] else Part.UP if suffix["up"] else Part.ALPHA
        parts = found.setdefault(module, ModuleKeys()).parts
        if part in parts:
            twice.append(key)
        parts[part] = key
        if part is not Part.ALPHA:
            formats.setdefault(kind, key)
    _refuse(unknown, "these keys are of no known LoRA format")
    _refuse(misfits, "the model has no such modules")
    _refuse(twice, "these modules are there twice, under different keys")
    if not found:
        raise LoraRejected("it holds no weights")
    if len(formats) > 1:
        raise LoraRejected(f"it mixes key formats: {', '.join(formats.values())}")
    _refuse(
        [key for item in found.values() if not item.complete for key in item.parts.values()],
        "these keys have no counterpart: every module needs a down and an up matrix (lora_A and lora_B)",
    )
    return LoraKeys(next(iter(formats)), found)


def some(names: Collection[str]) -> str:
    """Return the first few names, and how many more there are."""
    listed = list(names)
    return ", ".join(name[:200] for name in listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _split(stem: str) -> tuple[LoraFormat, str]:
    for prefix, kind in _PREFIXES:
        if stem.startswith(prefix):
            return kind, stem.removeprefix(prefix)
    return LoraFormat.BARE, stem


def _refuse(keys: list[str], reason: str) -> None:
    if keys:
        raise LoraRejected(f"{reason}: {some(keys)}")
