"""Train the transformer that edits: flow matching beside clean references, from noise and from the noised source.

With ``denoise`` below 1 a service starts from the source with noise. The usual training never saw a source's rest in
what it takes for the result, and would keep its background. So a part of the examples lies on the straight path from
the noised source at a level s to the target:

    x(sigma) = target + sigma · v,    v = noise + (1 − s)/s · source − target/s,    0 < sigma ≤ s,

which is the usual one for s = 1. Levels below ``BRIDGED_FROM`` are left as they are: there denoise keeps the source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import QwenImageTransformer2DModel
from torch import Tensor

from weights.recipe import parallel
from weights.recipe.learner import Learner
from weights.recipe.sampling import pack
from weights.recipe.train_denoiser import CAPTION_DROPOUT, EMA_DECAY, SIGMA_MEAN, SIGMA_SPREAD, WEIGHT_DECAY
from weights.recipe.train_edit_data import EditGroup, Pictures, reference_tokens
from weights.recipe.train_edit_model import EditTransformer, compile_transformer
from weights.recipe.train_edit_state import load_state, save_state

LEARNING_RATE = 8e-4
UNIFORM = 0.25
"""Share of noise levels drawn evenly: the face's details, copied from the reference, are decided at the lower ones."""
BRIDGED = 0.35
"""Share of edits of one picture that start from the noised source."""
BRIDGED_FROM = 0.55
TOGETHER = 0.22
"""Share of steps with two references; they take half as long again."""
KEEP_EVERY_SECONDS = 60.0


def build_models(
    transformer: QwenImageTransformer2DModel, pictures: Pictures, groups: Sequence[EditGroup]
) -> list[EditTransformer]:
    """Build the forward of each group, over one transformer."""
    shape = (int(pictures.latents.shape[2]), int(pictures.latents.shape[3]))
    return [
        EditTransformer(transformer, shape=shape, references=group.images, text_tokens=int(group.states.shape[1]))
        for group in groups
    ]


def train_edit(
    transformer: QwenImageTransformer2DModel,
    pictures: Pictures,
    groups: Sequence[EditGroup],
    *,
    seconds: float,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    state: Path | None = None,
    publish: Callable[[Sequence[Tensor]], None] | None = None,
) -> list[float]:
    """Train in place; the averaged weights are kept.

    Args:
        transformer: one with ``zero_cond_t``, on any device.
        pictures: what `train_edit_data` prepared.
        groups: the same.
        seconds: longest time of the loop from here on, compiling not counted.
        steps: most steps.
        batch: edits a step and card.
        rate: learning rate at its peak.
        seed: of everything that is drawn at random.
        state: where to keep what a cut run goes on from, every minute; read first when it is there.
        publish: gets the averaged weights, every minute, on the first card.

    Returns:
        The running loss, every hundredth step.
    """
    device = parallel.device()
    transformer.to(device).train().requires_grad_(True)
    learner = Learner(list(transformer.parameters()), beta2=0.98, weight_decay=WEIGHT_DECAY)
    begun, behind = (0, 0.0) if state is None or not state.exists() else load_state(learner, state)
    torch.manual_seed(seed + parallel.rank() + 1000 * begun)
    models = build_models(transformer, pictures, groups)
    if device.type == "cuda":
        compile_transformer(transformer)
    for model, group in zip(models, groups, strict=True):
        # Both graphs are compiled before the clock runs.
        _loss(model, pictures, group, batch).backward()
    shares = torch.tensor([1.0] if len(groups) == 1 else [1 - TOGETHER, TOGETHER])
    # All processes work on as many references at the same time, so that none waits for another.
    group_generator = torch.Generator().manual_seed(seed + begun)
    budget = parallel.Budget(seconds, max(1, steps - begun))
    running, losses, step, kept = torch.zeros((), device=device), [], 0, time.monotonic()
    while (fraction := budget.fraction(step)) < 1:
        spent = behind + (1 - behind) * fraction
        chosen = int(torch.multinomial(shares, 1, generator=group_generator))
        loss = _loss(models[chosen], pictures, groups[chosen], batch)
        learner.step(
            loss,
            rate=rate * min(1.0, (begun + step + 1) / 300) * max(0.02, 1 - spent),
            average=max(1 - EMA_DECAY, 1 / (begun + step + 10)),
        )
        running.lerp_(loss.detach(), 0.02 if step else 1.0)
        if step % 100 == 0:
            losses.append(float(running))
            if parallel.rank() == 0:
                print(f"edit step {begun + step} spent {spent:.3f} loss {losses[-1]:.4f}", flush=True)
        step += 1
        if parallel.rank() == 0 and time.monotonic() - kept > KEEP_EVERY_SECONDS:
            kept = time.monotonic()
            if state is not None:
                save_state(learner, state, step=begun + step, spent=spent)
            if publish is not None:
                publish(learner.averages)
    learner.keep_average()
    transformer.eval().requires_grad_(False)
    return losses


def _loss(model: EditTransformer, pictures: Pictures, group: EditGroup, batch: int) -> Tensor:
    """Draw a batch of edits and noise, and return the loss of their velocities."""
    rows = group.sample(batch)
    device = rows.device
    target = pack(pictures.latents[group.targets[rows]].float())
    references = reference_tokens(pictures, group, rows)
    # Guidance leads away from the empty instruction with the same pictures, as the pipeline has it.
    states, mask = group.texts(rows, empty=torch.rand(batch, device=device) < CAPTION_DROPOUT)
    noisy, velocity, sigma = noised(target, references[:, : target.shape[1]], bridged=group.images == 1)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        predicted = model(noisy, references, sigma, states, mask)
    error = (predicted.float() - velocity).square().mean(-1)
    loss: Tensor = (error * pictures.weights[group.targets[rows]].float()).mean()
    return loss


def noised(target: Tensor, source: Tensor, *, bridged: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Draw noise levels and noise: what the transformer sees N×L×64, the velocity to tell, and the levels N.

    With ``bridged`` a part of them starts from the noised ``source``.
    """
    count, device = len(target), target.device
    sigma = torch.sigmoid(SIGMA_SPREAD * torch.randn(count, device=device) + SIGMA_MEAN)
    sigma = torch.where(torch.rand_like(sigma) < UNIFORM, torch.rand_like(sigma), sigma)
    start = torch.ones_like(sigma)
    if bridged:
        low = BRIDGED_FROM + (1 - BRIDGED_FROM) * torch.rand_like(sigma)
        start = torch.where(torch.rand_like(sigma) < BRIDGED, low, start)
    sigma, begin = sigma * start, start.view(-1, 1, 1)
    velocity = torch.randn_like(target) + (1 - begin) / begin * source - target / begin
    return target + sigma.view(-1, 1, 1) * velocity, velocity, sigma
