from __future__ import annotations

import cv2
import numpy as np
import pytest

from core.faces.detector import FaceDetector
from tests.support.faces import drawn, portrait, side_by_side


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(threads=2)


def centre(box: np.ndarray) -> np.ndarray:
    return np.asarray(box[:2] + box[2:] / 2)


def test_one_face_is_found_once(detector: FaceDetector) -> None:
    (found,) = detector.detect(portrait())
    assert found.score > 0.8
    right_eye, left_eye, nose, mouth = found.key_points[:4]
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_eye[1] < nose[1] < mouth[1]


@pytest.mark.parametrize("shape", [(512, 1400), (1400, 512)])
def test_boxes_are_right_in_wide_and_tall_pictures(detector: FaceDetector, shape: tuple[int, int]) -> None:
    canvas = np.full((*shape, 3), 128, dtype=np.uint8)
    offset = np.array([shape[1] - 512, shape[0] - 512])
    image = np.asarray(cv2.resize(portrait(), (512, 512)), dtype=np.uint8)
    canvas[offset[1] :, offset[0] :] = image
    (alone,), (moved,) = detector.detect(image), detector.detect(canvas)
    assert np.linalg.norm(centre(moved.box) - offset - centre(alone.box)) < 0.1 * alone.box[2]


def test_several_faces_are_each_found(detector: FaceDetector) -> None:
    assert len(detector.detect(side_by_side(portrait(), drawn(2), drawn(7)))) == 3


def test_min_score_leaves_weaker_faces_out(detector: FaceDetector) -> None:
    image = side_by_side(portrait(), drawn(2), drawn(7))
    scores = [found.score for found in detector.detect(image)]
    between = (scores[0] + scores[1]) / 2
    assert [found.score for found in detector.detect(image, min_score=between)] == scores[:1]
