"""What hangs or is held over the cheeks: hair, a hand, a cup, told from skin by colour and by where it comes from.

Whatever lies over a face comes from beside it: pixels unlike the face's skin reach the outline and go on beyond it in
the same colour. A shadow or red cheeks end there. A beard goes on as well, so a hairy chin's colour is told apart.

The skin's colour over the face is a surface of second degree, fitted by least squares that are reweighted (Holland
and Welsch, Communications in Statistics A6(9), 1977): too stiff to follow what covers a part of the face.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.faces import landmarks
from core.faces.arrays import FloatArray
from services.faceswap.engines.glasses import EyeFrame, eye_frame
from services.faceswap.engines.masks import erode, fill, grow, lips_and_eyes, smoothstep

_SCALE = np.array([0.7, 1.0, 1.0], dtype=np.float32)
"""Lightness counts less in a distance of colours, since shadow changes it."""
_UNLIKE = 13.0
"""Distance in Lab to the skin's colour from which a pixel is something else."""
_GOES_ON = 10.0
"""Distance in Lab up to which what is outside the outline is the same thing,"""
_SHARE = 0.5
"""which has to be so along this share of the outline that it crosses."""
_LEAST_AREA, _LEAST_DEPTH = 0.004, 0.07
"""Smallest area, of the face's, and smallest reach into the face, in its widths: the mesh's outline is that exact."""
_EYES = (0.24, 0.22)
"""Half the width and height, in face widths, of what is left to the search for glasses around each eye."""
_ROUNDS = 6
_STIFFNESS = np.array([0.0, 0.01, 0.01, 0.02, 0.02])
"""Ridge on the coefficients of the skin's colour: constant, across, down, and their squares."""
_BEARD = 20.0
"""Distance in Lab between chin and cheeks from which the chin has a beard."""
_BEARD_REACH = (14.0, 8.0)
"""Distances in Lab to the beard's colour at which a pixel below the nose is none of it, and is."""
_CHEEKS = ((116, 117, 118, 101, 36, 205, 187, 123), (345, 346, 347, 330, 266, 425, 411, 352))
_CHIN = (18, 83, 182, 194, 32, 140, 171, 175, 396, 369, 262, 418, 406, 313)
_NOSE = (168, 98, 97, 2, 326, 327)
_BELOW_NOSE = 164


@dataclass(frozen=True)
class OverCheeks:
    """What covers the lower face; both H×W float32."""

    things: FloatArray
    """0 or 1: hair, a hand and other things that come from outside the face."""
    beard: FloatArray
    """0–1: the beard, which grows on the face."""


def find_over_cheeks(lab: FloatArray, points: FloatArray, width: float) -> OverCheeks:
    """Find what lies over the face below the eyes.

    `lab` is H×W×3 (L 0–100) without grain and reaches past the outline, `points` is the mesh in its pixels and `width`
    the face's width.
    """
    size = (lab.shape[0], lab.shape[1])
    oval = fill(points, landmarks.OVAL, size)
    things, none = np.zeros(size, dtype=np.float32), np.zeros(size, dtype=np.float32)
    axes = eye_frame(points)
    across, down = axes.places(size)
    plain = (oval > 0) & ~_features(points, size, width, axes, across, down)
    if plain.sum() < 64:
        return OverCheeks(things, none)
    unlike = plain & (_from_skin(lab, plain, across / width, down / width) > _UNLIKE) & (down > 0.02 * width)
    beard = _beard_colour(lab, points, size)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(unlike.astype(np.uint8))
    rim = erode(oval, 0.03 * width) == 0
    beyond = (grow(oval, 0.05 * width) > 0) & (grow(oval, 0.012 * width) == 0)
    depth = cv2.distanceTransform(oval.astype(np.uint8), cv2.DIST_L2, 3)
    for index in range(1, count):
        if stats[index, cv2.CC_STAT_AREA] < _LEAST_AREA * float(oval.sum()):
            continue
        piece = labels == index
        if float(depth[piece].max()) < _LEAST_DEPTH * width or not _goes_on(lab, piece & rim, beyond, width):
            continue
        if beard is None or _away(np.median(lab[piece], axis=0), beard) > _GOES_ON:
            things[piece] = 1
    if beard is None:
        return OverCheeks(things, none)
    lower = down > axes.down @ (points[_BELOW_NOSE, :2] - axes.origin) - 0.05 * width
    return OverCheeks(things, (smoothstep(*_BEARD_REACH, _away(lab, beard)) * lower * oval).astype(np.float32))


def _goes_on(lab: FloatArray, crossing: NDArray[np.bool_], beyond: NDArray[np.bool_], width: float) -> bool:
    """Whether what crosses the outline has the same colour outside it."""
    if not crossing.any():
        return False
    outside = lab[beyond & (grow(crossing.astype(np.float32), 0.05 * width) > 0)]
    alike = _away(outside, np.median(lab[crossing], axis=0)) < _GOES_ON
    return len(outside) >= 4 and float(alike.mean()) > _SHARE


def _from_skin(lab: FloatArray, plain: NDArray[np.bool_], across: FloatArray, down: FloatArray) -> FloatArray:
    """H×W: distance in Lab of every pixel to the colour that skin would have there."""
    x, y = across.astype(np.float64), down.astype(np.float64) - 0.3
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y], axis=-1)
    known, colours = terms[plain][::3], lab[plain][::3].astype(np.float64)
    weights = 1 / (1 + (_away(colours, np.median(colours, axis=0)) / 10) ** 2)
    coefficients = np.zeros((5, 3))
    for _ in range(_ROUNDS):
        weighted = known * weights[:, None]
        matrix = weighted.T @ known + len(known) * np.diag(_STIFFNESS)
        coefficients = np.linalg.solve(matrix + 1e-9 * np.eye(5), weighted.T @ colours)
        distance = _away(colours, known @ coefficients)
        reach = max(2.0, 1.5 * float(np.median(distance)))
        weights = 1 / (1 + (distance / reach) ** 2) ** 1.5
    return _away(lab, terms @ coefficients)


def _features(
    points: FloatArray, size: tuple[int, int], width: float, axes: EyeFrame, across: FloatArray, down: FloatArray
) -> NDArray[np.bool_]:
    """Where a face is no plain skin by itself, and the surroundings of the eyes."""
    mask = grow(lips_and_eyes(points, size), 0.03 * width)
    mask = np.maximum(mask, grow(fill(points, _NOSE, size, hull=True), 0.02 * width))
    for eye in (landmarks.RIGHT_EYE, landmarks.LEFT_EYE):
        middle = points[list(eye), :2].mean(axis=0) - axes.origin
        away = ((across - middle @ axes.across) / (_EYES[0] * width)) ** 2
        away += ((down - middle @ axes.down) / (_EYES[1] * width)) ** 2
        mask = np.maximum(mask, away < 1)
    return np.asarray(mask > 0)


def _beard_colour(lab: FloatArray, points: FloatArray, size: tuple[int, int]) -> FloatArray | None:
    """The colour of the chin's beard in Lab; None without one."""
    chin = fill(points, _CHIN, size, hull=True) > 0
    cheeks = np.max([fill(points, cheek, size, hull=True) for cheek in _CHEEKS], axis=0) > 0
    if not chin.any() or not cheeks.any():
        return None
    colour = np.asarray(np.median(lab[chin], axis=0))
    return colour if float(_away(colour, np.median(lab[cheeks], axis=0))) > _BEARD else None


def _away(colours: FloatArray, colour: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm((colours - colour) * _SCALE, axis=-1))
