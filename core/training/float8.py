"""Eight bits for the frozen base: a third less memory, so that less has to be computed again in the backward pass.

Only storage is rounded. A layer's weights become the dtype of what it multiplies when they are needed, in the forward
and again in the backward pass, so activations and gradients stay as exact as they were. Float8 products as the
generator has them would round both, and what a LoRA learns is smaller than that rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.qwen.precision import is_block_matrix

_LARGEST = 448.0
"""The largest number of e4m3."""


class _StoredProduct(torch.autograd.Function):
    """``x · (scale ∘ weight)ᵀ``, without keeping the weights in full between the passes."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        context.save_for_backward(weight, scale)
        return functional.linear(x, _in_full(weight, scale, x.dtype))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        weight, scale = context.saved_tensors
        return gradient @ _in_full(weight, scale, gradient.dtype), None, None


class Float8Linear(nn.Linear):
    """A frozen linear layer whose weights are kept in e4m3 with a scale for each output.

    It is an ``nn.Linear`` because peft gives adapters to nothing else; its own ``weight`` is empty, in the dtype that
    the layer was made from.
    """

    stored: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear, device: torch.device) -> None:
        """Round the layer's weights on ``device``, and stay there."""
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        weight = linear.weight.detach().to(device)
        scale = weight.float().abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / _LARGEST
        self.register_buffer("stored", (weight / scale).to(torch.float8_e4m3fn), persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.weight = nn.Parameter(weight.new_empty(0), requires_grad=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().to(device), requires_grad=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return … × outputs for ``input``, … × inputs, in its dtype."""
        product: Tensor = _StoredProduct.apply(input, self.stored, self.scale)
        return product if self.bias is None else product + self.bias.to(product.dtype)


def store_in_float8(transformer: nn.Module, device: torch.device) -> int:
    """Exchange the big linear layers of the blocks, one by one on ``device``, and return how many those were.

    Before LoRAs are given room and before the adapter is added. The modulations stay as they are.
    """
    found = [
        (name, module)
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and is_block_matrix(f"{name}.weight", tuple(module.weight.shape))
    ]
    for name, module in found:
        transformer.set_submodule(name, Float8Linear(module, device))
    return len(found)


def _in_full(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.to(dtype) * scale.to(dtype)
