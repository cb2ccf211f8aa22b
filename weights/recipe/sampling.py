"""Sampling of many pictures at once, step for step what ``QwenImagePipeline`` does for one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift
from torch import Tensor

from core.qwen.vae import FrameDecoder


@dataclass(frozen=True)
class Condition:
    """Text embeddings N×T×width and their mask N×T."""

    embeddings: Tensor
    mask: Tensor


def pack(latents: Tensor) -> Tensor:
    """Bring N×16×h×w to tokens N×(h/2·w/2)×64, as ``QwenImagePipeline._pack_latents``."""
    n, c, h, w = latents.shape
    return latents.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(n, h // 2 * (w // 2), c * 4)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Bring tokens back to N×16×h×w; ``height`` and ``width`` are those of the latents."""
    n, _, c = tokens.shape
    x = tokens.view(n, height // 2, width // 2, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(n, c // 4, height, width)


def sigmas(scheduler: FlowMatchEulerDiscreteScheduler, steps: int, tokens: int) -> list[float]:
    """Answer the ``steps + 1`` noise levels that the pipeline walks through, from 1 to 0."""
    config = scheduler.config
    mu = calculate_shift(
        tokens, config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
    )
    fresh = FlowMatchEulerDiscreteScheduler.from_config(config)
    fresh.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    return [float(s) for s in fresh.sigmas]


def velocity(
    transformer: QwenImageTransformer2DModel, x: Tensor, sigma: Tensor, condition: Condition, shape: tuple[int, int]
) -> Tensor:
    """One forward: tokens N×L×64 at noise levels N; ``shape`` is the latents' height and width."""
    output: Tensor = transformer(
        hidden_states=x,
        timestep=sigma,
        encoder_hidden_states=condition.embeddings,
        encoder_hidden_states_mask=condition.mask,
        img_shapes=[[(1, shape[0] // 2, shape[1] // 2)]] * len(x),
        return_dict=False,
    )[0]
    return output


def guided_velocity(
    transformer: QwenImageTransformer2DModel,
    x: Tensor,
    sigma: Tensor,
    condition: Condition,
    negative: Condition,
    scale: float,
    shape: tuple[int, int],
) -> Tensor:
    """Classifier-free guidance with the norm of the conditional prediction, as the pipeline has it."""
    positive = velocity(transformer, x, sigma, condition, shape).float()
    other = velocity(transformer, x, sigma, negative, shape).float()
    combined = other + scale * (positive - other)
    guided: Tensor = combined * (positive.norm(dim=-1, keepdim=True) / combined.norm(dim=-1, keepdim=True))
    return guided


@torch.no_grad()
def sample(
    transformer: QwenImageTransformer2DModel,
    noise: Tensor,
    condition: Condition,
    negative: Condition | None,
    scale: float,
    levels: Sequence[float],
    shape: tuple[int, int],
    record: Sequence[float] = (),
) -> tuple[Tensor, list[Tensor]]:
    """Euler from ``noise`` (tokens) down ``levels``; also answer the states at the noise levels in ``record``.

    An Euler path is a straight line between two levels, so a state between them is exact, not an estimate.
    """
    x = noise
    kept = []
    for now, after in itertools.pairwise(levels):
        sigma = torch.full((len(x),), now, device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16):
            if negative is None:
                v = velocity(transformer, x, sigma, condition, shape).float()
            else:
                v = guided_velocity(transformer, x, sigma, condition, negative, scale, shape)
        kept += [x + (level - now) * v for level in record if after < level <= now]
        x = x + (after - now) * v
    return x, kept


@torch.no_grad()
def decode(vae: AutoencoderKLQwenImage, tokens: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Decode normalised tokens to uint8 pictures N×H×W×3."""
    decoder = FrameDecoder(vae)
    parts = [decoder(part) for part in unpack(tokens.float(), *shape).split(32)]
    pictures = torch.cat(parts).clamp(-1, 1).add(1).mul(127.5).round().byte()
    return pictures.permute(0, 2, 3, 1).cpu().numpy()
