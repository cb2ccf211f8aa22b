"""The pipeline as diffusers itself runs it, for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from bench.gauge import Gauge
from bench.report import Report
from core.qwen.profile import Mode, Size

BASELINE = "diffusers"
"""Its name in the report."""


def measure_diffusers(
    pipeline: Any, report: Report, gauge: Gauge, *, prompt: str, size: Size, modes: Sequence[tuple[Mode, int, float]]
) -> None:
    """Draw by ``QwenImagePipeline.__call__``, on weights that are not yet loaded our way.

    Args:
        pipeline: a `QwenImagePipeline`.
        report: takes the figures.
        gauge: measures.
        prompt: what to draw.
        size: of the picture.
        modes: their guidance and negative prompts, with the steps, and the seconds that may be needed. Their LoRAs and
            schedules are left out.
    """

    def draw(mode: Mode, steps: int) -> dict[str, Any]:
        gauge.reset_peak()
        _, seconds = gauge.timed(
            lambda: pipeline(
                prompt=prompt,
                negative_prompt=mode.negative_prompt if mode.true_cfg_scale > 1 else None,
                true_cfg_scale=mode.true_cfg_scale,
                width=size.width,
                height=size.height,
                num_inference_steps=steps,
                generator=torch.Generator("cpu").manual_seed(1),
            )
        )
        return {"seconds": seconds, "steps": steps, **gauge.peak()}

    pipeline.set_progress_bar_config(disable=True)
    # The first picture also loads kernels, as warming up does for ours.
    report.attempt(BASELINE, "warm_up", partial(draw, modes[0][0], 2))
    for mode, steps, needed in modes:
        name = f"{mode.name} {size.width}x{size.height}"
        report.attempt(BASELINE, name, partial(draw, mode, steps), needed_seconds=needed)
