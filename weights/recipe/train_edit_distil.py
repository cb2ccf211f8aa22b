"""Distil full mode into the editor's LoRA for four steps without guidance, as `distil.py` does for the generator.

The teacher walks from noise, and from the noised source at the fast mode's third level, where ``denoise`` 0.7 begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from torch import Tensor

from weights.recipe import parallel
from weights.recipe.distil import FAST_STEPS, fast_scheduler
from weights.recipe.few_steps import add_student, jump_loss, learn, student_weights
from weights.recipe.sampling import pack, sigmas
from weights.recipe.train_edit_data import EditGroup, Pictures, reference_tokens
from weights.recipe.train_edit_denoiser import build_models
from weights.recipe.train_edit_model import EditTransformer, compile_transformer, walk

BRIDGED = 0.5
"""Teacher paths from the noised source for each one from noise."""
BRIDGE_LEVEL = 2
"""The place of the level, among the fast mode's, that they start at."""
PATHS_AT_ONCE = 256


@dataclass(frozen=True)
class EditPaths:
    """Teacher paths of one group and start."""

    group: int
    rows: Tensor
    """N: the group's edits."""
    states: Tensor
    """fp16 levels×N×L×64, from the start to the picture."""
    texts: tuple[Tensor, Tensor]
    """The wording that each was walked with: states N×T×width and mask N×T."""
    levels: list[float]


@torch.no_grad()
def teacher_paths(
    model: EditTransformer,
    scheduler: FlowMatchEulerDiscreteScheduler,
    pictures: Pictures,
    group: EditGroup,
    place: int,
    *,
    count: int,
    steps: int,
    scale: float,
    bridged: bool,
) -> EditPaths:
    """Walk about ``count`` paths of full mode for edits of ``group``, which is the one at ``place``."""
    full = sigmas(scheduler, steps, model.tokens)
    stops = sigmas(fast_scheduler(scheduler), FAST_STEPS, model.tokens)
    if bridged:
        stops = stops[BRIDGE_LEVEL:]
        full = [stops[0], *(level for level in full if level < stops[0])]
    rows, states, texts = [], [], []
    size = min(PATHS_AT_ONCE, count)
    for _ in range(-(-count // size)):
        chosen = group.sample(size)
        references = reference_tokens(pictures, group, chosen)
        x = torch.randn_like(references[:, : model.tokens])
        if bridged:
            x = stops[0] * x + (1 - stops[0]) * references[:, : model.tokens]
        positive = group.texts(chosen)
        negative = group.texts(chosen, empty=torch.ones_like(chosen, dtype=torch.bool))
        end, kept = walk(model, x, references, positive, negative, scale=scale, levels=full, record=stops[1:-1])
        rows.append(chosen)
        states.append(torch.stack([x, *kept, end]).half())
        texts.append((positive[0].bfloat16(), positive[1]))
    return EditPaths(
        group=place,
        rows=torch.cat(rows),
        states=torch.cat(states, 1),
        texts=(torch.cat([one for one, _ in texts]), torch.cat([mask for _, mask in texts])),
        levels=stops,
    )


def walk_all(
    models: Sequence[EditTransformer],
    scheduler: FlowMatchEulerDiscreteScheduler,
    pictures: Pictures,
    groups: Sequence[EditGroup],
    *,
    paths: int,
    steps: int,
    scale: float,
) -> list[EditPaths]:
    """Walk ``paths`` paths from noise for edits of one picture, half as many bridged, and half as many of two."""
    walked = []
    for place, (model, group) in enumerate(zip(models, groups, strict=True)):
        for bridged in (False, True):
            if bridged and group.images > 1:
                continue
            share = 1.0 if group.images == 1 and not bridged else BRIDGED
            count = max(1, round(paths * share))
            walked.append(
                teacher_paths(
                    model, scheduler, pictures, group, place, count=count, steps=steps, scale=scale, bridged=bridged
                )
            )
    return walked


def distil_edit(
    transformer: QwenImageTransformer2DModel,
    scheduler: FlowMatchEulerDiscreteScheduler,
    pictures: Pictures,
    groups: Sequence[EditGroup],
    *,
    seconds: float,
    steps: int,
    batch: int,
    paths: int,
    teacher_steps: int,
    scale: float,
    seed: int,
) -> dict[str, Tensor]:
    """Train the LoRA and answer its weights by diffusers key; the transformer's own stay as they are.

    Args:
        transformer: the trained one, which gets an adapter named "fast".
        scheduler: of full mode.
        pictures: what `train_edit_data` prepared.
        groups: the same.
        seconds: longest time of the loop.
        steps: most steps.
        batch: paths a step and card.
        paths: teacher paths a card from noise with one reference; the others come beside them.
        teacher_steps: steps of full mode.
        scale: guidance of full mode.
        seed: of everything that is drawn at random.
    """
    device = parallel.device()
    torch.manual_seed(seed + parallel.rank())
    transformer.to(device).eval().requires_grad_(False)
    models = build_models(transformer, pictures, groups)
    walked = walk_all(models, scheduler, pictures, groups, paths=paths, steps=teacher_steps, scale=scale)
    if parallel.rank() == 0:
        print("teacher paths", [len(path.rows) for path in walked], flush=True)
    learner = add_student(transformer)
    torch.compiler.reset()
    if device.type == "cuda":
        compile_transformer(transformer)

    def loss_of(place: int, step: int, chained: bool) -> Tensor:
        path = walked[place]
        model, group = models[path.group], groups[path.group]
        chosen = torch.randint(len(path.rows), (batch,), device=device)
        references = reference_tokens(pictures, group, path.rows[chosen])
        texts, mask = path.texts[0][chosen].float(), path.texts[1][chosen]

        def predict(x: Tensor, sigma: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                velocity: Tensor = model(x, references, sigma, texts, mask)
                return velocity

        return jump_loss(predict, path.states[:, chosen].float(), path.levels, step=step, chained=chained)

    learn(learner, [len(path.rows) for path in walked], loss_of, seconds=seconds, steps=steps, seed=seed)
    return {key: value.cpu() for key, value in student_weights(transformer).items()}


@torch.no_grad()
def draw_edits(
    model: EditTransformer,
    pictures: Pictures,
    group: EditGroup,
    rows: Tensor,
    scheduler: FlowMatchEulerDiscreteScheduler,
    *,
    steps: int,
    scale: float,
    denoise: float = 1.0,
) -> Tensor:
    """Edit some references by their first wording, from seeds 0, 1 …: tokens N×L×64.

    Without guidance at a ``scale`` of 1. Below a ``denoise`` of 1 the work begins at the level nearest to it.
    """
    references = reference_tokens(pictures, group, rows)
    seeds = range(len(rows))
    drawn = [torch.randn(model.tokens, 64, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    noise = torch.stack(drawn).to(references.device)
    levels = sigmas(scheduler, steps, model.tokens)
    begin = min(range(steps), key=lambda place: abs(levels[place] - denoise))
    x = levels[begin] * noise + (1 - levels[begin]) * references[:, : model.tokens]
    first, empty = rows * group.variants, len(group) * group.variants + rows
    positive = group.states[first].float(), group.mask[first]
    negative = (group.states[empty].float(), group.mask[empty]) if scale > 1 else None
    return walk(model, x, references, positive, negative, scale=scale, levels=levels[begin:])[0]


def first_of_kind(pictures: Pictures, group: EditGroup, kinds: Sequence[str], count: int) -> Tensor:
    """Return up to ``count`` edits of each kind, as places in the group."""
    named = [edit["kind"] for row in pictures.rows for edit in row["edits"] if len(edit["references"]) == group.images]
    places = [[place for place, kind in enumerate(named) if kind == wanted][:count] for wanted in kinds]
    return torch.tensor([place for one in places for place in one], device=group.targets.device)


def latents_of(pictures: Pictures, places: Tensor) -> Tensor:
    """Return pictures' tokens N×L×64, float32."""
    return pack(pictures.latents[places].float())
