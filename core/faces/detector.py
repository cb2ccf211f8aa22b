"""BlazeFace full range (dense): where faces are, with six key points each.

Source: Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", arXiv:1907.05047, and
MediaPipe's full-range model card. Neighbouring detections are averaged by their scores, as the paper proposes.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from core.faces.arrays import FloatArray, Image
from core.faces.sessions import open_session
from core.faces.weights import DEFAULT_FOLDER, FACE_DETECTION

_INPUT = 192
_CELLS = 48
_IOU = 0.3
_FRAME_FILLING = 0.35
"""A picture without a face is looked at again with this margin on every side, relative to its longer side."""


@dataclass(frozen=True)
class Detection:
    """A detected face in pixels of the picture."""

    box: FloatArray
    """x, y, width, height; may reach past the border."""
    key_points: FloatArray
    """6×2: right eye, left eye, nose, mouth, right ear, left ear, as the person has them."""
    score: float
    """0–1."""


class FaceDetector:
    """Finds faces. Safe to use from several threads."""

    def __init__(self, folder: Path = DEFAULT_FOLDER, threads: int = 1) -> None:
        """Load the network from `folder`; raises ModelFileError."""
        self._session = open_session(FACE_DETECTION, folder=folder, threads=threads)
        rows, columns = np.mgrid[0:_CELLS, 0:_CELLS]
        step = _INPUT / _CELLS
        self._centres = np.stack([(columns + 0.5) * step, (rows + 0.5) * step], axis=-1).reshape(-1, 1, 2)

    def detect(self, image: Image, min_score: float = 0.5) -> list[Detection]:
        """Return the faces of an H×W×3 uint8 RGB picture whose score is at least `min_score`, best first.

        A face that fills the frame is missed by the network, so a picture without a face is tried a second time with
        a margin of its own border pixels.
        """
        found = self._detect_at(image, 0, min_score)
        if not found:
            margin = round(_FRAME_FILLING * max(image.shape[:2]))
            found = self._detect_at(image, margin, min_score)
        return found

    def _detect_at(self, image: Image, margin: int, min_score: float) -> list[Detection]:
        height, width = image.shape[:2]
        side = max(height, width) + 2 * margin
        scale = _INPUT / side
        small = cv2.resize(
            image,
            (max(1, round(width * scale)), max(1, round(height * scale))),
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        )
        left, top = (_INPUT - small.shape[1]) // 2, (_INPUT - small.shape[0]) // 2
        border = cv2.BORDER_REPLICATE if margin else cv2.BORDER_CONSTANT
        square = cv2.copyMakeBorder(
            small, top, _INPUT - small.shape[0] - top, left, _INPUT - small.shape[1] - left, border
        )
        tensor = square.astype(np.float32)[None] / 127.5 - 1.0
        regressors, logits = self._session.run(None, {"input": tensor})
        scores = 1.0 / (1.0 + np.exp(-np.clip(logits[0, :, 0], -50, 50)))
        keep = scores >= min_score
        values = regressors[0, keep].astype(np.float64).reshape(-1, 8, 2)
        centres = self._centres[keep]
        size = np.abs(values[:, 1])
        corner = values[:, 0] + centres[:, 0] - size / 2
        points = values[:, 2:] + centres
        to_picture = np.array([width / small.shape[1], height / small.shape[0]])
        offset = np.array([left, top])
        boxes = np.concatenate([(corner - offset) * to_picture, size * to_picture], axis=1)
        return _weighted_suppression(boxes, (points - offset) * to_picture, scores[keep])


def _weighted_suppression(boxes: FloatArray, points: FloatArray, scores: FloatArray) -> list[Detection]:
    order = np.argsort(-scores, kind="stable")
    boxes, points, scores = boxes[order], points[order], scores[order]
    left = np.ones(len(scores), dtype=bool)
    found = []
    for best in range(len(scores)):
        if not left[best]:
            continue
        group = left & (_overlap(boxes[best], boxes) > _IOU)
        group[best] = True
        left &= ~group
        weights = scores[group] / scores[group].sum()
        found.append(
            Detection(
                box=np.einsum("i,ij->j", weights, boxes[group]),
                key_points=np.einsum("i,ijk->jk", weights, points[group]),
                score=float(scores[best]),
            )
        )
    return found


def _overlap(box: FloatArray, boxes: FloatArray) -> FloatArray:
    """Intersection over union of one box with N boxes (x, y, width, height)."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    union = np.prod(box[2:]) + np.prod(boxes[:, 2:], axis=1) - common
    return np.asarray(common / np.maximum(union, 1e-9))
