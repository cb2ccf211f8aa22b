"""What the steps of the mesh engine hand to each other."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.faces.arrays import FloatArray, Image


@dataclass(frozen=True)
class Scene:
    """The target's region and the meshes in its pixels."""

    original: Image
    """H×W×3 uint8."""
    target: FloatArray
    """468×3: the target's mesh."""
    result: FloatArray
    """468×3: the mesh that the result will have."""

    @cached_property
    def pixels(self) -> FloatArray:
        """The region as float32, 0–255."""
        return self.original.astype(np.float32)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.original.shape[0], self.original.shape[1]

    @cached_property
    def width(self) -> float:
        """Width of the face."""
        return float(np.ptp(self.result[:, 0]))


@dataclass(frozen=True)
class Warped:
    """The reference bent onto the result's mesh."""

    pixels: FloatArray
    """H×W×3 float32, 0–255."""
    seen: FloatArray
    """H×W: where the reference showed its skin well enough, 0–1."""
    hair: FloatArray
    """H×W: where it is the reference's hair, 0–1."""


@dataclass(frozen=True)
class Kept:
    """What stays the target's inside the mask."""

    pixels: FloatArray
    """H×W×3 float32, 0–255."""
    share: FloatArray
    """H×W, 0–1."""
