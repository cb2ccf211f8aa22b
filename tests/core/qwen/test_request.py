from __future__ import annotations

import math
from typing import Any

import pytest

from core.qwen.profile import load_profile
from core.qwen.request import MAX_SEED, resolve_request, resolve_size
from likeness.errors import InvalidRequest, UnknownMode

PROFILE = load_profile("miniature")
QWEN = load_profile("qwen")


def test_what_is_left_out_comes_from_the_profile() -> None:
    request = resolve_request(QWEN, prompt="a man", seed=5)
    assert request.mode.name == "full"
    assert (request.steps, request.true_cfg_scale, request.count, request.seed) == (50, 4.0, 1, 5)
    assert (request.size.width, request.size.height) == (1328, 1328)
    assert request.negative_prompt.startswith("低分辨率")
    assert request.guided


def test_fast_mode_draws_without_guidance() -> None:
    request = resolve_request(QWEN, prompt="a man", seed=0, mode="fast")
    assert (request.steps, request.true_cfg_scale, request.guided) == (4, 1.0, False)


def test_an_empty_negative_prompt_still_leaves_guidance_on() -> None:
    request = resolve_request(PROFILE, prompt="a man", seed=0, negative_prompt="")
    assert request.negative_prompt == " "
    assert request.guided


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n\t\u3000"}, "prompt"),
        ({"steps": 0}, "steps"),
        ({"steps": 101}, "steps"),
        ({"true_cfg_scale": 0.5}, "true_cfg_scale"),
        ({"true_cfg_scale": 20.5}, "true_cfg_scale"),
        ({"true_cfg_scale": math.nan}, "true_cfg_scale"),
        ({"count": 0}, "count"),
        ({"count": 9}, "count"),
        ({"seed": -1}, "seed"),
        ({"preview_every": -1}, "preview_every"),
        ({"preview_every": 101}, "preview_every"),
        ({"seed": MAX_SEED, "count": 2}, "seed"),
        ({"aspect_ratio": "5:4"}, "aspect_ratio"),
        ({"aspect_ratio": "1:1", "width": 256, "height": 256}, "aspect_ratio"),
        ({"width": 256}, "height"),
        ({"height": 256}, "width"),
        ({"width": 100_000, "height": 10_000}, "width"),
        ({"width": 64, "height": 256}, "height"),
        ({"width": 1024, "height": 1024}, "width"),
        ({"width": 64, "height": 64}, "width"),
        ({"width": 0, "height": 0}, "width"),
        ({"mode": "fast", "steps": 8}, "steps"),
        ({"mode": "fast", "true_cfg_scale": 4.0}, "true_cfg_scale"),
        ({"mode": "fast", "negative_prompt": "hats"}, "negative_prompt"),
        ({"true_cfg_scale": 1.0, "negative_prompt": "hats"}, "negative_prompt"),
    ],
)
def test_a_value_out_of_range_or_without_effect_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolve_request(PROFILE, **{"prompt": "a man", "seed": 0, **changes})
    assert refused.value.field == field


def test_unknown_mode_names_the_known_ones() -> None:
    with pytest.raises(UnknownMode, match="full, fast") as refused:
        resolve_request(PROFILE, prompt="a man", seed=0, mode="turbo")
    assert refused.value.field == "mode"


def test_fast_mode_takes_its_own_numbers_when_they_are_spelled_out() -> None:
    request = resolve_request(PROFILE, prompt="a man", seed=0, mode="fast", steps=4, true_cfg_scale=1.0)
    assert request.steps == 4


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [((256, 256), (256, 256)), ((250, 300), (256, 304)), ((200, 200), (208, 208)), ((199, 199), (192, 192))],
)
def test_width_and_height_are_brought_to_the_nearest_multiple(asked: tuple[int, int], drawn: tuple[int, int]) -> None:
    size = resolve_size(PROFILE.sizes, width=asked[0], height=asked[1])
    assert (size.width, size.height) == drawn
