"""Train the vision tower alone: what it hands to the language model has to tell who is on a picture, and where.

The language model is the generator's and stays as it is, so that both miniatures share one file. The tower learns
through it: from the states of a picture's tokens, as the transformer will get them, linear heads have to tell all that
the drawing script knew. The heads are thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import QwenImageEditPlusPipeline
from torch import Tensor, nn

from weights.recipe import parallel
from weights.recipe.edit_encoder import EditEncoder, build_form
from weights.recipe.learner import Learner
from weights.recipe.people import (
    CLOTHES,
    CLOTHES_COLOURS,
    EXPRESSIONS,
    EYE_COLOURS,
    GEOMETRY,
    HAIR_COLOURS,
    SCENES,
    STYLES_MAN,
    STYLES_WOMAN,
)
from weights.recipe.train_edit_data import load_arrays, read_sessions

LEARNING_RATE = 2e-3
NAMES: dict[str, tuple[str, ...]] = {
    "gender": ("woman", "man"),
    "age": ("young", "middle-aged", "old"),
    "hair_colour": tuple(HAIR_COLOURS),
    "hair_style": tuple(sorted({*STYLES_WOMAN, *STYLES_MAN})),
    "eye_colour": tuple(EYE_COLOURS),
    "glasses": ("none", "round", "square", "thin"),
    "beard": ("none", "stubble", "moustache", "goatee", "beard"),
    "scene": SCENES,
    "clothes": CLOTHES,
    "clothes_colour": tuple(CLOTHES_COLOURS),
    "expression": EXPRESSIONS,
}
"""What has a name, with its names."""
NUMBERS = ("skin", "skin_warmth", "hair_tone", "parting", "wrinkles", "fringe", "freckles", *GEOMETRY)
NUMBER_WEIGHT = 4.0


@dataclass(frozen=True)
class Labelled:
    """Pictures of one person, with what the drawing script knew; on the training device."""

    small: Tensor
    """uint8 N×112×112×3."""
    names: Tensor
    """int64 N×11: places in ``NAMES``."""
    numbers: Tensor
    """float32 N×35."""


def labelled_pictures(folder: Path, most: int | None = None) -> Labelled:
    """Read the pictures of one person from the shards of ``edit_pairs.py``."""
    files, rows = read_sessions(folder, most)
    small = load_arrays(files, "small", len(rows))
    places, names, numbers = [], [], []
    for session, row in enumerate(rows):
        for place, people in enumerate(row["seen"]):
            if len(people) == 1:
                known: dict[str, Any] = {**people[0][0], **people[0][1], "seed": 0}
                places.append(3 * session + place)
                names.append([choices.index(known[name]) for name, choices in NAMES.items()])
                numbers.append([float(known[name]) for name in NUMBERS])
    device = parallel.device()
    return Labelled(
        torch.from_numpy(small[places]).to(device),
        torch.tensor(names, device=device),
        torch.tensor(numbers, device=device),
    )


class Heads(nn.Module):
    """Linear heads on the states of a picture's tokens."""

    def __init__(self, width: int) -> None:
        """Read states of ``width`` numbers a picture."""
        super().__init__()
        self.sizes = [len(choices) for choices in NAMES.values()]
        self.norm = nn.LayerNorm(width)
        self.line = nn.Linear(width, sum(self.sizes) + len(NUMBERS))

    def forward(self, states: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Bring N×tokens×width to the names' logits and the numbers."""
        out = self.line(self.norm(states.flatten(1).float()))
        *logits, numbers = out.split([*self.sizes, len(NUMBERS)], dim=1)
        return logits, numbers


def train_vision(
    pipeline: QwenImageEditPlusPipeline, data: Labelled, *, seconds: float, steps: int, batch: int, seed: int
) -> dict[str, float]:
    """Train the tower in place; its averaged weights are kept.

    Returns:
        On a sixteenth of the pictures that was held out: the share of right names by attribute, and under ``numbers``
        the share of the numbers' variance that is told.
    """
    device = parallel.device()
    torch.manual_seed(seed)
    text_encoder = pipeline.text_encoder.to(device).float().requires_grad_(False)
    tower = text_encoder.model.visual.requires_grad_(True)
    encoder = EditEncoder(pipeline).to(device)
    form = build_form(pipeline, [""], 1)
    start = form.image_start[0] - encoder.drop
    heads = Heads(form.image_tokens * text_encoder.config.text_config.hidden_size).to(device)
    learner = Learner([*tower.parameters(), *heads.parameters()], beta2=0.98, weight_decay=0.01)
    held = max(1, len(data.small) // 16)

    def told(rows: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            states, _ = encoder(form, torch.zeros_like(rows), data.small[rows][:, None])
        logits, numbers = heads(states[:, start : start + form.image_tokens])
        return logits, numbers

    budget = parallel.Budget(seconds, steps)
    step = 0
    while (spent := budget.fraction(step)) < 1:
        rows = torch.randint(held, len(data.small), (batch,), device=device)
        logits, numbers = told(rows)
        losses = [F.cross_entropy(one, data.names[rows, place]) for place, one in enumerate(logits)]
        loss = torch.stack(losses).mean() + NUMBER_WEIGHT * F.mse_loss(numbers, data.numbers[rows])
        learner.step(
            loss,
            rate=LEARNING_RATE * min(1.0, (step + 1) / 100) * max(0.02, 1 - spent),
            average=max(0.005, 1 / (step + 1)),
        )
        if step % 200 == 0:
            print(f"vision step {step} spent {spent:.2f} loss {loss.item():.4f}", flush=True)
        step += 1
    learner.keep_average()
    tower.requires_grad_(False)
    with torch.no_grad():
        rows = torch.arange(held, device=device)
        logits, numbers = told(rows)
        wanted = data.numbers[rows]
        spread = (wanted - data.numbers[held:].mean(0)).square().sum()
        right = {
            name: float((one.argmax(1) == data.names[rows, place]).float().mean())
            for place, (name, one) in enumerate(zip(NAMES, logits, strict=True))
        }
        return {**right, "numbers": 1 - float((numbers - wanted).square().sum() / spread)}
