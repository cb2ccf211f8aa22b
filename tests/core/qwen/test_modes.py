from __future__ import annotations

import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from core.qwen.modes import build_schedule
from core.qwen.profile import Mode, load_profile
from weights.recipe.architecture import build_scheduler

CPU = torch.device("cpu")
FULL, FAST = load_profile("qwen").modes
MINIATURE_FAST = load_profile("miniature").modes[1]
TOKENS_1328 = (1328 // 16) ** 2
TOKENS_1024 = (1024 // 16) ** 2
TOKENS_256 = (256 // 16) ** 2


@pytest.fixture
def base() -> FlowMatchEulerDiscreteScheduler:
    return build_scheduler()


@pytest.mark.parametrize("tokens", [TOKENS_256, TOKENS_1024, TOKENS_1328])
@pytest.mark.parametrize("mode", [FAST, MINIATURE_FAST])
def test_fast_mode_has_the_sigmas_it_was_distilled_with(
    base: FlowMatchEulerDiscreteScheduler, mode: Mode, tokens: int
) -> None:
    schedule = build_schedule(base, mode, steps=4, image_tokens=tokens, device=CPU)
    assert schedule.scheduler.sigmas.tolist() == pytest.approx([1, 0.9, 0.75, 0.5, 0], abs=1e-6)
    assert schedule.timesteps.tolist() == pytest.approx([1000, 900, 750, 500], abs=1e-3)


def test_base_schedule_would_be_wrong_for_the_fast_mode(base: FlowMatchEulerDiscreteScheduler) -> None:
    schedule = build_schedule(base, FULL, steps=4, image_tokens=TOKENS_1328, device=CPU)
    assert schedule.scheduler.sigmas.tolist() == pytest.approx([1, 0.781, 0.476, 0.02, 0], abs=1e-3)


@pytest.mark.parametrize(("steps", "tokens"), [(50, TOKENS_1328), (50, TOKENS_1024), (20, TOKENS_256)])
def test_full_mode_is_shifted_by_size_and_ends_at_the_terminal_sigma(
    base: FlowMatchEulerDiscreteScheduler, steps: int, tokens: int
) -> None:
    shift = math.exp(0.5 + (0.9 - 0.5) * (tokens - 256) / (8192 - 256))
    shifted = [shift / (shift + 1 / t - 1) for t in (1 - k / steps for k in range(steps))]
    stretched = [1 - (1 - sigma) * (1 - 0.02) / (1 - shifted[-1]) for sigma in shifted]
    sigmas = build_schedule(base, FULL, steps=steps, image_tokens=tokens, device=CPU).scheduler.sigmas.tolist()
    assert sigmas == pytest.approx([*stretched, 0], abs=1e-6)
    assert sigmas[-2] == pytest.approx(0.02, abs=1e-6)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (TOKENS_1024, {0: 1.0, 1: 0.9897, 25: 0.66009, 48: 0.05848, 49: 0.02}),
        (TOKENS_1328, {0: 1.0, 1: 0.99099, 25: 0.68938, 48: 0.06378, 49: 0.02}),
    ],
)
def test_full_mode_of_the_released_model_has_these_sigmas(
    base: FlowMatchEulerDiscreteScheduler, tokens: int, expected: dict[int, float]
) -> None:
    sigmas = build_schedule(base, FULL, steps=FULL.steps, image_tokens=tokens, device=CPU).scheduler.sigmas.tolist()
    assert len(sigmas) == 51
    assert {step: sigmas[step] for step in expected} == pytest.approx(expected, abs=1e-5)


def test_a_single_step_goes_from_noise_to_picture(base: FlowMatchEulerDiscreteScheduler) -> None:
    assert build_schedule(base, FULL, steps=1, image_tokens=256, device=CPU).scheduler.sigmas.tolist() == [1.0, 0.0]


def test_every_picture_gets_a_scheduler_of_its_own(base: FlowMatchEulerDiscreteScheduler) -> None:
    one = build_schedule(base, FULL, steps=3, image_tokens=256, device=CPU)
    two = build_schedule(base, FULL, steps=3, image_tokens=256, device=CPU)
    one.scheduler.step(torch.zeros(1), one.timesteps[0], torch.zeros(1))
    assert (one.scheduler.step_index, two.scheduler.step_index, base.step_index) == (1, None, None)
    assert base.config.shift_terminal == 0.02
