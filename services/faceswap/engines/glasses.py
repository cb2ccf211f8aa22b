"""The frame of glasses in a picture of a face, found as a line that runs around each eye.

Nothing but a frame runs closely around an eye below it: brows and hair are above, wrinkles and the eye's bags are
fainter. So each eye's surroundings are unrolled into angle × radius, and the closed path on which the pixels differ
most from the skin beside them is found by dynamic programming (as the iris codes' boundary search of Daugman, IEEE
TCSVT 14(1), 2004, unrolls the eye; the path is a seam as of Avidan and Shamir, ACM TOG 26(3), 2007).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.faces import landmarks
from core.faces.arrays import FloatArray, IntArray
from services.faceswap.engines.masks import blur, erode, fill, grow, smoothstep

_SCALE = np.array([0.8, 1.0, 1.0], dtype=np.float32)
"""Lightness counts less in a distance of colours, since shadow changes it."""
_GRAIN = 2.5
"""Median strengths of the grain that are taken off every distance: a path seeks the strongest grains of all."""
_ANGLES = 64
_RADII = 28
_ACROSS = (0.105, 0.26)
"""Nearest and farthest place of a frame beside the middle of an eye, in face widths."""
_DOWN = (0.055, 0.21)
"""The same above and below."""
_LEAST_FORESHORTENING = 0.6
_BEND = 1.0
"""What a step of the path to the next radius costs, in Lab."""
_STRONGEST = 25.0
"""Distance in Lab from which a pixel is a frame's for sure."""
_BROADEST = 10
"""Radii on either side within which a frame has to end: it is a line, where the edge of a shadow is a step."""
_LINE = 6.0
"""By how much half of the path below each eye has to differ more from the skin than what lies on both sides of it, in
Lab. Of 172 drawn people without glasses and eight faces of photos none comes there; 94 % of 78 drawn pairs do."""
_UNLIKE = 6.0
"""Distance in Lab to the skin that three quarters of the path below each eye have to have."""


@dataclass(frozen=True)
class EyeFrame:
    """Axes of a face in a picture: its origin is between the eyes."""

    origin: FloatArray
    across: FloatArray
    """Unit vector from the right eye to the left one."""

    @property
    def down(self) -> FloatArray:
        """Unit vector from the eyes to the mouth."""
        return np.array([-self.across[1], self.across[0]])

    def places(self, size: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        """For every pixel of H×W how far it lies across the face and down the face, in pixels."""
        y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
        x, y = x - self.origin[0], y - self.origin[1]
        return x * self.across[0] + y * self.across[1], y * self.across[0] - x * self.across[1]


def eye_frame(points: FloatArray) -> EyeFrame:
    """Return the axes of the face with these 468 points."""
    right, left = points[landmarks.RIGHT_EYE_CORNERS[0], :2], points[landmarks.LEFT_EYE_CORNERS[0], :2]
    across = (left - right) / max(float(np.linalg.norm(left - right)), 1e-9)
    inner = points[[landmarks.RIGHT_EYE_CORNERS[1], landmarks.LEFT_EYE_CORNERS[1]], :2]
    return EyeFrame(inner.mean(axis=0), across)


def skin_deviation(lab: FloatArray, points: FloatArray, width: float) -> FloatArray:
    """H×W: distance in Lab of every pixel to the skin around it, less what grain alone makes of it.

    The skin's field is a low-pass over the oval without eyes, brows and lips, from which pixels that differ are left
    out in three rounds, as weights that fall with their distance. `lab` is H×W×3 (L 0–100), `width` the face's in
    pixels.
    """
    size = (lab.shape[0], lab.shape[1])
    bare = erode(fill(points, landmarks.OVAL, size), 0.02 * width)
    for polygon in (landmarks.RIGHT_EYE, landmarks.LEFT_EYE, landmarks.LIPS_OUTER):
        bare *= 1 - grow(fill(points, polygon, size), 0.03 * width)
    for brow in (landmarks.RIGHT_BROW, landmarks.LEFT_BROW):
        bare *= 1 - grow(fill(points, brow, size, hull=True), 0.015 * width)
    skin = bare > 0
    if skin.sum() < 16:
        return np.zeros(size, dtype=np.float32)
    grain = _GRAIN * float(np.median(_distance(lab, blur(lab, 1.0))[skin]))
    distance = _distance(lab, np.median(lab[skin], axis=0))
    reach = 2 * max(8.0, 1.5 * float(np.median(distance[skin])))
    for _ in range(3):
        weight = (bare * np.exp(-((distance / reach) ** 2))).astype(np.float32)
        sums = blur(np.dstack([lab * weight[..., None], weight]).astype(np.float32), 0.1 * width)
        distance = _distance(lab, sums[..., :3] / np.maximum(sums[..., 3:], 1e-3))
        reach = 1.5 * max(3.0, 1.5 * float(np.median(distance[skin])))
    return np.asarray(np.maximum(distance - grain, 0.0), dtype=np.float32)


def _distance(lab: FloatArray, skin: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm((lab - skin) * _SCALE, axis=-1), dtype=np.float32)


@dataclass(frozen=True)
class _Ring:
    """The path around an eye."""

    places: FloatArray
    """A×2: in pixels of the picture."""
    strength: FloatArray
    """A: distance in Lab to the skin, up to `_STRONGEST`."""
    line: FloatArray
    """A: on the most line-like path, by how much the distance is more than on both sides."""
    below: NDArray[np.bool_]
    """A: whether the place is below the middle of the eye."""
    thickness: float
    """How wide the frame is below the eye, in pixels."""


def find_frame(deviation: FloatArray, points: FloatArray, width: float, yaw_degrees: float = 0.0) -> FloatArray:
    """H×W, 0–1: the frame of glasses, all 0 where no frame runs around both eyes.

    `deviation` is what `skin_deviation` found; `points` are 468×2 or ×3 in the picture's pixels.
    """
    size = (deviation.shape[0], deviation.shape[1])
    axes = eye_frame(points)
    eyes = np.zeros(size, dtype=np.float32)
    for polygon in (landmarks.RIGHT_EYE, landmarks.LEFT_EYE):
        eyes = np.maximum(eyes, grow(fill(points, polygon, size), 0.025 * width))
    brows = np.zeros(size, dtype=np.float32)
    for brow in (landmarks.RIGHT_BROW, landmarks.LEFT_BROW):
        brows = np.maximum(brows, grow(fill(points, brow, size, hull=True), 0.025 * width))
    unlike = (deviation * (1 - eyes)).astype(np.float32)
    beside_brows = unlike * (1 - brows)
    foreshortening = max(_LEAST_FORESHORTENING, float(np.cos(np.radians(yaw_degrees))))
    rings = [
        _ring(beside_brows, points[list(corners), :2].mean(axis=0), axes, width, foreshortening)
        for corners in (landmarks.RIGHT_EYE_CORNERS, landmarks.LEFT_EYE_CORNERS)
    ]
    for ring in rings:
        if np.percentile(ring.strength[ring.below], 25) < _UNLIKE or np.median(ring.line[ring.below]) < _LINE:
            return np.zeros(size, dtype=np.float32)
    strengths = np.concatenate([ring.strength[ring.below] for ring in rings])
    threshold = max(_UNLIKE, 0.45 * float(np.median(strengths)))
    rims = _rims(rings, size)
    solid = (unlike > threshold) & ((rims > 0) | _bridge(unlike, rings, axes, width) | _arms(rings, axes, width, size))
    # An arm or the bridge is joined to a rim; what else lies there is hair or shadow.
    _, labels = cv2.connectedComponents(solid.astype(np.uint8))
    joined = np.isin(labels, np.unique(labels[solid & (rims > 0)])) & solid
    soft = smoothstep(0.6 * threshold, 1.1 * threshold, unlike) * grow(joined.astype(np.float32), 1.0)
    return np.asarray(np.clip(blur(soft.astype(np.float32), 0.6) * 1.5, 0, 1), dtype=np.float32)


def _ring(unlike: FloatArray, middle: FloatArray, axes: EyeFrame, width: float, foreshortening: float) -> _Ring:
    angles = np.arange(_ANGLES) / _ANGLES * 2 * np.pi
    steps = np.arange(_RADII + _BROADEST) / (_RADII - 1)
    across = np.cos(angles)[:, None] * (_ACROSS[0] + (_ACROSS[1] - _ACROSS[0]) * steps) * width * foreshortening
    down = np.sin(angles)[:, None] * (_DOWN[0] + (_DOWN[1] - _DOWN[0]) * steps) * width
    places = (middle + across[..., None] * axes.across + down[..., None] * axes.down).astype(np.float32)
    unrolled = np.minimum(cv2.remap(unlike, places[..., 0], places[..., 1], cv2.INTER_LINEAR), _STRONGEST)
    line = _line_strength(unrolled)
    rows = np.arange(_ANGLES)
    # The strongest path follows a frame's corners best, the most line-like one tells whether it is a frame.
    path = _closed_path(unrolled[:, :_RADII])
    strength = unrolled[rows, path]
    below = np.sin(angles) > 0.1
    step = float(np.linalg.norm(np.diff(places, axis=1), axis=2).mean())
    runs = [_run(unrolled[row] > 0.5 * strength[row], path[row]) for row in np.flatnonzero(below)]
    return _Ring(places[rows, path], strength, line[rows, _closed_path(line)], below, float(np.median(runs)) * step)


def _line_strength(unrolled: FloatArray) -> FloatArray:
    """A×`_RADII`: by how much each value of A×R is above the least one on its near side and the least on its far."""
    padded = np.pad(unrolled, ((0, 0), (_BROADEST, 0)), mode="edge")
    shifted = [padded[:, start : start + _RADII] for start in range(2 * _BROADEST + 1)]
    inside, outside = np.min(shifted[:_BROADEST], axis=0), np.min(shifted[_BROADEST + 1 :], axis=0)
    return np.asarray(shifted[_BROADEST] - np.maximum(inside, outside))


def _run(strong: NDArray[np.bool_], place: int) -> int:
    """How many true values in a row there are around `place`."""
    gaps = np.flatnonzero(~strong)
    before, after = gaps[gaps < place], gaps[gaps > place]
    return int((after[0] if len(after) else len(strong)) - (before[-1] if len(before) else -1) - 1)


def _closed_path(unrolled: FloatArray) -> IntArray:
    """The row of A×R that is strongest in sum and moves by at most one radius an angle; its ends meet nearly."""
    # Three turns in a row: the middle one has forgotten where it began.
    turns = np.concatenate([unrolled] * 3)
    total = turns[0].astype(np.float64)
    steps: list[IntArray] = []
    inward, outward = np.full_like(total, -np.inf), np.full_like(total, -np.inf)
    for row in turns[1:]:
        inward[1:], outward[:-1] = total[:-1] - _BEND, total[1:] - _BEND
        best = np.maximum(np.maximum(inward, total), outward)
        steps.append(np.where(inward == best, -1, np.where(total == best, 0, 1)))
        total = best + row
    path = [int(total.argmax())]
    for step in reversed(steps):
        path.append(path[-1] + int(step[path[-1]]))
    return np.array(path[::-1][len(unrolled) : 2 * len(unrolled)])


def _rims(rings: Sequence[_Ring], size: tuple[int, int]) -> FloatArray:
    """The bands in which both rims lie, as wide as they are below the eyes and two pixels more."""
    near = np.zeros(size, dtype=np.uint8)
    for ring in rings:
        polygon = np.rint(ring.places * 16).astype(np.int32)
        cv2.polylines(near, [polygon], True, 1, max(1, round(ring.thickness + 2)), cv2.LINE_8, 4)
    return near.astype(np.float32)


def _bridge(unlike: FloatArray, rings: Sequence[_Ring], axes: EyeFrame, width: float) -> NDArray[np.bool_]:
    """Where the frame crosses the nose: the strongest height between the rims, and a little around it."""
    across, down = axes.places((unlike.shape[0], unlike.shape[1]))
    sides = [(ring.places - axes.origin) @ axes.across for ring in rings]
    middle = (across > sides[0].max() - 1) & (across < sides[1].min() + 1)
    heights = np.linspace(-0.1, 0.08, 25) * width
    room = 0.5 * max(ring.thickness for ring in rings) + 0.02 * width
    rows = [unlike[middle & (np.abs(down - height) < 1)] for height in heights]
    means = [float(row.mean()) if row.size else 0.0 for row in rows]
    return np.asarray(middle & (np.abs(down - heights[int(np.argmax(means))]) < room))


def _arms(rings: Sequence[_Ring], axes: EyeFrame, width: float, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where the frame runs back to the ears: beside both rims, at the height of the eyes."""
    across, down = axes.places(size)
    sides = [(ring.places - axes.origin) @ axes.across for ring in rings]
    beside = (across < sides[0].min() + 1) | (across > sides[1].max() - 1)
    return np.asarray(beside & (down > -0.12 * width) & (down < 0.08 * width) & (np.abs(across) < 0.62 * width))
