"""Memory: what a model takes, computed from the headers of its files, and where its parts have room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from core.qwen.checkpoint import WEIGHED, TensorEntry, WeightsMissing, read_config, read_tensors
from core.qwen.offload import Offload
from core.qwen.precision import is_quantized, loaded_dtype
from core.qwen.profile import Precision, Profile
from core.qwen.step_caches import TaylorSeerCache

# Shares of a forward pass and of a decoding that are alive at once, with a margin; the full-size model's peaks are in
# docs/10-running-on-gpus.md.
_ALIVE_IN_BLOCK = 30
_ALIVE_IN_DECODER = 10
_FRAGMENTATION = 2**30


@dataclass(frozen=True, kw_only=True)
class MemoryNeeds:
    """Bytes that a model takes, by part."""

    transformer: int
    block: int
    """The largest of the transformer's blocks, its room for LoRAs not counted."""
    loras: int
    """The room for LoRAs in the transformer's layers."""
    text_encoder: int
    vae: int
    """The autoencoder and the copy of its decoder for single frames."""
    activations: int
    """What drawing the largest picture takes beside the weights."""

    def on_device(self, offload: Offload) -> int:
        """Return what has to be free on the device."""
        if offload is Offload.BLOCKS:
            # The block at work, with its share of the LoRAs' room, and the layers outside the blocks.
            return 4 * self.block + self.vae + self.activations
        weights = self.transformer + self.loras + self.vae + self.activations
        return weights if offload is Offload.TEXT_ENCODER else weights + self.text_encoder

    def on_host(self, offload: Offload) -> int:
        """Return what stays in the main memory beside the device."""
        text_encoder = 0 if offload is Offload.NONE else self.text_encoder
        return text_encoder + (self.transformer + self.loras if offload is Offload.BLOCKS else 0)


def measure(profile: Profile, folder: Path, precision: Precision) -> MemoryNeeds:
    """Compute what the checkpoint in ``folder`` takes, from the headers of its files alone.

    Raises:
        WeightsMissing: a file is damaged or was not fetched to its end.
    """
    config = read_config(folder, "transformer")
    return estimate(
        profile,
        {component: read_tensors(folder, component) for component in WEIGHED},
        precision,
        width=int(config["num_attention_heads"]) * int(config["attention_head_dim"]),
        decoder_channels=int(read_config(folder, "vae")["base_dim"]),
    )


def estimate(
    profile: Profile,
    tensors: Mapping[str, Sequence[TensorEntry]],
    precision: Precision,
    *,
    width: int,
    decoder_channels: int,
) -> MemoryNeeds:
    """Compute what a model takes from the shapes of its tensors.

    Args:
        profile: its sizes, modes and room for LoRAs.
        tensors: the names and shapes of each component's tensors.
        precision: number format of the weights.
        width: features of a token inside the transformer.
        decoder_channels: channels of the decoder at full size.
    """
    item = loaded_dtype(precision).itemsize
    transformer = loras = 0
    blocks: dict[str, int] = {}
    rows = profile.loras.widths[-1]
    for tensor in tensors["transformer"]:
        quantized = precision == "float8" and is_quantized(tensor.name, tensor.shape)
        size = tensor.elements * (1 if quantized else item)
        transformer += size
        if tensor.name.startswith("transformer_blocks."):
            block = tensor.name.split(".")[1]
            blocks[block] = blocks.get(block, 0) + size
        if tensor.name.endswith(".weight") and len(tensor.shape) == 2:
            loras += rows * sum(tensor.shape) * item
    tokens = profile.max_picture_tokens + profile.max_text_tokens
    denoising = tokens * width * item * _ALIVE_IN_BLOCK
    for mode in profile.modes:
        if isinstance(mode.step_cache, TaylorSeerCache):
            # For both branches, each block's two attention outputs, with their differences.
            kept = 2 * len(blocks) * tokens * width * item * (mode.step_cache.order + 1)
            denoising = max(denoising, kept + tokens * width * item * _ALIVE_IN_BLOCK)
    decoding = profile.sizes.max_pixels * decoder_channels * item * _ALIVE_IN_DECODER
    return MemoryNeeds(
        transformer=transformer,
        block=max(blocks.values(), default=0),
        loras=loras,
        text_encoder=sum(tensor.elements for tensor in tensors["text_encoder"]) * item,
        vae=2 * sum(tensor.elements for tensor in tensors["vae"]) * item,
        activations=max(denoising, decoding),
    )


def choose_offload(
    needs: MemoryNeeds,
    wanted: Offload | None,
    *,
    device: torch.device,
    precision: Precision,
    free: int | None,
    host: int | None,
) -> Offload:
    """Choose what stays in the main memory: ``wanted``, or the least with which the rest has room on the device.

    Args:
        needs: what the model takes.
        wanted: the deployment's choice; None to choose.
        device: where the model will work.
        precision: number format of the weights.
        free: bytes that are free on the device; None when unknown.
        host: bytes that are free in the main memory; None when unknown.

    Raises:
        WeightsMissing: it does not fit; the message says by how much, and what would.
    """
    if device.type != "cuda" and wanted not in (None, Offload.NONE):
        raise WeightsMissing(f"offload {str(wanted)!r} is for CUDA devices, and the device is {device}: leave it out")
    if precision == "float8" and wanted is Offload.BLOCKS:
        raise WeightsMissing("offload 'blocks' and precision float8 do not go together: take bfloat16")
    margin = _FRAGMENTATION if device.type == "cuda" else 0
    possible = [Offload.NONE, Offload.TEXT_ENCODER] + ([Offload.BLOCKS] if precision != "float8" else [])
    candidates = [wanted] if wanted else possible if device.type == "cuda" else [Offload.NONE]
    for offload in candidates:
        if free is None or needs.on_device(offload) + margin <= free:
            on_host = needs.on_host(offload)
            if host is not None and on_host > host:
                raise WeightsMissing(
                    f"offload {str(offload)!r} keeps {gib(on_host)} in the main memory, which has {gib(host)} free"
                )
            return offload
    raise WeightsMissing(
        f"{device} has {gib(free or 0)} free, and this profile takes "
        + ", ".join(f"{gib(needs.on_device(offload) + margin)} with offload {str(offload)!r}" for offload in candidates)
        + ": take a larger or emptier device"
        + ("" if device.type != "cuda" or precision == "float8" else ", or precision float8")
    )


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes; None when the system does not tell."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return host_bytes()


def host_bytes() -> int | None:
    """Return the main memory that can still be had, in bytes; None when the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    if not found:
        return None
    left = container_bytes()
    return found[0] if left is None else min(found[0], left)


def container_bytes(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return what the container's limit leaves (docs.kernel.org/admin-guide/cgroup-v2.html); None without one.

    The cache of files counts as used there, but it gives way: as Kubernetes does, its inactive part is taken as free.
    """
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return max(0, int(limit) - used + cached) if limit.isdigit() else None


def gib(size: int) -> str:
    """Write a size for a person."""
    return f"{size / 2**30:.1f} GiB"
