"""Modes on a loaded pipeline: the scheduler of each, and the one LoRA that may act in it.

A distilled LoRA with the base model's schedule gives noise, and the distilled schedule without its LoRA gives mush, so
nothing outside this module chooses the one without the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift

from core.qwen.profile import Mode


@dataclass(frozen=True)
class Schedule:
    """A fresh scheduler, set to the steps of one picture. Schedulers count steps, so none is used twice."""

    scheduler: FlowMatchEulerDiscreteScheduler
    timesteps: torch.Tensor
    """The sigmas × 1000 of the steps to take, float32, on the device of the latents."""


def build_schedule(
    base: FlowMatchEulerDiscreteScheduler,
    mode: Mode,
    *,
    steps: int,
    image_tokens: int,
    device: torch.device,
) -> Schedule:
    """Build the schedule of ``steps`` steps for a picture of ``image_tokens`` tokens (16×16 pixels each).

    The sigmas are shifted towards noise as the picture grows (Esser et al. 2024, arxiv.org/abs/2403.03206), by the
    numbers in the scheduler's configuration, which the mode may replace.
    """
    config = {**base.config, **mode.scheduler}
    if steps == 1:
        # Stretching a schedule to its terminal sigma needs a first and a last step; with one it divides by zero.
        config["shift_terminal"] = None
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(config)
    shift = calculate_shift(
        image_tokens,
        config["base_image_seq_len"],
        config["max_image_seq_len"],
        config["base_shift"],
        config["max_shift"],
    )
    sigmas = np.linspace(1.0, 1.0 / steps, steps)
    scheduler.set_timesteps(sigmas=sigmas, mu=shift, device=device)
    scheduler.set_begin_index(0)
    return Schedule(scheduler=scheduler, timesteps=scheduler.timesteps)


def adapter_name(mode: Mode) -> str:
    """Name of the adapter that holds the mode's LoRA."""
    return f"mode-{mode.name}"


def activate(transformer: QwenImageTransformer2DModel, mode: Mode) -> None:
    """Let the mode's LoRA act on ``transformer``, and no other; in a mode without one, let none act.

    Called for every request: what acted before is of no account.
    """
    if mode.lora is not None:
        transformer.set_adapters([adapter_name(mode)], [1.0])
        transformer.enable_lora()
    elif getattr(transformer, "peft_config", None):
        transformer.disable_lora()
