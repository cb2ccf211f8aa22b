"""The look at a machine before anything is loaded: is all there that a profile needs, and where will it have room?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from core.qwen.checkpoint import WeightsMissing, find_lora, find_weights
from core.qwen.memory import MemoryNeeds, choose_offload, free_bytes, gib, host_bytes, measure
from core.qwen.offload import Offload
from core.qwen.precision import precision_problems
from core.qwen.profile import Precision, Profile
from core.qwen.step_caches import TaylorSeerCache


@dataclass(frozen=True, kw_only=True)
class LoadingChoices:
    """What a deployment may choose beside its profile."""

    device: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:0``."""
    guidance_device: str = ""
    """A second device that works on the negative prompt at the same time; empty for none."""
    precision: Precision | None = None
    """Number format of the weights; None takes the profile's."""
    offload: Offload | None = None
    """What stays in the main memory; None chooses by the card's free memory."""
    compiled: bool | None = None
    """Whether the transformer's blocks are compiled; None takes the profile's."""
    offline: bool = False
    """Take hub weights from the local cache only."""


@dataclass(frozen=True, kw_only=True)
class LoadingPlan:
    """What will be loaded, and where: the outcome of a look that found nothing missing."""

    folder: Path
    lora_files: Mapping[str, Path]
    """Files of the modes' LoRAs, by mode; an optional one that isn't there has none."""
    device: torch.device
    guidance_device: torch.device | None
    precision: Precision
    offload: Offload
    compiled: bool
    needs: MemoryNeeds
    compiler: str = "inductor"
    """The backend of ``torch.compile``."""


def plan_loading(profile: Profile, *, weights_dir: Path, choices: LoadingChoices) -> LoadingPlan:
    """Look for everything that ``profile`` needs, and choose where its parts will be. Nothing is loaded yet.

    Weights of the hub are fetched, unless the machine could not use them.

    Raises:
        WeightsMissing: naming all that is missing: devices, libraries, files, memory, disk.
    """
    problems: list[str] = []
    device = guidance_device = None
    precision = choices.precision or profile.precision.cpu
    try:
        device = find_device(choices.device)
        precision = choices.precision or (profile.precision.cuda if device.type == "cuda" else profile.precision.cpu)
        problems += precision_problems(precision, device)
        if choices.guidance_device:
            guidance_device = find_device(choices.guidance_device)
            problems += _guidance_problems(device, guidance_device, precision, choices)
    except WeightsMissing as error:
        problems.append(str(error))

    compiled = profile.compiled if choices.compiled is None else choices.compiled
    if compiled:
        problems += _compiling_problems(profile)
    folder, lora_files, needs = None, {}, None
    if not problems or profile.weights.folder is not None:
        try:
            folder = find_weights(profile, weights_dir=weights_dir, offline=choices.offline)
            needs = measure(profile, folder, precision)
        except WeightsMissing as error:
            problems.append(str(error))
    if folder is not None:
        for mode in profile.modes:
            try:
                if mode.lora is not None and not (mode.lora.optional and not (folder / mode.lora.file).is_file()):
                    lora_files[mode.name] = find_lora(mode, mode.lora, folder, offline=choices.offline)
            except WeightsMissing as error:
                problems.append(str(error))
    offload = Offload.NONE
    if device is not None and needs is not None:
        try:
            offload = choose_offload(
                needs, choices.offload, device=device, precision=precision, free=free_bytes(device), host=host_bytes()
            )
            if guidance_device is not None:
                _check_second_device(needs, guidance_device, free_bytes(guidance_device))
        except WeightsMissing as error:
            problems.append(str(error))
    if problems or device is None or folder is None or needs is None:
        raise WeightsMissing("; ".join(problems))
    return LoadingPlan(
        folder=folder,
        lora_files=lora_files,
        device=device,
        guidance_device=guidance_device,
        precision=precision,
        offload=offload,
        # Blocks that come and go have new addresses each time, and a CPU gains less than its compiler costs.
        compiled=compiled and device.type == "cuda" and offload is not Offload.BLOCKS,
        needs=needs,
    )


def find_device(device: str) -> torch.device:
    """Return the device of that name. Raises WeightsMissing when it is unknown or not there."""
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
    return torch.device("cpu")


def _compiling_problems(profile: Profile) -> list[str]:
    # Its hooks are inside the blocks: each block would be several graphs, and others again from the first picture on.
    names = [mode.name for mode in profile.modes if isinstance(mode.step_cache, TaylorSeerCache)]
    return [
        f"mode {name!r} has the step cache taylor_seer, which does not go with compiled blocks: take first_block, or "
        "leave compiled out"
        for name in names
    ]


def _guidance_problems(
    device: torch.device, guidance_device: torch.device, precision: Precision, choices: LoadingChoices
) -> list[str]:
    problems = []
    if device.type != guidance_device.type:
        problems.append(f"guidance_device {guidance_device} must be of the same kind as the device {device}")
    elif device == guidance_device and device.type == "cuda":
        problems.append(f"guidance_device {guidance_device} is the device itself: name a second one")
    if choices.offload is Offload.BLOCKS:
        problems.append("offload 'blocks' and guidance_device do not go together: leave one out")
    return problems + [problem for problem in precision_problems(precision, guidance_device) if not problems]


def _check_second_device(needs: MemoryNeeds, device: torch.device, free: int | None) -> None:
    wanted = needs.transformer + needs.loras + needs.activations
    if free is not None and wanted > free:
        raise WeightsMissing(
            f"guidance_device {device} has {gib(free)} free, and the transformer takes {gib(wanted)} there"
        )
