from __future__ import annotations

import dataclasses
from typing import Any

from core.qwen.loading import QwenImageModel
from core.qwen.warmup import warm_up


def test_every_mode_is_drawn_once(model: QwenImageModel) -> None:
    full, fast = model.profile.modes
    slow = dataclasses.replace(full, name="slow", adjustable=False, steps=3)
    modes = dataclasses.replace(model, profile=dataclasses.replace(model.profile, modes=(full, fast, slow)))
    levels: list[float] = []

    def note(module: Any, inputs: Any, named: dict[str, Any]) -> None:
        levels.append(round(float(named["timestep"][0]), 3))

    hook = model.pipeline.transformer.register_forward_pre_hook(note, with_kwargs=True)
    try:
        assert warm_up(modes) == 0
    finally:
        hook.remove()
    # One step with guidance, the four of the fast schedule, and all of a mode whose steps are fixed.
    assert levels[:6] == [1.0, 1.0, 1.0, 0.9, 0.75, 0.5]
    assert len(levels) == 2 + 4 + 2 * 3
