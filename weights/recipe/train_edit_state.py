"""The state of an unfinished training, as safetensors: what a run that was cut goes on from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from weights.recipe.learner import Learner


def save_state(learner: Learner, file: Path, *, step: int, spent: float) -> None:
    """Write the learner's tensors, the steps taken and the share of the budget that is spent; whole or not at all."""
    tensors = {name: tensor.contiguous() for name, tensor in learner.tensors().items()}
    write_whole(tensors, file, {"step": str(step), "spent": repr(spent)})


def load_state(learner: Learner, file: Path) -> tuple[int, float]:
    """Bring a learner of the same parameters to a written state; answer the steps taken and the share spent."""
    with safe_open(file, "pt") as stored:
        learner.restore({name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118
        facts = stored.metadata()
    return int(facts["step"]), float(facts["spent"])


def write_whole(tensors: dict[str, torch.Tensor], file: Path, facts: dict[str, str] | None = None) -> None:
    """Write a safetensors file under another name, then give it its own: a cut leaves the old one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.part")
    save_file(tensors, unfinished, facts or {"format": "pt"})
    unfinished.chmod(0o644)
    os.replace(unfinished, file)


def half(names: Sequence[str], tensors: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors by name as fp16 on the CPU."""
    return {name: tensor.detach().half().cpu().contiguous() for name, tensor in zip(names, tensors, strict=True)}
