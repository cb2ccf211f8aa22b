"""Noise levels of training steps: how they are drawn, and what each counts in the loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from core.training.settings import TimestepSettings

_BELL_STEEPNESS = 2.0


def draw_sigmas(count: int, settings: TimestepSettings, *, shift: float, generator: torch.Generator) -> Tensor:
    """Draw ``count`` noise levels in (0, 1), float32: 0 is the picture, 1 is noise.

    Args:
        count: how many.
        settings: the distribution.
        shift: the drawing schedule's exponential shift for pictures of this size (``mu``); used by ``shifted``.
        generator: a CPU generator.
    """
    uniform = torch.rand(count, generator=generator)
    if settings.sampling == "uniform":
        return uniform
    if settings.sampling == "shifted":
        strength = math.exp(shift)
        return strength * uniform / (1 + (strength - 1) * uniform)
    sigmas = torch.sigmoid(settings.mean + settings.spread * torch.randn(count, generator=generator))
    return torch.where(torch.rand(count, generator=generator) < settings.uniform_share, uniform, sigmas)


def loss_weights(sigmas: Tensor, settings: TimestepSettings) -> Tensor:
    """Return what each noise level counts, float32, about 1 on average over uniform levels."""
    if settings.weighting == "none":
        return torch.ones_like(sigmas)
    bell = torch.exp(-_BELL_STEEPNESS * (2 * sigmas - 1).square())
    return bell / _bell_mean()


def _bell_mean() -> float:
    """The mean of the bell over 0–1: the integral of exp(−a·(2s − 1)²)."""
    root = math.sqrt(_BELL_STEEPNESS)
    return math.sqrt(math.pi) * math.erf(root) / (2 * root)
