"""The figures of `bench.trainer_identity`: for each character, over all of them, and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.trainer_people import Likeness


@dataclass(frozen=True)
class Drift:
    """What the LoRA does to pictures whose prompt names the class word alone."""

    identity: float
    """Mean cosine to the character; the base's own is the measure."""
    pixels: float
    """Mean absolute difference to the base's picture of the same seed, of 255."""
    pixels_with_trigger: float
    """The same with the trigger word."""


@dataclass(frozen=True)
class Measured:
    """A character's figures in one mode."""

    own: Likeness
    """The drawing script's pictures of the character in the same scenes."""
    stranger: float
    base: Likeness
    lora: Likeness
    drift: Drift
    base_unchanged: bool
    """Whether the base's pictures are equal to the bit before the LoRA was there and after it was drawn with."""

    @property
    def gain(self) -> float:
        """(LoRA − base) / (own − stranger)."""
        return (self.lora.identity - self.base.identity) / (self.own.identity - self.stranger)

    @property
    def closed(self) -> float:
        """(LoRA − base) / (own − base)."""
        return (self.lora.identity - self.base.identity) / (self.own.identity - self.base.identity)


@dataclass(frozen=True)
class Training:
    """What the run told."""

    step: int
    """Of the chosen checkpoint."""
    wall_seconds: float
    """From photos to the file."""
    cpu_seconds: float
    resumed: bool
    """Whether the times are of the last part of the run alone."""
    first_loss: float
    last_loss: float
    adherence: float
    copies: float


@dataclass(frozen=True)
class CharacterFigures:
    """Everything about one character."""

    number: int
    person: str
    training: Training
    modes: Mapping[str, Measured] = field(default_factory=dict)


def summarise(figures: Sequence[CharacterFigures], mode: str) -> dict[str, float | int | bool]:
    """Return the figures over all characters."""
    rows = [figure.modes[mode] for figure in figures]

    def mean(values: Sequence[float]) -> float:
        return round(float(np.mean(values)), 4)

    own, stranger = mean([row.own.identity for row in rows]), mean([row.stranger for row in rows])
    base, lora = mean([row.base.identity for row in rows]), mean([row.lora.identity for row in rows])
    return {
        "characters": len(rows),
        "own": own,
        "stranger": stranger,
        "base": base,
        "lora": lora,
        "gain": round((lora - base) / (own - stranger), 4),
        "gain_least": round(min(row.gain for row in rows), 4),
        "closed": round((lora - base) / (own - base), 4),
        "first": mean([row.lora.first for row in rows]),
        "first_of_same_sex": mean([row.lora.first_of_same_sex for row in rows]),
        "first_own": mean([row.own.first for row in rows]),
        "first_of_same_sex_own": mean([row.own.first_of_same_sex for row in rows]),
        "first_base": mean([row.base.first for row in rows]),
        "one_face": mean([row.lora.one_face for row in rows]),
        "drift_identity": mean([row.drift.identity for row in rows]),
        "drift_pixels": mean([row.drift.pixels for row in rows]),
        "pixels_with_trigger": mean([row.drift.pixels_with_trigger for row in rows]),
        "base_unchanged": all(row.base_unchanged for row in rows),
        "adherence": mean([figure.training.adherence for figure in figures]),
        "copies": mean([figure.training.copies for figure in figures]),
        "wall_seconds": mean([figure.training.wall_seconds for figure in figures]),
        "wall_seconds_most": max(figure.training.wall_seconds for figure in figures),
        "cpu_seconds": mean([figure.training.cpu_seconds for figure in figures]),
    }


def print_table(figures: Sequence[CharacterFigures], mode: str) -> None:
    """Print a line for each character."""
    print(f"{mode:38} base   lora    own  stranger  gain closed first same drift  step  cpu s")
    for figure in figures:
        row, training = figure.modes[mode], figure.training
        print(
            f"{figure.number:3} {figure.person:32} {row.base.identity:6.2f} {row.lora.identity:6.2f} "
            f"{row.own.identity:6.2f} {row.stranger:8.2f} {row.gain:6.0%} {row.closed:6.0%} {row.lora.first:5.0%} "
            f"{row.lora.first_of_same_sex:4.0%} {row.drift.identity:5.2f} {training.step:5} {training.cpu_seconds:6.0f}"
        )
