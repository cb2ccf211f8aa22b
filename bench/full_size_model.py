"""What `bench.full_size` measures: Qwen-Image-2512 of random weights in one way to run it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench.random_model import LIGHTNING_RANK
from core.qwen.checkpoint import TensorEntry
from core.qwen.memory import MemoryNeeds, estimate
from core.qwen.offload import Offload
from core.qwen.preflight import LoadingPlan
from core.qwen.profile import LoraLimits, LoraSource, Precision, Profile, Size, load_profile
from core.qwen.step_caches import FirstBlockCache

CACHED_MODE = "cached"
"""Full mode with a step cache."""
STEP_CACHE = FirstBlockCache(threshold=0.1)
LIGHTNING_FILE = "lightning.safetensors"
PACKAGES = ("torch", "diffusers", "transformers", "torchao", "triton")


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to run the model."""

    name: str
    precision: Precision
    compiled: bool


def variants_named(names: Sequence[str], *, tiny: bool) -> list[Variant]:
    """Return the variants of these names; the tiny model's unquantised ones are in float32. Raises ValueError."""
    unquantized: Precision = "float32" if tiny else "bfloat16"
    known = {
        "bfloat16": Variant("bfloat16", unquantized, compiled=False),
        "bfloat16-compiled": Variant("bfloat16-compiled", unquantized, compiled=True),
        "float8-compiled": Variant("float8-compiled", "float8", compiled=True),
    }
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown variants {', '.join(unknown)}: choose from {', '.join(known)}")
    return [known[name] for name in names]


def bench_profile(name: str, sizes: Sequence[Size], further: Sequence[Size], folder: Path) -> Profile:
    """Take a shipped profile, with the random Lightning LoRA of ``folder``, a mode with a step cache, and few shapes.

    ``sizes`` are its named ones, which are warmed up; ``further`` ones may be drawn all the same. There is room for
    Lightning and as much rank beside it.
    """
    profile = load_profile(name)
    by_ratio = {"1:1": sizes[0]} | {f"size-{size.width}": size for size in sizes[1:]}
    pixels = [size.pixels for size in (*sizes, *further)]
    limits = dataclasses.replace(
        profile.sizes, by_aspect_ratio=by_ratio, min_pixels=min(pixels), max_pixels=max(pixels)
    )
    lora = LoraSource(file=str(folder / LIGHTNING_FILE))
    modes = tuple(dataclasses.replace(mode, lora=lora) if mode.lora else mode for mode in profile.modes)
    cached = dataclasses.replace(modes[0], name=CACHED_MODE, step_cache=STEP_CACHE)
    widths = LoraLimits(max_rank=LIGHTNING_RANK, widths=(LIGHTNING_RANK, 2 * LIGHTNING_RANK))
    return dataclasses.replace(profile, sizes=limits, modes=(*modes, cached), loras=widths)


def needs_of(profile: Profile, pipeline: Any, precision: Precision) -> MemoryNeeds:
    """Compute what preflight would compute from the headers of these weights' files."""
    tensors = {
        component: [TensorEntry(name, tuple(tensor.shape)) for name, tensor in module.state_dict().items()]
        for component, module in (
            ("transformer", pipeline.transformer),
            ("text_encoder", pipeline.text_encoder),
            ("vae", pipeline.vae),
        )
    }
    return estimate(
        profile,
        tensors,
        precision,
        width=pipeline.transformer.inner_dim,
        decoder_channels=pipeline.vae.config.base_dim,
    )


def loading_plan(
    profile: Profile, variant: Variant, needs: MemoryNeeds, folder: Path, device: torch.device, compiler: str
) -> LoadingPlan:
    """Return what preflight would have planned for ``variant``, with everything on ``device``."""
    lightning = folder / LIGHTNING_FILE
    return LoadingPlan(
        folder=folder,
        lora_files={mode.name: lightning for mode in profile.modes if mode.lora},
        device=device,
        guidance_device=None,
        precision=variant.precision,
        offload=Offload.NONE,
        compiled=variant.compiled,
        needs=needs,
        compiler=compiler,
    )


def versions() -> dict[str, str]:
    """Return the versions of what the figures depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
