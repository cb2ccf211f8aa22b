from __future__ import annotations

import pytest
import torch
from diffusers import QwenImageTransformer2DModel
from torch import nn

from core.training.base import BaseSource, load_trainable
from core.training.float8 import Float8Linear, store_in_float8
from core.training.loop import Optimisation
from tests.core.training.conftest import MakeSpec
from tests.core.training.test_loop import make_example

CPU = torch.device("cpu")


def layers(dtype: torch.dtype = torch.float32) -> tuple[nn.Linear, Float8Linear]:
    torch.manual_seed(1)
    linear = nn.Linear(64, 48).to(dtype).requires_grad_(False)
    return linear, Float8Linear(linear, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_stored_layer_computes_nearly_the_same_forward_and_back(dtype: torch.dtype) -> None:
    linear, stored = layers(dtype)
    results = []
    for layer in (linear, stored):
        x = torch.linspace(-1, 1, 3 * 64).view(3, 64).to(dtype).requires_grad_()
        y = layer(x)
        y.float().square().sum().backward()
        assert x.grad is not None and y.dtype == dtype and x.grad.dtype == dtype
        results.append((y.detach().float(), x.grad.float()))
    for full, rounded in zip(*results, strict=True):
        error = (full - rounded).norm() / full.norm()
        assert 0 < float(error) < 0.04


def test_a_stored_layer_takes_a_byte_for_a_weight() -> None:
    linear, stored = layers()
    assert stored.stored.element_size() * stored.stored.numel() == linear.weight.numel()
    assert stored.weight.numel() == 0
    assert not any(parameter.requires_grad for parameter in stored.parameters())


def test_all_big_matrices_of_a_block_are_stored_and_the_modulations_stay() -> None:
    transformer = QwenImageTransformer2DModel(
        num_layers=2, num_attention_heads=1, attention_head_dim=32, joint_attention_dim=16, axes_dims_rope=(8, 12, 12)
    )
    block = transformer.transformer_blocks[0]
    big = sum(isinstance(module, nn.Linear) for module in block.modules()) - 2
    assert store_in_float8(transformer, CPU) == big * len(transformer.transformer_blocks)
    # The generator's float8 multiplies in eight bits and has to leave this one out; storing has not.
    assert isinstance(block.txt_mlp.net[2], Float8Linear)
    assert isinstance(block.img_mod[1], nn.Linear)


def test_a_row_of_zeros_stays_zero() -> None:
    linear = nn.Linear(8, 2, bias=False).requires_grad_(False)
    linear.weight.zero_()
    assert bool((Float8Linear(linear, CPU)(torch.ones(1, 8)) == 0).all())


def test_a_base_in_eight_bits_is_trained_and_drawn_with_as_any_other(make_spec: MakeSpec) -> None:
    spec = make_spec({"hyperparameters": {"base_storage": "float8", "learning_rate": 0.02}})
    base = load_trainable(BaseSource.find(spec), spec)
    assert sum(isinstance(module, Float8Linear) for module in base.transformer.modules()) > 8
    run = Optimisation(base, [make_example(1)], [], spec.settings.hyperparameters, 16)
    before = {name: parameter.detach().clone() for name, parameter in base.parameters.items()}
    for _ in range(2):
        run.advance([make_example(1)])
    assert all(not torch.equal(before[name], parameter) for name, parameter in base.parameters.items())
    assert set(base.parameters) <= {f"{name}.lora_{x}.weight" for name in base.stack.shapes for x in "AB"}
