"""The look at a machine before a run loads anything: is there room for it, in memory and on the disk?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.qwen.checkpoint import TensorEntry, read_config, read_header, read_tensors
from core.qwen.memory import gib
from core.qwen.precision import is_block_matrix
from core.qwen.profile import PIXELS_PER_TOKEN
from core.training.base import BaseSource
from core.training.files import check_free_space
from core.training.settings import Hyperparameters, TrainingSettings
from likeness.errors import InsufficientResources

_OPTIMIZED = 4 * 4
"""Bytes of a trained weight in memory: itself, its gradient and the optimizer's two moments, in float32."""
_CHECKPOINTED = 4 * 3
"""Bytes of one in a checkpoint: itself and the moments."""
_EXPORTED = 4
_CHECKPOINTS = 3
"""Two checkpoints are kept, and a draft of the next stands beside them."""
_ALIVE_IN_BLOCK = 20
"""Tensors of a token's width that are alive while one block is computed again and differentiated."""


@dataclass(frozen=True, kw_only=True)
class TrainingNeeds:
    """Bytes that a run takes at least, whatever it gives up."""

    encoders: int
    """While photos and captions are encoded; nothing else is loaded then."""
    base: int
    """The transformer as it is stored, the autoencoder, and the room that sample pictures are drawn with."""
    adapter: int
    """The weights that are trained, with gradients and the optimizer's state."""
    activations: int
    """What a step keeps when every block is computed again."""
    disk: int
    """Checkpoints and the files of all scored ones."""

    @property
    def training(self) -> int:
        """Bytes while it trains."""
        return self.base + self.adapter + self.activations

    @property
    def memory(self) -> int:
        """Bytes at the peak."""
        return max(self.encoders, self.training)


def scored_steps(settings: TrainingSettings) -> tuple[int, ...]:
    """Return the steps whose checkpoints are scored; the last one always is."""
    evaluation, last = settings.evaluation, settings.hyperparameters.steps
    every = evaluation.every or last
    return tuple(step for step in (*range(every, last, every), last) if step >= evaluation.from_step or step == last)


def measure_needs(source: BaseSource, settings: TrainingSettings) -> TrainingNeeds:
    """Compute what a run takes at least, from the headers of the base's files alone.

    Raises:
        WeightsMissing: a file is damaged or was not fetched to its end.
    """
    hyperparameters, item = settings.hyperparameters, source.dtype.itemsize
    tensors = read_tensors(source.folder, "transformer")
    linear = [tensor for tensor in tensors if tensor.name.endswith(".weight") and len(tensor.shape) == 2]
    rows = hyperparameters.rank + _own_rank(source)
    trained = hyperparameters.rank * sum(
        sum(tensor.shape) for tensor in linear if _is_target(tensor.name, hyperparameters)
    )
    vae = _elements(read_tensors(source.folder, "vae")) * item
    in_eight_bits = hyperparameters.base_storage == "float8"
    stored = sum(
        tensor.elements * (1 if in_eight_bits and is_block_matrix(tensor.name, tensor.shape) else item)
        for tensor in tensors
    )
    config = read_config(source.folder, "transformer")
    width = int(config["num_attention_heads"]) * int(config["attention_head_dim"])
    side = max(resolution.side for resolution in hyperparameters.resolutions)
    tokens = hyperparameters.batch_size * side * side // PIXELS_PER_TOKEN
    return TrainingNeeds(
        encoders=_elements(read_tensors(source.folder, "text_encoder")) * item + vae,
        base=stored + vae + rows * sum(sum(tensor.shape) for tensor in linear) * item,
        adapter=trained * _OPTIMIZED,
        activations=tokens * width * item * (int(config["num_layers"]) + _ALIVE_IN_BLOCK),
        disk=trained * (_CHECKPOINTS * _CHECKPOINTED + _EXPORTED * len(scored_steps(settings))),
    )


def check_memory(needs: TrainingNeeds, free: int | None, *, device: str, in_eight_bits: bool) -> None:
    """Return when a run has room, or when nobody knows.

    Args:
        needs: what it takes.
        free: bytes that are free on the device; None when unknown.
        device: its name.
        in_eight_bits: whether the base is stored so already.

    Raises:
        InsufficientResources: naming what takes how much, and the ways out.
    """
    if free is None or needs.memory <= free:
        return
    if needs.encoders > needs.training:
        parts, ways = f"the encoders alone take {gib(needs.encoders)}", ""
    else:
        parts = (
            f"a step takes at least {gib(needs.training)}, {gib(needs.base)} of it for the base, {gib(needs.adapter)} "
            f"for the adapter and its optimizer, {gib(needs.activations)} for the pictures"
        )
        ways = "a smaller resolution, batch_size or rank, " + ("" if in_eight_bits else "base_storage float8, ")
    raise InsufficientResources(
        f"{device} has {gib(free)} free, and {parts}: take {ways}or a larger or emptier device", resource="memory"
    )


def check_room(source: BaseSource, settings: TrainingSettings, workdir: Path, free: int | None) -> None:
    """Return when the device and the disk of ``workdir`` have room for a run.

    Raises:
        InsufficientResources: one of them has not.
        WeightsMissing: a file of the base is damaged or was not fetched to its end.
    """
    needs = measure_needs(source, settings)
    in_eight_bits = settings.hyperparameters.base_storage == "float8"
    check_memory(needs, free, device=str(source.device), in_eight_bits=in_eight_bits)
    check_free_space(workdir, needs.disk)


def _own_rank(source: BaseSource) -> int:
    """Return the rank of the LoRA that belongs to the sample pictures' mode; 0 where it has none."""
    if source.mode_lora is None:
        return 0
    return max(min(entry.shape) for entry in read_header(source.mode_lora) if len(entry.shape) == 2)


def _is_target(name: str, settings: Hyperparameters) -> bool:
    module = name.removesuffix(".weight")
    return any(f".{module}".endswith(f".{target}") for target in settings.targets)


def _elements(tensors: list[TensorEntry]) -> int:
    return sum(tensor.elements for tensor in tensors)
