"""Step caches: leaving out work that changes little from one denoising step to the next.

The hooks are diffusers'. They are set for one picture and taken off after it, so nothing of a picture, and nothing of a
mode, is left for the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import FirstBlockCacheConfig, QwenImageTransformer2DModel, TaylorSeerCacheConfig

from core.qwen.step_caches import FirstBlockCache, StepCache


@contextmanager
def step_cache(cache: StepCache | None, *transformers: QwenImageTransformer2DModel) -> Iterator[None]:
    """Let ``cache`` act on each of ``transformers`` inside the block, from an empty state; None caches nothing.

    Every forward inside the block must run in ``transformer.cache_context(name)``, with a name for each branch of the
    guidance.
    """
    if cache is None:
        yield
        return
    distinct = list(dict.fromkeys(transformers))
    try:
        for transformer in distinct:
            transformer.enable_cache(_hook_configuration(cache, transformer.dtype))
        yield
    finally:
        for transformer in distinct:
            if transformer.is_cache_enabled:
                transformer.disable_cache()


def _hook_configuration(cache: StepCache, dtype: torch.dtype) -> FirstBlockCacheConfig | TaylorSeerCacheConfig:
    if isinstance(cache, FirstBlockCache):
        return FirstBlockCacheConfig(threshold=cache.threshold)
    return TaylorSeerCacheConfig(
        cache_interval=cache.interval,
        disable_cache_before_step=cache.first_steps,
        max_order=cache.order,
        taylor_factors_dtype=dtype,
    )
