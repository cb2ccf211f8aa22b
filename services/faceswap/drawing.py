"""Faces drawn onto their picture: box, index and landmarks, for people who want to see what was found."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from core.faces import Face
from core.faces.arrays import Image

_COLOURS = ((64, 224, 96), (255, 160, 32), (96, 160, 255), (255, 96, 160), (224, 224, 64), (64, 224, 224))
_DARK = (0, 0, 0)


def draw_faces(image: Image, faces: Sequence[Face]) -> Image:
    """Return a copy of an H×W×3 uint8 RGB picture with the faces' boxes, landmarks and places in the list on it."""
    drawn = image.copy()
    scale = max(image.shape[:2]) / 800
    thick = max(1, round(2 * scale))
    for index, face in enumerate(faces):
        colour = _COLOURS[index % len(_COLOURS)]
        x, y, width, height = face.detection.box
        low = (round(float(x)), round(float(y)))
        high = (round(float(x + width)), round(float(y + height)))
        # A dark rim keeps the line visible on any ground.
        cv2.rectangle(drawn, low, high, _DARK, thick + 2)
        cv2.rectangle(drawn, low, high, colour, thick)
        for point in np.rint(face.landmarks).astype(int):
            cv2.circle(drawn, (int(point[0]), int(point[1])), thick + 1, colour, -1, cv2.LINE_AA)
        # Inside the picture, also where the box is not.
        place = (max(thick, low[0]), max(round(24 * scale), low[1] - 2 * thick))
        for line, shade in ((thick + 3, _DARK), (thick, colour)):
            cv2.putText(drawn, str(index), place, cv2.FONT_HERSHEY_SIMPLEX, scale, shade, line, cv2.LINE_AA)
    return drawn
