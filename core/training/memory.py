"""What is given up when memory is short, one rung at a time; the result of a step stays the same."""

from __future__ import annotations

import torch

from core.training.loop import Optimisation
from likeness.errors import InsufficientResources


class FallbackLadder:
    """First a few blocks are computed again in the backward pass, then more, then all.

    Batches are not made smaller: that would train another LoRA than was asked for.
    """

    def __init__(self, run: Optimisation) -> None:
        """Begin where the settings say, or with nothing computed again until memory runs out."""
        self._run = run
        self._blocks = len(run.base.transformer.transformer_blocks)
        wanted = run.settings.checkpointed_blocks
        self._run.recompute(min(wanted or 0, self._blocks))

    def descend(self, error: torch.OutOfMemoryError) -> str:
        """Take the next rung, and say which.

        Raises:
            InsufficientResources: there is none left.
        """
        now = self._run.recomputed_blocks
        if now >= self._blocks:
            raise InsufficientResources(
                "the training does not fit into the device's memory, even with every block computed again: take a "
                "smaller resolution, batch_size or rank, or a larger device",
                resource="memory",
            ) from error
        more = min(self._blocks, max(1, self._blocks // 4) + now)
        self._run.recompute(more)
        return f"memory was short: {more} of {self._blocks} blocks are now computed again in the backward pass"
