from __future__ import annotations

import torch

from core.training.adapter import MasterLinear
from core.training.base import BaseSource, TrainableBase, load_trainable
from tests.core.training.conftest import MakeSpec


def load(make_spec: MakeSpec, seed: int) -> TrainableBase:
    spec = make_spec({"hyperparameters": {"seed": seed}})
    return load_trainable(BaseSource.find(spec), spec)


def test_the_first_weights_depend_on_the_seed_alone(make_spec: MakeSpec) -> None:
    first = load(make_spec, 1)
    torch.rand(7)
    again, other = load(make_spec, 1), load(make_spec, 2)
    assert all(torch.equal(first.parameters[name], again.parameters[name]) for name in first.parameters)
    downs = [name for name in first.parameters if ".lora_A." in name]
    assert downs and all(not torch.equal(first.parameters[name], other.parameters[name]) for name in downs)
    assert all(bool((value == 0).all()) for name, value in first.parameters.items() if ".lora_B." in name)


def test_weights_stay_in_float32_and_work_in_the_inputs_dtype() -> None:
    layer = MasterLinear(torch.nn.Parameter(torch.full((2, 4), 0.1)))
    x = torch.ones(3, 4, dtype=torch.bfloat16, requires_grad=True)
    layer(x).float().sum().backward()
    assert layer(x).dtype == torch.bfloat16
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32
    # What is smaller than bfloat16's steps is kept in the weights.
    with torch.no_grad():
        layer.weight.add_(1e-5)
    assert float(layer.weight[0, 0].detach()) > 0.1
