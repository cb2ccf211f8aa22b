from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from core.qwen.compiling import compile_blocks, count_graphs
from core.qwen.loading import QwenImageModel, load_model
from core.qwen.request import resolve_request
from core.qwen.warmup import draw_unseen, warm_up
from tests.support.checkpoint import checkpoint_profile


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


def test_a_profile_of_one_named_size_compiles_nothing_for_the_others(checkpoint: Path) -> None:
    loaded = load_model(checkpoint_profile(checkpoint), weights_dir=checkpoint)
    square = loaded.profile.sizes.by_aspect_ratio["1:1"]
    sizes = dataclasses.replace(loaded.profile.sizes, by_aspect_ratio={"1:1": square})
    description = dataclasses.replace(loaded.description, compiled=True)
    model = dataclasses.replace(
        loaded, profile=dataclasses.replace(loaded.profile, sizes=sizes), description=description
    )
    compile_blocks(model.pipeline.transformer, backend="eager")
    try:
        assert warm_up(model) > 0
        graphs = count_graphs()
        request = resolve_request(
            model.profile,
            prompt="a person",
            seed=0,
            mode="full",
            steps=1,
            width=square.width - 16,
            height=square.height,
        )
        assert request.size != square
        draw_unseen(model, request)
        assert count_graphs() == graphs
    finally:
        torch._dynamo.reset()
