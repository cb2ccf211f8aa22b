"""How far a face's mouth and eyes are open, and how the mouth is bent."""

from collections.abc import Sequence

import numpy as np

from core.faces import landmarks
from core.faces.arrays import FloatArray


def mouth_openness(points: FloatArray) -> float:
    """Gap between the lips over the width of the mouth; 0 is closed. `points` is N×2 or N×3, in pixels."""
    gap = np.linalg.norm(points[landmarks.LIP_UPPER, :2] - points[landmarks.LIP_LOWER, :2])
    width = np.linalg.norm(points[landmarks.MOUTH_RIGHT, :2] - points[landmarks.MOUTH_LEFT, :2])
    return float(gap / max(float(width), 1e-9))


def opening(points: FloatArray, lids: Sequence[tuple[int, int]], corners: tuple[int, int]) -> float:
    """Mean gap between the pairs of `lids` over the distance of the `corners`."""
    width = float(np.linalg.norm(points[corners[0], :2] - points[corners[1], :2]))
    gap = np.mean([np.linalg.norm(points[upper, :2] - points[lower, :2]) for upper, lower in lids])
    return float(gap) / max(width, 1e-9)


def eye_openness(points: FloatArray) -> float:
    """Gap between the lids over the width of the eye, mean of both eyes; open eyes have about 0.25–0.4."""
    right = opening(points, landmarks.RIGHT_LIDS, landmarks.RIGHT_EYE_CORNERS)
    left = opening(points, landmarks.LEFT_LIDS, landmarks.LEFT_EYE_CORNERS)
    return (right + left) / 2


def mouth_curve(points: FloatArray) -> float:
    """How far the mouth's corners are above the middle of its lips, over the width of the mouth.

    Positive for a smile, negative for corners that hang. `points` is 468×3 in the canonical, frontal frame
    (`Placement.normalise`), so a nod of the head does not count as a smile.
    """
    corners = points[[landmarks.MOUTH_RIGHT, landmarks.MOUTH_LEFT]]
    middle = points[list(landmarks.LIPS_MIDDLE)].mean(axis=0)
    width = max(float(np.linalg.norm(corners[0] - corners[1])), 1e-9)
    return float(middle[1] - corners[:, 1].mean()) / width
