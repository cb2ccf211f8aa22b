"""Distil full sampling (20 steps with guidance) into a LoRA for four steps without: the miniature's Lightning.

The teacher's Euler path is walked once for many noises and captions, and kept at the four noise levels of the fast
mode; `few_steps` says how the LoRA learns it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, QwenImagePipeline
from torch import Tensor

from weights.recipe import parallel
from weights.recipe.few_steps import add_student, jump_loss, learn, student_weights
from weights.recipe.prompts import EMPTY_PROMPT, embed, tokenize
from weights.recipe.sampling import Condition, sample, sigmas, velocity
from weights.recipe.train_denoiser import CaptionGroup, compile_blocks

LORA_FILE = "fast_lora.safetensors"
FAST_STEPS = 4
PATHS_AT_ONCE = 256


@dataclass(frozen=True)
class Paths:
    """Teacher paths of one shape: states levels×N×L×64, from noise to picture, and what they were drawn from."""

    states: Tensor
    levels: list[float]
    condition: Condition
    shape: tuple[int, int]


def fast_scheduler(scheduler: FlowMatchEulerDiscreteScheduler) -> FlowMatchEulerDiscreteScheduler:
    """Answer the scheduler of the fast mode: a fixed shift of 3 and no terminal shift, as Lightning's."""
    return FlowMatchEulerDiscreteScheduler.from_config(
        scheduler.config, base_shift=math.log(3), max_shift=math.log(3), shift_terminal=None
    )


@torch.no_grad()
def teacher_paths(
    pipeline: QwenImagePipeline, group: CaptionGroup, count: int, length: int, steps: int, scale: float, seed: int
) -> Paths:
    """Walk about ``count`` teacher paths for captions of ``group``, in parts of one size."""
    device = parallel.device()
    drop = pipeline.prompt_template_encode_start_idx
    height, width = group.shape
    tokens = height // 2 * (width // 2)
    levels = sigmas(pipeline.scheduler, steps, tokens)
    stops = sigmas(fast_scheduler(pipeline.scheduler), FAST_STEPS, tokens)
    generator = torch.Generator(device).manual_seed(seed + parallel.rank())
    empty = tokenize(pipeline, [EMPTY_PROMPT], length).to(device)
    negative = Condition(*embed(pipeline.text_encoder, empty, drop))
    states, embeddings, masks = [], [], []
    n = PATHS_AT_ONCE
    for _ in range(math.ceil(count / n)):
        rows = torch.randint(len(group.tokens.ids), (n,), generator=generator, device=device)
        condition = Condition(*embed(pipeline.text_encoder, group.tokens.take(rows), drop))
        noise = torch.randn(n, tokens, 64, generator=generator, device=device)
        other = Condition(negative.embeddings.expand(n, -1, -1), negative.mask.expand(n, -1))
        end, kept = sample(pipeline.transformer, noise, condition, other, scale, levels, group.shape, stops[1:-1])
        states.append(torch.stack([noise, *kept, end]).half())
        embeddings.append(condition.embeddings)
        masks.append(condition.mask)
    return Paths(torch.cat(states, 1), stops, Condition(torch.cat(embeddings), torch.cat(masks)), group.shape)


def distil(
    pipeline: QwenImagePipeline,
    groups: Sequence[CaptionGroup],
    length: int,
    seconds: float,
    steps: int,
    batch: int,
    paths: int,
    teacher_steps: int,
    scale: float,
    seed: int,
) -> dict[str, Tensor]:
    """Train the LoRA and answer its weights by diffusers key; the pipeline's own weights stay as they are."""
    device = parallel.device()
    torch.manual_seed(seed)
    transformer = pipeline.transformer.to(device).requires_grad_(False)
    pipeline.text_encoder.to(device).requires_grad_(False)
    compile_blocks(transformer)
    total = sum(len(g) for g in groups)
    walked = [
        teacher_paths(pipeline, g, max(batch, paths * len(g) // total), length, teacher_steps, scale, seed + i)
        for i, g in enumerate(groups)
    ]
    if parallel.rank() == 0:
        print("teacher paths", [p.states.shape[1] for p in walked], flush=True)
    torch.compiler.reset()
    learner = add_student(transformer)
    compile_blocks(transformer)

    def loss_of(place: int, step: int, chained: bool) -> Tensor:
        path = walked[place]
        rows = torch.randint(path.states.shape[1], (batch,), device=device)
        condition = Condition(path.condition.embeddings[rows], path.condition.mask[rows])

        def predict(x: Tensor, sigma: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16):
                return velocity(transformer, x, sigma, condition, path.shape)

        return jump_loss(predict, path.states[:, rows].float(), path.levels, step=step, chained=chained)

    learn(learner, [p.states.shape[1] for p in walked], loss_of, seconds=seconds, steps=steps, seed=seed)
    return student_weights(transformer)


def save_lora(weights: dict[str, Tensor], folder: Path) -> None:
    """Write the LoRA as ``LORA_FILE`` with diffusers' keys."""
    QwenImagePipeline.save_lora_weights(folder, transformer_lora_layers=weights, weight_name=LORA_FILE)
    (folder / LORA_FILE).chmod(0o644)
