"""Modes on a loaded pipeline: the scheduler of each, and the LoRAs that act in it.

A distilled LoRA with the base model's schedule gives noise, and the distilled schedule without its LoRA gives mush, so
nothing outside this module chooses the one without the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift

from core.qwen.loras.requested import RequestedLora
from core.qwen.loras.stack import LoraStack
from core.qwen.profile import Mode
from likeness.errors import InvalidRequest


@dataclass(frozen=True)
class Schedule:
    """A fresh scheduler, set to the steps of one picture. Schedulers count steps, so none is used twice."""

    scheduler: FlowMatchEulerDiscreteScheduler
    timesteps: torch.Tensor
    """The sigmas × 1000 of the steps to take, float32, on the device of the latents."""
    sigmas: tuple[float, ...]
    """The share of noise before each of these steps, and after the last one."""


def build_schedule(
    base: FlowMatchEulerDiscreteScheduler,
    mode: Mode,
    *,
    steps: int,
    image_tokens: int,
    device: torch.device,
    denoise: float = 1.0,
) -> Schedule:
    """Build the schedule of ``steps`` steps for a picture of ``image_tokens`` tokens (16×16 pixels each).

    Below a ``denoise`` of 1 the steps before the sigma nearest to it are left out; at least the last one stays.

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
    levels = [float(sigma) for sigma in scheduler.sigmas]
    begin = min(range(steps), key=lambda step: abs(levels[step] - denoise))
    scheduler.set_begin_index(begin)
    return Schedule(scheduler=scheduler, timesteps=scheduler.timesteps[begin:], sigmas=tuple(levels[begin:]))


def adapter_name(mode: Mode) -> str:
    """Name of the adapter that holds the mode's LoRA."""
    return f"mode-{mode.name}"


def activate(
    transformer: QwenImageTransformer2DModel, mode: Mode, loras: Sequence[RequestedLora] = (), *, field: str = "loras"
) -> None:
    """Let the mode's LoRA and the request's act on ``transformer``, and no others; where there are none, let none act.

    Called for every request: what acted before is of no account. The order of ``loras`` does not matter, and one of
    strength 0 is left out.

    Raises:
        InvalidRequest: a LoRA does not fit the transformer, or all together have too high a rank.
        LoraNotFound, ArtifactCorrupt: its file is gone or damaged.
    """
    stack = LoraStack.of(transformer)
    acting = sorted(
        (lora for lora in loras if lora.strength != 0), key=lambda lora: (lora.record.lora_id, lora.record.version)
    )
    if stack is None:
        if mode.lora is not None or acting:
            raise ValueError("the transformer has no room for LoRAs: LoraStack.install was not called")
        return
    check_ranks(stack, mode, acting, field=field)
    adapters = [(stack.kept[adapter_name(mode)], 1.0)] if mode.lora is not None else []
    stack.apply([*adapters, *((lora.load(), lora.strength) for lora in acting)])


def check_ranks(stack: LoraStack, mode: Mode, loras: Sequence[RequestedLora], *, field: str = "loras") -> None:
    """Refuse LoRAs that do not fit beside each other and the mode's own.

    Raises:
        InvalidRequest: naming ``field``, the sum of the ranks and the limit.
    """
    own = stack.kept[adapter_name(mode)].rank if mode.lora is not None else 0
    total = own + sum(lora.record.rank for lora in loras if lora.strength != 0)
    if total > stack.rows:
        raise InvalidRequest(
            f"the LoRAs' ranks add up to {total}"
            + (f", mode {mode.name!r}'s own of {own} among them" if own else "")
            + f"; at most {stack.rows} act at once: leave one out, or register it with a lower rank",
            field=field,
            rank=str(total),
            max_total_rank=str(stack.rows),
        )
