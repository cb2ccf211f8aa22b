"""The low-rank update of a transformer, as the rest of the program sees it, whatever file it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import torch


class LoraRejected(ValueError):
    """A LoRA file that cannot act as it should; the message names the reason and, where they matter, the keys."""


class LoraFormat(StrEnum):
    """How a file names its tensors."""

    DIFFUSERS = "diffusers"
    """``transformer.<module>.lora_A.weight``."""
    COMFYUI = "comfyui"
    """``diffusion_model.<module>…`` or ``model.diffusion_model.<module>…``."""
    KOHYA = "kohya"
    """``lora_unet_<module with underscores>.lora_down.weight``, as sd-scripts and musubi-tuner write it."""
    DIFFSYNTH = "diffsynth"
    """``<module>.lora_A.default.weight``."""
    PEFT = "peft"
    """``base_model.model.<module>.lora_A.weight``."""
    BARE = "bare"
    """``<module>.lora_A.weight`` or ``<module>.lora_down.weight``, as Lightning is released."""


@dataclass(frozen=True)
class LowRankUpdate:
    """What a LoRA adds to one linear layer: ``scale · up · down`` (Hu et al. 2021, arxiv.org/abs/2106.09685)."""

    down: torch.Tensor
    """rank × inputs."""
    up: torch.Tensor
    """outputs × rank."""
    scale: float
    """alpha / rank; 1 where the file gives no alpha."""

    @property
    def rank(self) -> int:
        """The number of rows of ``down``."""
        return self.down.shape[0]


@dataclass(frozen=True)
class Adapter:
    """A checked LoRA: every module is the transformer's, every number finite."""

    key: str
    """What the content is known by: equal keys mean equal weights."""
    format: LoraFormat
    updates: Mapping[str, LowRankUpdate]
    """By the name of the transformer's linear layer, for example ``transformer_blocks.0.attn.to_q``."""

    @property
    def rank(self) -> int:
        """The highest rank among the modules."""
        return max(update.rank for update in self.updates.values())

    def to(self, device: torch.device) -> Adapter:
        """Return it with its weights on ``device``."""
        return replace(
            self,
            updates={
                name: replace(update, down=update.down.to(device), up=update.up.to(device))
                for name, update in self.updates.items()
            },
        )

    def pinned(self) -> Adapter:
        """Return it with its weights in page-locked memory, from which a GPU copies at full speed."""
        return replace(
            self,
            updates={
                name: replace(update, down=update.down.pin_memory(), up=update.up.pin_memory())
                for name, update in self.updates.items()
            },
        )

    @property
    def size_bytes(self) -> int:
        """Memory of the weights."""
        return sum(update.down.nbytes + update.up.nbytes for update in self.updates.values())
