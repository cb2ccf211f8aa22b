"""What is behind the person of a picture, coarsely: whether two pictures show the same scene."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from likeness.results import Face

_GRID = 12
_HEAD_ASIDE, _HEAD_ABOVE = 0.85, 1.1
"""How far head and hair reach from the middle of the face, in widths and heights of the face."""
_SHOULDERS_ASIDE, _SHOULDERS_BELOW = 1.5, 0.6
_LEAST_VISIBLE = 0.08
"""Share of the picture."""
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """The mean colours of a 12×12 grid, and where no person stands; the trainer scores checkpoints by the same."""

    colours: tuple[Colour, ...]
    """144 colours in CIELAB, row by row."""
    visible: tuple[bool, ...]

    @classmethod
    def of(cls, data: bytes, faces: Sequence[Face]) -> Scene:
        """Look at an encoded picture whose faces are known."""
        with Image.open(io.BytesIO(data)) as opened:
            picture = opened.convert("RGB")
        small = picture.resize((_GRID, _GRID), Image.Resampling.BOX)
        cells = [(column, row) for row in range(_GRID) for column in range(_GRID)]
        middles = [((x + 0.5) * picture.width / _GRID, (y + 0.5) * picture.height / _GRID) for x, y in cells]
        pixels = small.tobytes()
        return cls(
            colours=tuple(_lab(pixels[start : start + 3]) for start in range(0, len(pixels), 3)),
            visible=tuple(not any(_covers(face, x, y) for face in faces) for x, y in middles),
        )

    def distance(self, other: Scene) -> float:
        """Return the mean distance of the colours, in units of Lab, where no person stands in either picture."""
        distances = [math.dist(own, others) for own, others in zip(self.colours, other.colours, strict=True)]
        both = [own and others for own, others in zip(self.visible, other.visible, strict=True)]
        # Faces that fill both pictures leave nothing to see: then all of it has to do.
        if sum(both) / len(both) >= _LEAST_VISIBLE:
            distances = [distance for distance, seen in zip(distances, both, strict=True) if seen]
        return sum(distances) / len(distances)


def scene_kept(scene: Scene, own: Scene, others: Sequence[Scene]) -> float | None:
    """Return how much nearer a scene is to ``own`` than to ``others``: 1 is the same, 0.5 as far from each.

    None when there are no others.
    """
    if not others:
        return None
    near = scene.distance(own)
    shares = [far / (near + far) if near + far > 0 else 0.5 for far in map(scene.distance, others)]
    return sum(shares) / len(shares)


def _covers(face: Face, x: float, y: float) -> bool:
    """Whether head, hair or shoulders of a face are likely to be at a place."""
    box = face.box
    aside = abs(x - box.x - box.width / 2) / max(1.0, box.width)
    below = (y - box.y - box.height / 2) / max(1.0, box.height)
    return (aside < _HEAD_ASIDE and below > -_HEAD_ABOVE) or (aside < _SHOULDERS_ASIDE and below > _SHOULDERS_BELOW)


def _lab(pixel: bytes) -> Colour:
    """Return an sRGB colour in CIELAB under D65 (IEC 61966-2-1, CIE 15)."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in
              (component / 255 for component in pixel)]  # fmt: skip
    rows = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    x, y, z = (
        t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116
        for t in (sum(a * b for a, b in zip(row, linear, strict=True)) / w for row, w in zip(rows, white, strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)
