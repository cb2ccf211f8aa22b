"""The drawn pictures and their captions as tensors, grouped by shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ShapeGroup:
    """All pictures of one shape.

    Attributes:
        pictures: uint8, N×H×W×3 RGB.
        face_boxes: float32, N×4: x0, y0, x1, y1 of the drawn face as shares of width and height.
        captions: one list of captions a picture.
    """

    pictures: np.ndarray
    face_boxes: np.ndarray
    captions: list[list[str]]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.pictures.shape[1]), int(self.pictures.shape[2])


def load_groups(folder: Path) -> list[ShapeGroup]:
    """Read every shard that ``draw.py`` wrote into ``folder`` or below; the most frequent shape comes first."""
    parts: dict[tuple[int, int], list[ShapeGroup]] = {}
    for path in sorted(folder.rglob("*.npy")):
        rows = [json.loads(line) for line in path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()]
        boxes = np.array([row["face_box"] for row in rows], np.float32)
        group = ShapeGroup(np.load(path), boxes, [row["captions"] for row in rows])
        parts.setdefault(group.size, []).append(group)
    merged = [
        ShapeGroup(
            np.concatenate([g.pictures for g in groups]),
            np.concatenate([g.face_boxes for g in groups]),
            [captions for g in groups for captions in g.captions],
        )
        for groups in parts.values()
    ]
    if not merged:
        raise FileNotFoundError(f"no drawn pictures in {folder}: run `python -m weights.recipe.draw` first")
    return sorted(merged, key=lambda group: -len(group.captions))


def to_model_range(pictures: Tensor) -> Tensor:
    """Bring uint8 N×H×W×3 to float32 N×3×H×W in −1..1."""
    return pictures.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def shuffled_batches(count: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield index tensors of length ``batch`` for ever, each picture once an epoch."""
    order = torch.empty(0, dtype=torch.long)
    while True:
        while len(order) < batch:
            order = torch.cat([order, torch.randperm(count, generator=generator)])
        yield order[:batch]
        order = order[batch:]
