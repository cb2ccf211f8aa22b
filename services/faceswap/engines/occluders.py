"""What lies over the skin of a face: hair and glasses, told from skin by colour."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.faces import landmarks
from core.faces.arrays import FloatArray
from services.faceswap.engines.masks import blur, erode, fill, grow, scaled, smoothstep

_SKIN_PATCHES = (
    (116, 117, 118, 101, 36, 205, 187, 123),
    (345, 346, 347, 330, 266, 425, 411, 352),
    (6, 122, 196, 3, 51, 45, 4, 275, 281, 248, 419, 351),
    (194, 32, 140, 175, 369, 262, 418, 200),
)
"""Right cheek, left cheek, bridge of the nose, chin."""
_BARE_PATCHES = (
    (101, 36, 206, 207, 187, 50),
    (330, 266, 426, 427, 411, 280),
    (195, 3, 51, 45, 4, 275, 281, 248),
)
"""Right cheek, left cheek and tip of the nose, below glasses."""
_SEARCH_PIXELS = 104
"""Width of a face in pixels at which hair and glasses are looked for."""
_SCALE = np.array([0.7, 1.0, 1.0], dtype=np.float32)
"""Lightness counts less in a distance of colours, since shadow changes it."""
_SKIN_REACH = 9.0
"""Distance in Lab below which a colour is still one of the skin's."""


@dataclass(frozen=True)
class Occluders:
    """What lies over the skin of a face; all H×W, 0–1."""

    hair: FloatArray
    """Hair over forehead and temples."""
    glasses: FloatArray
    """The frame of glasses: broad dark ones are found mostly, thin or pale ones rarely, none where there is none."""
    unlike_skin: FloatArray
    """Anything around the eyes whose colour is not the skin's."""


def find_occluders(lab: FloatArray, points: FloatArray, size: tuple[int, int], width: float) -> Occluders:
    """Find what lies over the skin of the upper face.

    `lab` is H×W×3 (L 0–100) and reaches past the outline. Every pixel is compared with samples of skin (cheeks, nose,
    chin) and of what lies around the forehead. Hair is more like the latter and joined to the outline; a frame is
    unlike skin and joined across the bridge of the nose.
    """
    reduce = min(1.0, _SEARCH_PIXELS / max(width, 1.0))
    small_size = (max(2, round(size[0] * reduce)), max(2, round(size[1] * reduce)))
    small = scaled(lab, small_size[::-1])
    factors = np.array([small_size[1] / size[1], small_size[0] / size[0]])
    places = (points[:, :2] + 0.5) * factors - 0.5
    skin = _skin_samples(small, places, small_size, _SKIN_PATCHES)
    bare = _skin_samples(small, places, small_size, _BARE_PATCHES)
    if min(len(skin), len(bare)) < 8:
        none = np.zeros(size, dtype=np.float32)
        return Occluders(none, none, none)
    smooth = blur(small, 0.008 * width * reduce)
    found = (
        _hair(smooth, places, small_size, width * reduce, skin),
        *_glasses(smooth, places, small_size, width * reduce, bare),
    )
    return Occluders(*(np.asarray(np.clip(scaled(mask, size[::-1]), 0, 1)) for mask in found))


def _skin_samples(
    lab: FloatArray, points: FloatArray, size: tuple[int, int], patches: tuple[tuple[int, ...], ...]
) -> FloatArray:
    patch = np.zeros(size, dtype=np.float32)
    for polygon in patches:
        patch = np.maximum(patch, fill(points, polygon, size, hull=True))
    return _samples(lab[patch > 0])


def _hair(lab: FloatArray, points: FloatArray, size: tuple[int, int], width: float, skin: FloatArray) -> FloatArray:
    oval = fill(points, landmarks.OVAL, size)
    zone = _upper_zone(points, size, width)
    outside = (grow(oval, 0.14 * width) > 0) & (grow(oval, 0.03 * width) == 0) & (zone > 0)
    around = _samples(lab[outside])
    around = around[_nearest(around, skin) > _SKIN_REACH]
    if len(around) < 4:
        return np.zeros(size, dtype=np.float32)
    to_skin = _distance(lab, skin, zone > 0)
    to_hair = _distance(lab, around, zone > 0)
    hairy = smoothstep(-1.0, 3.0, to_skin - 1.15 * to_hair) * smoothstep(_SKIN_REACH * 0.6, _SKIN_REACH, to_skin)
    hairy = hairy * zone
    count, labels = cv2.connectedComponents(((hairy > 0.5) & (grow(oval, 0.02 * width) > 0)).astype(np.uint8))
    keep = np.zeros(count, dtype=bool)
    keep[np.unique(labels[erode(oval, 0.04 * width) == 0])] = True
    keep[0] = False
    return blur(grow(keep[labels].astype(np.float32), 0.012 * width), 0.012 * width)


def _glasses(
    lab: FloatArray, points: FloatArray, size: tuple[int, int], width: float, bare: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The frame, and all that is unlike skin around the eyes."""
    frame = eye_frame(points)
    across, down = frame.places(size)
    near = (np.abs(down) < 0.26 * width) & (np.abs(across) < 0.6 * width)
    to_skin = _distance(lab, bare, near)
    unlike = smoothstep(_SKIN_REACH * 1.1, _SKIN_REACH * 1.8, to_skin) * near
    inside = np.zeros(size, dtype=np.float32)
    for polygon in (landmarks.RIGHT_EYE, landmarks.LEFT_EYE):
        inside = np.maximum(inside, grow(fill(points, polygon, size), 0.02 * width))
    solid = (erode(grow((unlike > 0.4).astype(np.float32), 0.012 * width), 0.012 * width) > 0) & (inside == 0)
    count, labels = cv2.connectedComponents(solid.astype(np.uint8))
    # Brows are above the bridge; only a frame crosses the nose at the height of the eyes.
    bridge = (np.abs(across) < 0.035 * width) & (down > -0.09 * width) & (down < 0.1 * width)
    keep = np.zeros(count, dtype=bool)
    for label in np.unique(labels[bridge & solid]):
        spread = across[labels == label]
        reach = sorted((-float(spread.min()), float(spread.max())))
        # A turned head shows less of the far side. Half a frame is worse than none.
        keep[label] = label > 0 and reach[0] > 0.2 * width and reach[1] > 0.28 * width
    return blur(grow(keep[labels].astype(np.float32), 0.01 * width), 0.006 * width), unlike.astype(np.float32)


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
    squared = (a**2).sum(axis=1)[:, None] - 2 * a @ b.T + (b**2).sum(axis=1)[None]
    return np.asarray(np.sqrt(np.maximum(squared.min(axis=1), 0)))


@dataclass(frozen=True)
class EyeFrame:
    """Axes of a face in a picture: its origin is between the eyes."""

    origin: FloatArray
    across: FloatArray
    """Unit vector from the right eye to the left one."""

    def places(self, size: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        """For every pixel of H×W how far it lies across the face and down the face, in pixels."""
        y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
        x, y = x - self.origin[0], y - self.origin[1]
        return x * self.across[0] + y * self.across[1], y * self.across[0] - x * self.across[1]


def eye_frame(points: FloatArray) -> EyeFrame:
    """Return the axes of the face with these points."""
    right, left = points[landmarks.RIGHT_EYE_CORNERS[0], :2], points[landmarks.LEFT_EYE_CORNERS[0], :2]
    across = (left - right) / max(float(np.linalg.norm(left - right)), 1e-9)
    inner = points[[landmarks.RIGHT_EYE_CORNERS[1], landmarks.LEFT_EYE_CORNERS[1]], :2]
    return EyeFrame(inner.mean(axis=0), across)


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
