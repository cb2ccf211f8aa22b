"""The target bent around a new outline of its face, so that a narrower or wider jaw leaves no gap and no second edge.

On the outline the picture moves as the outline does; from there, inwards and outwards, the move falls to nothing.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from core.faces import landmarks
from core.faces.arrays import FloatArray, Image
from services.faceswap.engines.masks import blur, scaled, smoothstep

REACH = 0.12
"""Distance from the outline, in widths of the face, from which the picture stays as it is."""
_FIELD_PIXELS = 96
"""Width of a face in pixels at which the moves are worked out: they are smooth."""
_SPREAD = 0.05
"""Standard deviation in widths of the face over which the moves of near points are averaged."""
_LEAST_MOVE = 0.1
"""Pixels under which nothing is bent."""


@dataclass(frozen=True)
class Bent:
    """A picture and its mesh after bending."""

    pixels: Image
    """H×W×3 uint8."""
    points: FloatArray
    """468×3."""


def bend_outline(pixels: Image, target: FloatArray, result: FloatArray, width: float) -> Bent:
    """Bend H×W×3 uint8 `pixels` so that the outline of the 468×3 mesh `target` comes to lie on that of `result`.

    Both meshes are in the picture's pixels, `width` is the face's. Raises nothing; returns the picture itself when the
    outlines are the same.
    """
    outline = list(landmarks.OVAL)
    moves = (result - target)[outline, :2]
    if np.abs(moves).max() < _LEAST_MOVE:
        return Bent(pixels, target)
    size = (pixels.shape[1], pixels.shape[0])
    reduce = min(1.0, _FIELD_PIXELS / max(width, 1.0))
    small = (max(2, round(size[0] * reduce)), max(2, round(size[1] * reduce)))
    factors = np.array(small) / np.array(size)
    field = _field((result[outline, :2] + 0.5) * factors - 0.5, moves, small, width * reduce)
    field = scaled(field, size)
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    bent = cv2.remap(
        pixels, columns - field[..., 0], rows - field[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    points = target.copy()
    # A map leads back from the new places, so what lies between follows by the move at its old one: they are near.
    at = np.clip(np.rint(target[:, :2]).astype(int), 0, np.array(size) - 1)
    points[:, :2] += field[at[:, 1], at[:, 0]]
    points[outline, :2] = result[outline, :2]
    return Bent(np.asarray(bent, dtype=np.uint8), points)


def _field(outline: FloatArray, moves: FloatArray, size: tuple[int, int], width: float) -> FloatArray:
    """H×W×2: the moves around the N×2 `outline`, drawn at `size` (width, height) pixels."""
    line = np.zeros((size[1], size[0], 3), dtype=np.float32)
    following = np.roll(np.arange(len(outline)), -1)
    for start, end, move, other in zip(outline, outline[following], moves, moves[following], strict=True):
        steps = max(2, int(np.hypot(*(end - start))) + 1)
        share = np.linspace(0, 1, steps, endpoint=False)[:, None]
        places = np.rint(start + share * (end - start)).astype(int)
        seen = ((places >= 0) & (places < size)).all(axis=1)
        values = np.concatenate([move + share * (other - move), np.ones_like(share)], axis=1)
        line[places[seen, 1], places[seen, 0]] = values[seen]
    distance = cv2.distanceTransform((line[..., 2] == 0).astype(np.uint8), cv2.DIST_L2, 5)
    near, far = blur(line, _SPREAD * width), blur(line, 3 * _SPREAD * width)
    # Where few points are near, those farther away tell.
    averaged = (near[..., :2] + 1e-3 * far[..., :2]) / (near[..., 2:] + 1e-3 * far[..., 2:] + 1e-9)
    fading = 1 - smoothstep(0.0, REACH * width, np.asarray(distance))
    return np.asarray(averaged * fading[..., None], dtype=np.float32)
