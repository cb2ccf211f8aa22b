"""Loading a LoRA file into the transformer as a named adapter, or refusing it with the reason.

diffusers ignores some files with a warning and loads others that hold NaN, so the result is checked here.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import QwenImagePipeline
from peft.tuners.tuners_utils import BaseTunerLayer


class LoraRejected(ValueError):
    """A LoRA file that cannot act as it should; the message names the file and the reason."""


def load_adapter(pipeline: QwenImagePipeline, file: Path, name: str) -> None:
    """Load the safetensors ``file`` as adapter ``name``, in the transformer's dtype and on its device.

    Raises:
        LoraRejected: when the file is unreadable, empty or not finite, or when any of its modules is not the
            transformer's.
    """
    try:
        weights, metadata = pipeline.lora_state_dict(str(file), return_lora_metadata=True)
    except Exception as error:  # diffusers raises whatever its converters stumble on
        raise LoraRejected(f"{file.name} is no LoRA file that can be read: {error}") from error
    if not weights:
        raise LoraRejected(f"{file.name} holds no weights")
    not_finite = sorted(key for key, tensor in weights.items() if not torch.isfinite(tensor).all())
    if not_finite:
        raise LoraRejected(f"{file.name} holds numbers that are not finite: {_some(not_finite)}")

    transformer = pipeline.transformer
    # An adapter in another dtype than the model would run, slowly, in its own.
    weights = {key: tensor.to(transformer.dtype) for key, tensor in weights.items()}
    try:
        pipeline.load_lora_into_transformer(
            weights, transformer=transformer, adapter_name=name, metadata=metadata, _pipeline=pipeline
        )
    except Exception as error:
        raise LoraRejected(f"{file.name} does not fit the model: {error}") from error

    wanted = {key.removeprefix("transformer.").split(".lora_")[0] for key in weights}
    carried = {
        module_name
        for module_name, module in transformer.named_modules()
        if isinstance(module, BaseTunerLayer) and name in getattr(module, "lora_A", {})
    }
    if wanted != carried:
        raise LoraRejected(f"{file.name} has modules that did not load: {_some(sorted(wanted ^ carried))}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
