"""Distilling full sampling into a LoRA for few steps: the student, and how it learns a teacher's paths.

A path is kept at the noise levels of the few steps. First the LoRA learns each jump from level to level by itself, then
it learns them in a row, so that its own small errors are part of what it corrects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import QwenImageTransformer2DModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor

from weights.recipe import parallel
from weights.recipe.learner import Learner

ADAPTER = "fast"
RANK = 24
LEARNING_RATE = 1.5e-3
CHAINED_FROM = 0.45
"""The share of the budget after which jumps are learned in a row."""
TARGETS = [
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "add_q_proj",
    "add_k_proj",
    "add_v_proj",
    "to_add_out",
    "img_mlp.net.0.proj",
    "img_mlp.net.2",
    "txt_mlp.net.0.proj",
    "txt_mlp.net.2",
]

Predict = Callable[[Tensor, Tensor], Tensor]
"""Answers the velocity N×L×64 of states N×L×64 at the levels N."""


def add_student(transformer: QwenImageTransformer2DModel) -> Learner:
    """Give a transformer whose own weights are frozen the LoRA, and answer what trains it."""
    configuration = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS, init_lora_weights=True)
    transformer.add_adapter(configuration, ADAPTER)
    return Learner([p for p in transformer.parameters() if p.requires_grad], beta2=0.98)


def jump_loss(predict: Predict, points: Tensor, levels: Sequence[float], *, step: int, chained: bool) -> Tensor:
    """Answer the loss of one jump by itself, its turn by ``step``, or with ``chained`` of all in a row.

    Args:
        predict: the student.
        points: float32 levels×N×L×64, the teacher's states from noise to picture.
        levels: their noise.
        step: of the loop.
        chained: whether each jump starts where the student's last one ended.
    """
    last = len(levels) - 2
    loss, x = torch.zeros((), device=points.device), points[0]
    for jump in range(last + 1) if chained else [step % (last + 1)]:
        before = x if chained else points[jump]
        sigma = torch.full((points.shape[1],), levels[jump], device=points.device)
        velocity = predict(before, sigma).float()
        span = levels[jump + 1] - levels[jump]
        x = before + span * velocity
        if chained:
            loss = loss + (x - points[jump + 1]).square().mean() * (1.0 if jump == last else 0.2)
        else:
            loss = (velocity - (points[jump + 1] - before) / span).square().mean()
    return loss


def learn(
    learner: Learner,
    sizes: Sequence[int],
    loss_of: Callable[[int, int, bool], Tensor],
    *,
    seconds: float,
    steps: int,
    seed: int,
) -> None:
    """Train until the budget is spent, and keep the average of the weights.

    Args:
        learner: of `add_student`.
        sizes: how many paths each set has: its odds to be drawn.
        loss_of: the loss of a batch, by the place of its set, the step, and whether jumps are chained.
        seconds: longest time.
        steps: most steps.
        seed: of the draws.
    """
    shares = torch.tensor([float(size) for size in sizes])
    generator = torch.Generator().manual_seed(seed)
    budget = parallel.Budget(seconds, steps)
    step = 0
    while (spent := budget.fraction(step)) < 1:
        chained = spent >= CHAINED_FROM
        loss = loss_of(int(torch.multinomial(shares, 1, generator=generator)), step, chained)
        learner.step(
            loss,
            rate=LEARNING_RATE * min(1.0, (step + 1) / 50) * max(0.02, 1 - spent),
            average=max(0.005, 1 / (step + 1)),
        )
        if step % 100 == 0 and parallel.rank() == 0:
            print(f"distil step {step} spent {spent:.2f} chained {chained} loss {loss.item():.4f}", flush=True)
        step += 1
    learner.keep_average()


def student_weights(transformer: QwenImageTransformer2DModel) -> dict[str, Tensor]:
    """Answer the LoRA's weights, float16, by diffusers key."""
    weights = get_peft_model_state_dict(transformer, adapter_name=ADAPTER)
    return {key: value.half().contiguous() for key, value in weights.items()}
