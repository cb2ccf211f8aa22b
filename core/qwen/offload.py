"""Where the parts of a model stay when the card is too small for all of them.

``text_encoder`` and ``blocks`` trade time for room on the card; what is drawn stays the same.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from diffusers.hooks import apply_group_offloading

from core.qwen.pipelines import Pipeline


class Offload(StrEnum):
    """What is kept in the main memory."""

    NONE = "none"
    """Nothing: all weights are on the device."""
    TEXT_ENCODER = "text_encoder"
    """The text encoder, which then works on the CPU: some seconds a prompt."""
    BLOCKS = "blocks"
    """Also the transformer's blocks, which come to the card one by one in every step: many times slower."""


def place(pipeline: Pipeline, device: torch.device, offload: Offload) -> None:
    """Bring the parts of ``pipeline`` to ``device``, but for those that ``offload`` keeps in the main memory.

    For blocks: after the transformer has its final layers, the LoRAs' among them.
    """
    pipeline.vae.to(device)
    if offload is Offload.NONE:
        pipeline.text_encoder.to(device)
    if offload is Offload.BLOCKS:
        # Without a stream: the hooks' pinned copies would not see LoRAs that are written into the layers later.
        apply_group_offloading(
            pipeline.transformer, onload_device=device, offload_type="block_level", num_blocks_per_group=1
        )
    else:
        pipeline.transformer.to(device)
