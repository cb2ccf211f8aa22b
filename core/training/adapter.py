"""The adapter that is trained: peft's layers, with float32 weights that work in the base's dtype."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import QwenImageTransformer2DModel
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional

from core.training.settings import Hyperparameters

NAME = "character"


class MasterLinear(nn.Module):
    """A product in the input's dtype with weights that stay in float32, as mixed precision has it."""

    def __init__(self, weight: nn.Parameter) -> None:
        """Take the parameter over."""
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        """Return … × outputs for ``x``, … × inputs."""
        return functional.linear(x, self.weight.to(x.dtype))


def add_adapter(
    transformer: QwenImageTransformer2DModel, modules: Sequence[str], settings: Hyperparameters
) -> dict[str, nn.Parameter]:
    """Give linear layers an adapter whose first weights depend on the seed alone, and return what is to be trained.

    Left alone, peft keeps the adapter in the base's dtype, where small updates are rounded away; with float32 weights
    it copies every layer's input into float32 and keeps the copy for the backward pass. Here the weights are float32,
    and they are rounded to the input's dtype when they are used.

    Args:
        transformer: frozen; it is changed in place.
        modules: names of the layers.
        settings: rank, alpha and seed.

    Returns:
        The weights by module: ``<module>.lora_A.weight`` and ``<module>.lora_B.weight``.
    """
    # peft draws the first weights from torch's own generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha or settings.rank,
            target_modules=list(modules),
            init_lora_weights="gaussian",
        )
        transformer.add_adapter(config, adapter_name=NAME)
    parameters = {}
    for name, layer in transformer.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        layer.cast_input_dtype_enabled = False
        for part, matrices in (("lora_A", layer.lora_A), ("lora_B", layer.lora_B)):
            master = nn.Parameter(matrices[NAME].weight.detach().float())
            matrices[NAME] = MasterLinear(master)
            parameters[f"{name}.{part}.weight"] = master
    return parameters
