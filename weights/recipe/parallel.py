"""What training on several cards needs: one process a card, gradients averaged, one clock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def setup() -> None:
    """Join the process group when torchrun started us."""
    if "RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl")


def device() -> torch.device:
    """Answer the device of this process."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def rank() -> int:
    """Answer the index of this process; 0 when it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Answer how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Give every process the tensors of process 0."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Average the gradients over all processes."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat, op=dist.ReduceOp.AVG)
    offset = 0
    for gradient in gradients:
        gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
        offset += gradient.numel()


# The first steps compile, which takes about a minute and is no part of the budget.
COMPILED_BY = 10


class Budget:
    """Progress of a run that may take so many seconds, or so many steps, whichever ends first.

    All processes see the clock of process 0, so that they stop at the same step.
    """

    def __init__(self, seconds: float, steps: int) -> None:
        self._seconds = seconds
        self._steps = steps
        self._start = time.monotonic()
        self._fraction = 0.0

    def fraction(self, step: int) -> float:
        """Answer how much of the budget is spent, 0–1; the clock is read every tenth step."""
        if step <= COMPILED_BY:
            self._start = time.monotonic()
        if step % 10 == 0:
            spent = max((time.monotonic() - self._start) / self._seconds, step / self._steps)
            shared = torch.tensor([spent], dtype=torch.float64, device=device())
            broadcast([shared])
            self._fraction = min(1.0, float(shared))
        return self._fraction
