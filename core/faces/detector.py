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

INPUT = 192
"""Side of the square that the network sees, in pixels."""
_CELLS = 48
_IOU = 0.3


@dataclass(frozen=True)
class Detection:
    """A detected face in pixels of the picture."""

    box: FloatArray
    """x, y, width, height; may reach past the border."""
    key_points: FloatArray
    """6×2: right eye, left eye, nose, mouth, right ear, left ear, as the person has them."""
    score: float
    """0–1."""


@dataclass(frozen=True)
class View:
    """A part of a picture as the network sees it: `picture = (square − offset) · scale + origin`."""

    square: Image
    """192×192×3 RGB."""
    offset: FloatArray
    """2: where the part's corner lies in the square, in the square's pixels."""
    scale: FloatArray
    """2: pixels of the picture for one of the square, across and down."""
    origin: FloatArray
    """2: where the part's corner lies in the picture, in pixels."""

    @classmethod
    def of(cls, image: Image, *, margin: float = 0.0, origin: tuple[int, int] = (0, 0)) -> "View":
        """Shrink a picture, or a part of one that begins at `origin`, to the middle of the square.

        Without a margin the rest is black. With one, relative to the longer side, the border pixels are repeated.
        """
        height, width = image.shape[:2]
        side = max(height, width) + 2 * round(margin * max(height, width))
        scale = INPUT / side
        small = cv2.resize(
            image,
            (max(1, round(width * scale)), max(1, round(height * scale))),
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        )
        left, top = (INPUT - small.shape[1]) // 2, (INPUT - small.shape[0]) // 2
        border = cv2.BORDER_REPLICATE if margin else cv2.BORDER_CONSTANT
        square = cv2.copyMakeBorder(
            small, top, INPUT - small.shape[0] - top, left, INPUT - small.shape[1] - left, border
        )
        return cls(
            square=np.asarray(square, dtype=np.uint8),
            offset=np.array([left, top], dtype=np.float64),
            scale=np.array([width / small.shape[1], height / small.shape[0]]),
            origin=np.array(origin, dtype=np.float64),
        )

    def to_picture(self, found: Detection) -> Detection:
        """Carry a detection in the square's pixels into the picture's."""
        corner = (found.box[:2] - self.offset) * self.scale + self.origin
        box = np.concatenate([corner, found.box[2:] * self.scale])
        return Detection(box, (found.key_points - self.offset) * self.scale + self.origin, found.score)


class FaceDetector:
    """Finds faces that are upright or tilted by up to about 45°. Safe to use from several threads."""

    def __init__(self, folder: Path = DEFAULT_FOLDER, threads: int = 1) -> None:
        """Load the network from `folder`; raises ModelFileError."""
        self._session = open_session(FACE_DETECTION, folder=folder, threads=threads)
        rows, columns = np.mgrid[0:_CELLS, 0:_CELLS]
        step = INPUT / _CELLS
        self._centres = np.stack([(columns + 0.5) * step, (rows + 0.5) * step], axis=-1).reshape(-1, 1, 2)

    def detect(self, image: Image, min_score: float = 0.5) -> list[Detection]:
        """Return the faces of an H×W×3 uint8 RGB picture whose score is at least `min_score`, best first."""
        return self.detect_in(View.of(image), min_score)

    def detect_in(self, view: View, min_score: float, quarter_turns: int = 0) -> list[Detection]:
        """Return the faces of a view in the picture's pixels, best first.

        The network sees the square turned by `quarter_turns` counter-clockwise; what it finds is turned back.
        """
        found = self.detect_square(np.rot90(view.square, quarter_turns), min_score)
        return [view.to_picture(turn_back(detection, quarter_turns, INPUT)) for detection in found]

    def detect_square(self, square: Image, min_score: float) -> list[Detection]:
        """Return the faces of a 192×192×3 uint8 RGB picture in its own pixels, best first."""
        tensor = square.astype(np.float32, order="C")[None] / 127.5 - 1.0
        regressors, logits = self._session.run(None, {"input": tensor})
        scores = 1.0 / (1.0 + np.exp(-np.clip(logits[0, :, 0], -50, 50)))
        keep = scores >= min_score
        values = regressors[0, keep].astype(np.float64).reshape(-1, 8, 2)
        centres = self._centres[keep]
        size = np.abs(values[:, 1])
        corner = values[:, 0] + centres[:, 0] - size / 2
        return _weighted_suppression(np.concatenate([corner, size], axis=1), values[:, 2:] + centres, scores[keep])


def turn_back(found: Detection, quarter_turns: int, side: float) -> Detection:
    """Undo a counter-clockwise turn of the square of that side in which a face was detected."""
    points = np.concatenate([found.key_points, (found.box[:2] + found.box[2:] / 2)[None]])
    size = found.box[2:]
    for _ in range(quarter_turns % 4):
        points = np.stack([side - points[:, 1], points[:, 0]], axis=1)
        size = size[::-1]
    return Detection(np.concatenate([points[-1] - size / 2, size]), points[:-1], found.score)


def merge(detections: list[Detection]) -> list[Detection]:
    """Return the detections without those that overlap a better one, best first."""
    kept: list[Detection] = []
    for found in sorted(detections, key=lambda detection: -detection.score):
        if not kept or overlap(found.box, np.stack([better.box for better in kept])).max() <= _IOU:
            kept.append(found)
    return kept


def _weighted_suppression(boxes: FloatArray, points: FloatArray, scores: FloatArray) -> list[Detection]:
    order = np.argsort(-scores, kind="stable")
    boxes, points, scores = boxes[order], points[order], scores[order]
    left = np.ones(len(scores), dtype=bool)
    found = []
    for best in range(len(scores)):
        if not left[best]:
            continue
        group = left & (overlap(boxes[best], boxes) > _IOU)
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


def overlap(box: FloatArray, boxes: FloatArray) -> FloatArray:
    """Intersection over union of one box with N boxes (x, y, width, height)."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    union = np.prod(box[2:]) + np.prod(boxes[:, 2:], axis=1) - common
    return np.asarray(common / np.maximum(union, 1e-9))
