"""What lies over the skin of a face: hair, glasses and what comes from beside it, told from skin by colour."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from core.faces import landmarks
from core.faces.arrays import FloatArray
from services.faceswap.engines.cheeks import find_over_cheeks
from services.faceswap.engines.glasses import eye_frame, find_frame, skin_deviation
from services.faceswap.engines.masks import blur, erode, fill, grow, scaled, smoothstep

_SKIN_PATCHES = (
    (116, 117, 118, 101, 36, 205, 187, 123),
    (345, 346, 347, 330, 266, 425, 411, 352),
    (6, 122, 196, 3, 51, 45, 4, 275, 281, 248, 419, 351),
    (194, 32, 140, 175, 369, 262, 418, 200),
)
"""Right cheek, left cheek, bridge of the nose, chin."""
_SEARCH_PIXELS = 140
"""Width of a face in pixels at which hair and glasses are looked for."""
_SCALE = np.array([0.7, 1.0, 1.0], dtype=np.float32)
"""Lightness counts less in a distance of colours, since shadow changes it."""
_UNLIKE = (10.0, 16.0)
"""Distances in Lab to the skin around it at which a pixel begins to be something else, and is."""
_SKIN_REACH = 9.0
"""Distance in Lab below which a colour is still one of the skin's."""
_NO_SKIN = (12.0, 16.0)
"""Distances in Lab to all colours of the skin at which a pixel begins to be something else, and is."""


@dataclass(frozen=True)
class Occluders:
    """What lies over the skin of a face; all H×W, 0–1."""

    hair: FloatArray
    """Hair over forehead and temples, and whatever comes over the cheeks from outside the face."""
    glasses: FloatArray
    """The frame of glasses, whole or not at all."""
    unlike_skin: FloatArray
    """Anything around the eyes whose colour is not the skin's, and a beard."""


def find_occluders(
    lab: FloatArray, points: FloatArray, size: tuple[int, int], width: float, yaw_degrees: float = 0.0
) -> Occluders:
    """Find what lies over the skin of the face.

    `lab` is H×W×3 (L 0–100) and reaches past the outline. Every pixel is compared with samples of skin (cheeks, nose,
    chin) and of what lies around the forehead. Hair is more like the latter and joined to the outline; a frame runs
    around both eyes. The head's yaw tells how narrow a frame may look.
    """
    search = _Search.of(lab, points, size, width)
    if search is None:
        none = np.zeros(size, dtype=np.float32)
        return Occluders(none, none, none)
    cheeks = find_over_cheeks(blur(search.lab, 0.01 * search.width), search.points, search.width)
    deviation = skin_deviation(search.lab, search.points, search.width)
    _, down = eye_frame(search.points).places(search.size)
    unlike = smoothstep(*_UNLIKE, deviation) * (np.abs(down) < 0.26 * search.width)
    frame = find_frame(deviation, search.points, search.width, yaw_degrees)
    hair = np.maximum(search.hair(), blur(cheeks.things, 0.008 * search.width))
    unlike = np.maximum(unlike, cheeks.beard).astype(np.float32)
    return Occluders(*(_enlarged(mask, size) for mask in (hair, frame, unlike)))


def find_hair(lab: FloatArray, points: FloatArray, size: tuple[int, int], width: float) -> FloatArray:
    """Find what hangs over forehead and temples, in a tenth of the time of `find_occluders`; H×W, 0–1.

    That is its hair, and more: anything there that is not like the skin and is joined to the outline.
    """
    search = _Search.of(lab, points, size, width)
    return np.zeros(size, dtype=np.float32) if search is None else _enlarged(search.hair(anything=True), size)


def hanging_hair(hair: FloatArray, forehead: FloatArray, margin: float, softness: float) -> FloatArray:
    """The part of a forehead that hair hangs over or may have marked; H×W, 0–1.

    `hair` and `forehead` are H×W, 0–1. `margin` is how many pixels around the hair found still count: its tips, the
    gaps in it, its shadow. Over `softness` pixels (a standard deviation) it falls off, nowhere beyond the forehead.
    """
    found = ((hair > 0.5) & (forehead > 0.5)).astype(np.float32)
    return np.asarray(blur(grow(found, margin), softness) * forehead) if found.any() else found


@dataclass(frozen=True)
class _Search:
    """A face at the size at which it is searched."""

    lab: FloatArray
    points: FloatArray
    width: float
    skin: FloatArray
    """N×3: samples of its skin in Lab."""

    @classmethod
    def of(cls, lab: FloatArray, points: FloatArray, size: tuple[int, int], width: float) -> Self | None:
        """Shrink a face; None when it shows too little skin to compare with."""
        reduce = min(1.0, _SEARCH_PIXELS / max(width, 1.0))
        small_size = (max(2, round(size[0] * reduce)), max(2, round(size[1] * reduce)))
        small = scaled(lab, small_size[::-1])
        factors = np.array([small_size[1] / size[1], small_size[0] / size[0]])
        places = (points[:, :2] + 0.5) * factors - 0.5
        skin = _skin_samples(small, places, small_size, _SKIN_PATCHES)
        return None if len(skin) < 8 else cls(small, places, width * reduce, skin)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.lab.shape[0], self.lab.shape[1]

    def hair(self, *, anything: bool = False) -> FloatArray:
        """H×W: where hair is; with `anything`, also what is not like the skin and joined to the outline."""
        return _hair(blur(self.lab, 0.008 * self.width), self.points, self.size, self.width, self.skin, anything)


def _enlarged(mask: FloatArray, size: tuple[int, int]) -> FloatArray:
    return np.asarray(np.clip(scaled(mask, size[::-1]), 0, 1))


def _skin_samples(
    lab: FloatArray, points: FloatArray, size: tuple[int, int], patches: tuple[tuple[int, ...], ...]
) -> FloatArray:
    patch = np.zeros(size, dtype=np.float32)
    for polygon in patches:
        patch = np.maximum(patch, fill(points, polygon, size, hull=True))
    return _samples(lab[patch > 0])


def _hair(
    lab: FloatArray, points: FloatArray, size: tuple[int, int], width: float, skin: FloatArray, anything: bool
) -> FloatArray:
    oval = fill(points, landmarks.OVAL, size)
    zone = _upper_zone(points, size, width)
    outside = (grow(oval, 0.14 * width) > 0) & (grow(oval, 0.03 * width) == 0) & (zone > 0)
    around = _samples(lab[outside])
    around = around[_nearest(around, skin) > _SKIN_REACH]
    if len(around) < 4 and not anything:
        return np.zeros(size, dtype=np.float32)
    to_skin = _distance(lab, skin, zone > 0)
    hairy = smoothstep(*_NO_SKIN, to_skin) if anything else np.zeros(size, dtype=np.float32)
    if len(around) >= 4:
        like_hair = smoothstep(-1.0, 3.0, to_skin - 1.15 * _distance(lab, around, zone > 0))
        hairy = np.maximum(hairy, like_hair * smoothstep(_SKIN_REACH * 0.6, _SKIN_REACH, to_skin))
    hairy = hairy * zone
    count, labels = cv2.connectedComponents(((hairy > 0.5) & (grow(oval, 0.02 * width) > 0)).astype(np.uint8))
    keep = np.zeros(count, dtype=bool)
    keep[np.unique(labels[erode(oval, 0.04 * width) == 0])] = True
    keep[0] = False
    return blur(keep[labels].astype(np.float32), 0.008 * width)


def _samples(pixels: FloatArray) -> FloatArray:
    """Up to 64 pixels, spread evenly over the lightness."""
    if len(pixels) == 0:
        return pixels
    order = np.argsort(pixels[:, 0], kind="stable")
    # The darkest and lightest few are lashes, gaps and glints.
    picks = np.linspace(0.04, 0.96, 64) * (len(pixels) - 1)
    return np.asarray(pixels[order[np.unique(picks.astype(int))]])


def _distance(lab: FloatArray, samples: FloatArray, where: NDArray[np.bool_]) -> FloatArray:
    """Distance of the pixels that are set in `where` to the nearest sample; 0 elsewhere."""
    distance = np.zeros(where.shape, dtype=np.float32)
    distance[where] = _nearest(lab[where], samples)
    return distance


def _nearest(pixels: FloatArray, samples: FloatArray) -> FloatArray:
    """Distance of each of N Lab pixels to the nearest sample."""
    a, b = (pixels * _SCALE).astype(np.float32), (samples * _SCALE).astype(np.float32)
    # Samples in rows: the least of each column is found a row of pixels at a time.
    squared = (-2 * b) @ a.T + (b**2).sum(axis=1)[:, None]
    return np.asarray(np.sqrt(np.maximum(squared.min(axis=0) + (a**2).sum(axis=1), 0)))


def _upper_zone(points: FloatArray, size: tuple[int, int], width: float) -> FloatArray:
    """Forehead and temples: above the eyes, and beside them; eyes and brows themselves left out."""
    across, down = eye_frame(points).places(size)
    limit = np.where(np.abs(across) > 0.33 * width, 0.30 * width, -0.02 * width)
    zone = (down < limit).astype(np.float32)
    for eye in (landmarks.RIGHT_EYE, landmarks.LEFT_EYE):
        zone[grow(fill(points, eye, size), 0.03 * width) > 0] = 0
    for brow in (landmarks.RIGHT_BROW, landmarks.LEFT_BROW):
        zone[fill(points, brow, size, hull=True) > 0] = 0
    return np.asarray(zone)
