from __future__ import annotations

import math

import pytest
import torch

from core.training.noise import draw_sigmas, loss_weights
from core.training.settings import TimestepSettings


def draw(settings: TimestepSettings, shift: float = 0.9) -> torch.Tensor:
    return draw_sigmas(20_000, settings, shift=shift, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("settings", "median"),
    [
        (TimestepSettings(sampling="uniform"), 0.5),
        (TimestepSettings(sampling="logit_normal", mean=0.0), 0.5),
        (TimestepSettings(sampling="logit_normal", mean=1.0, spread=0.5), 1 / (1 + math.exp(-1))),
        (TimestepSettings(sampling="shifted"), math.exp(0.9) / (1 + math.exp(0.9))),
    ],
)
def test_noise_levels_follow_their_distribution(settings: TimestepSettings, median: float) -> None:
    sigmas = draw(settings)
    assert bool(((sigmas >= 0) & (sigmas <= 1)).all())
    assert float(sigmas.median()) == pytest.approx(median, abs=0.02)


def test_a_uniform_share_reaches_the_ends() -> None:
    narrow = TimestepSettings(sampling="logit_normal", mean=3.0, spread=0.3)
    mixed = TimestepSettings(sampling="logit_normal", mean=3.0, spread=0.3, uniform_share=0.2)
    assert float((draw(narrow) < 0.5).float().mean()) == 0
    assert float((draw(mixed) < 0.5).float().mean()) == pytest.approx(0.1, abs=0.02)


def test_the_bell_counts_the_middle_most_and_one_on_average() -> None:
    settings = TimestepSettings(weighting="bell")
    weights = loss_weights(torch.linspace(0, 1, 10_001), settings)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-3)
    assert float(weights[5000]) == float(weights.max()) > 1 > float(weights[0])
    assert bool((loss_weights(torch.rand(5), TimestepSettings()) == 1).all())
