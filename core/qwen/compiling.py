"""Compiling the transformer's blocks on a GPU.

All blocks share one graph, in which the lengths of pictures and prompts are variables. There is one more for every
width of LoRAs, which is a constant (`core.qwen.loras.stack`). `core.qwen.warmup` runs them all before the service is
ready.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel

_MAX_GRAPHS = 64


def compile_blocks(transformer: QwenImageTransformer2DModel, *, backend: str = "inductor") -> None:
    """Compile the forward of every block; after LoRAs have room in it, before hooks are set on it.

    The forward is compiled and not the module: hooks such as those of step caches then run outside the graph, as they
    decide on numbers that a graph does not see.
    """
    # Beyond its limit torch would go on uncompiled without a word.
    torch._dynamo.config.recompile_limit = max(_MAX_GRAPHS, torch._dynamo.config.recompile_limit)
    for block in transformer.transformer_blocks:
        block.forward = torch.compile(block.forward, backend=backend, dynamic=True)


def count_graphs() -> int:
    """Return how many graphs have been compiled in this process so far."""
    counters: Any = torch._dynamo.utils.counters
    return int(counters["stats"]["unique_graphs"])
