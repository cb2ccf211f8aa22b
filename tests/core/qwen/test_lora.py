from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.qwen.loading import QwenImageModel, load_model
from core.qwen.lora import LoraRejected
from tests.support.checkpoint import checkpoint_profile, random_lora

Weights = dict[str, torch.Tensor]


@pytest.fixture
def load_with(checkpoint: Path, tmp_path: Path) -> Callable[[Weights], QwenImageModel]:
    """Load the checkpoint with other weights as the fast mode's LoRA."""
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))

    def load(weights: Weights) -> QwenImageModel:
        save_file(weights, folder / "fast_lora.safetensors")
        return load_model(checkpoint_profile(folder), weights_dir=folder)

    return load


def lightning_format(weights: Weights, alpha: float) -> Weights:
    """Rename to the format that Lightning is released in: bare names, down and up, with alpha."""
    renamed: Weights = {}
    for key, tensor in weights.items():
        bare = key.removeprefix("transformer.")
        renamed[bare.replace("lora_A", "lora_down").replace("lora_B", "lora_up")] = tensor
        renamed[bare.split(".lora_")[0] + ".alpha"] = torch.tensor(alpha)
    return renamed


def adapted_weight(model: QwenImageModel) -> torch.Tensor:
    layer = model.pipeline.transformer.transformer_blocks[0].attn.to_q
    delta: torch.Tensor = layer.get_delta_weight("mode-fast")
    return delta


def test_lightnings_format_loads_with_alpha_over_rank(load_with: Callable[[Weights], QwenImageModel]) -> None:
    weights = random_lora(rank=4)
    plain = adapted_weight(load_with(weights))
    assert torch.allclose(adapted_weight(load_with(lightning_format(weights, alpha=4))), plain, atol=1e-6)
    assert torch.allclose(adapted_weight(load_with(lightning_format(weights, alpha=1))), plain / 4, atol=1e-6)


def test_adapter_takes_the_models_number_format(load_with: Callable[[Weights], QwenImageModel]) -> None:
    model = load_with({key: tensor.half() for key, tensor in random_lora().items()})
    layer = model.pipeline.transformer.transformer_blocks[0].attn.to_q
    assert layer.lora_A["mode-fast"].weight.dtype == torch.float32


def test_a_lora_that_is_not_finite_is_refused(load_with: Callable[[Weights], QwenImageModel]) -> None:
    weights = random_lora()
    weights[next(iter(weights))][0, 0] = math.nan
    with pytest.raises(LoraRejected, match="not finite"):
        load_with(weights)


def test_a_lora_of_another_shape_is_refused(load_with: Callable[[Weights], QwenImageModel]) -> None:
    weights = {key: torch.zeros(4, 64) if "lora_A" in key else tensor for key, tensor in random_lora().items()}
    with pytest.raises(LoraRejected, match="does not fit"):
        load_with(weights)


def test_a_lora_for_layers_that_the_model_lacks_is_refused(load_with: Callable[[Weights], QwenImageModel]) -> None:
    with pytest.raises(LoraRejected, match=r"transformer_blocks\.2"):
        load_with(random_lora(layers=3))


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_keys_that_diffusers_would_ignore_silently_are_refused(
    load_with: Callable[[Weights], QwenImageModel], prefix: str
) -> None:
    weights = {prefix + key.removeprefix("transformer."): tensor for key, tensor in random_lora().items()}
    with pytest.raises(LoraRejected):
        load_with(weights)


def test_a_file_that_is_no_safetensors_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    (folder / "fast_lora.safetensors").write_bytes(b"no LoRA at all")
    with pytest.raises(LoraRejected, match=r"fast_lora\.safetensors"):
        load_model(checkpoint_profile(folder), weights_dir=folder)
