"""The two networks of insightface's pack buffalo_l that its swappers were trained with: key points and identity.

det_10g is SCRFD (Guo et al., arXiv:2105.04714), w600k_r50 is ArcFace (Deng et al., arXiv:1801.07698). The classes that
run them are insightface's, over sessions of ours, so that provider and threads are the asked ones.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from core.faces.alignment import ARCFACE_112, carry, cut, similarity
from core.faces.arrays import FloatArray, Image
from core.faces.detector import Detection
from core.faces.mesh import crop_of_box
from core.faces.providers import Execution, open_network
from core.faces.weights import ModelFileError

EMBEDDING_SIZE = 512
"""Numbers of an embedding."""
_ALIGNED = 112
_WINDOW = 320
"""Side of the window that is searched for key points, in pixels: a multiple of the detector's largest stride, 32."""
_WINDOW_MARGIN = 2.0
"""The window's side over the face's box."""
_MIN_SCORE = 0.5
_OUTPUTS = 9
"""Score, box and key points for each of SCRFD's three strides."""


class InsightFaceMissing(ModelFileError):
    """The insightface package, or one that it needs, is not installed."""


def insightface_class(module: str, name: str) -> Any:
    """Return a class of ``insightface.model_zoo``; raises InsightFaceMissing when the package cannot be imported."""
    try:
        return getattr(importlib.import_module(f"insightface.model_zoo.{module}"), name)
    except ImportError as error:
        raise InsightFaceMissing(
            f"the engine 'inswapper' needs the package insightface ({error}): pip install 'likeness[inswapper]'"
        ) from error


class ArcFaceEmbedder:
    """Describes identity as insightface's swappers take it. Safe to use from several threads."""

    def __init__(self, path: Path, execution: Execution) -> None:
        """Load w600k_r50.onnx or another network of its signature: 1×3×112×112 to 1×512.

        Raises ModelFileError for a file of another signature, InsightFaceMissing, ProviderError.
        """
        session = open_network(path, execution)
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if (
            len(inputs) != 1
            or list(inputs[0].shape[1:]) != [3, _ALIGNED, _ALIGNED]
            or len(outputs) != 1
            or outputs[0].shape[-1] != EMBEDDING_SIZE
        ):
            raise ModelFileError(
                f"{path} takes {[i.shape for i in inputs]} and gives {[o.shape for o in outputs]}: the swapper needs "
                f"an ArcFace network of 1×3×{_ALIGNED}×{_ALIGNED} to 1×{EMBEDDING_SIZE}, as buffalo_l's w600k_r50.onnx"
            )
        self._network = insightface_class("arcface_onnx", "ArcFaceONNX")(str(path), session)

    def embed(self, image: Image, points: FloatArray) -> FloatArray:
        """Describe the face with these 5×2 key points of an H×W×3 uint8 picture by 512 numbers of length 1, float32.

        Raises AlignmentError for points that make no face.
        """
        aligned = cut(image, similarity(points, ARCFACE_112), _ALIGNED)
        values = np.asarray(self._network.get_feat(np.ascontiguousarray(aligned[:, :, ::-1])), dtype=np.float32)
        vector = values.reshape(-1)
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))


class KeyPointDetector:
    """Finds the five key points that insightface's swappers align by. Safe to use from several threads."""

    def __init__(self, path: Path, execution: Execution) -> None:
        """Load det_10g.onnx or another SCRFD network with key points.

        Raises ModelFileError for a file of another signature, InsightFaceMissing, ProviderError.
        """
        session = open_network(path, execution)
        inputs, outputs = session.get_inputs(), session.get_outputs()
        sides = inputs[0].shape[2:] if inputs else []
        fixed = [side for side in sides if isinstance(side, int)]
        if len(inputs) != 1 or len(outputs) != _OUTPUTS or any(side != _WINDOW for side in fixed):
            raise ModelFileError(
                f"{path} takes {[i.shape for i in inputs]} and has {len(outputs)} outputs: the swapper needs an SCRFD "
                f"network with key points ({_OUTPUTS} outputs) that takes any size, such as buffalo_l's det_10g.onnx"
            )
        scrfd = insightface_class("scrfd", "SCRFD")
        # One session serves every size: insightface would otherwise open a further one for each, unasserted.
        self._network = scrfd(model_file=str(path), session=session, static_shape_sessions=False)

    def find(self, image: Image, face: Detection) -> FloatArray | None:
        """5×2: right eye, left eye, nose, right and left mouth corner of a detected face; None when it sees none there.

        The face is looked at in an upright window of its own, so its tilt and the picture's size do not matter.
        """
        crop = crop_of_box(face.box, face.key_points[0], face.key_points[1], _WINDOW_MARGIN)
        window = np.ascontiguousarray(crop.cut(image, _WINDOW)[:, :, ::-1])
        boxes, points = self._network.detect(window, input_size=(_WINDOW, _WINDOW), det_thresh=_MIN_SCORE)
        if points is None or not len(boxes):
            return None
        middle = (boxes[:, :2] + boxes[:, 2:4]) / 2
        inside = np.flatnonzero(np.abs(middle - _WINDOW / 2).max(axis=1) < _WINDOW / (2 * _WINDOW_MARGIN))
        if not len(inside):
            return None
        best = inside[np.argmax(boxes[inside, 4])]
        back = cv2.invertAffineTransform(crop.matrix(_WINDOW))
        return carry(np.asarray(back), points[best].astype(np.float64))
