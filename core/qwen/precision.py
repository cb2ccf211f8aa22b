"""The number format of the weights, and what has to be there for it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel

from core.qwen.profile import Precision

MIN_FLOAT8_CAPABILITY = (8, 9)
"""Compute capability of the first cards with float8 matrix products: Ada and Hopper."""
_BLOCKS = "transformer_blocks."
_MODULATION = ("img_mod.", "txt_mod.")
_TEXT_DOWN = "txt_mlp.net.2."


def loaded_dtype(precision: Precision) -> torch.dtype:
    """Return the dtype that weights are loaded in; float8 is made from bfloat16."""
    return torch.float32 if precision == "float32" else torch.bfloat16


def precision_problems(precision: Precision, device: torch.device) -> list[str]:
    """Return what ``precision`` lacks on ``device``, each with the way out; nothing when it works."""
    if precision == "float8":
        if device.type != "cuda":
            return [f"precision float8 needs a CUDA device, and the device is {device}: take bfloat16 or float32"]
        problems = []
        capability = torch.cuda.get_device_capability(device)
        if capability < MIN_FLOAT8_CAPABILITY:
            problems.append(
                f"precision float8 needs a card of compute capability 8.9 or more, and {device} has "
                f"{capability[0]}.{capability[1]}: take bfloat16"
            )
        if find_spec("torchao") is None:
            problems.append("precision float8 needs torchao: pip install 'torchao>=0.18,<0.19'")
        return problems
    if precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return [f"{device} has no bfloat16, and float16 overflows in this model: take float32, or another card"]
    return []


def is_block_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether the tensor ``name`` of the transformer is one of the big matrices of its blocks.

    The modulations are none: they work on one row a step, so they gain no time, and every token depends on them.
    """
    inside = name.startswith(_BLOCKS) and name.endswith(".weight") and len(shape) == 2
    return inside and not any(f".{part}" in name for part in _MODULATION)


def is_quantized(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether float8 multiplies with the tensor ``name`` of the transformer: the big matrices of its blocks.

    The text's down-projection stays as it is: cuBLAS has no product of rows of 12,288 with scales by row for fewer
    than 257 of them (pytorch/ao issue 4582), and a prompt has about a hundred.
    """
    return is_block_matrix(name, shape) and f".{_TEXT_DOWN}" not in name


def quantize_float8(transformer: QwenImageTransformer2DModel, device: torch.device) -> None:
    """Turn the big matrices of the blocks into float8 (e4m3) with a scale for each row, layer by layer on ``device``.

    Activations are scaled row by row as they come, so nothing needs calibration. Before LoRAs are given room: these
    stay in bfloat16 beside the quantised layers.
    """
    library: Any = import_module("torchao.quantization")
    configuration = library.Float8DynamicActivationFloat8WeightConfig(
        granularity=library.PerRow(),
        # It would change settings of the whole process's compiler.
        set_inductor_config=False,
    )

    def wanted(module: torch.nn.Module, name: str) -> bool:
        return isinstance(module, torch.nn.Linear) and is_quantized(f"{name}.weight", tuple(module.weight.shape))

    library.quantize_(transformer, configuration, filter_fn=wanted, device=device)
