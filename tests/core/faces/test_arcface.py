"""Key points and identity by networks of buffalo_l's signatures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra inswapper is not installed")
pytest.importorskip("insightface.model_zoo.arcface_onnx", reason="the extra inswapper is not installed")

from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.utils import face_align

from core.faces import Face, ModelFileError
from core.faces.alignment import ARCFACE_112, AlignmentError, carry, cut, similarity, swapper_template
from core.faces.arcface import ArcFaceEmbedder, KeyPointDetector
from core.faces.providers import Execution
from tests.support import swap_networks
from tests.support.faces import portrait


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swap_networks.arcface(tmp_path_factory.mktemp("arcface") / "w600k_r50.onnx")


def test_embedding_is_what_insightfaces_own_class_gives(path: Path, face: Face) -> None:
    embedding = ArcFaceEmbedder(path, Execution()).embed(portrait(), face.landmarks)
    aligned = cut(portrait(), similarity(face.landmarks, ARCFACE_112), 112)
    theirs = ArcFaceONNX(str(path)).get_feat(aligned[:, :, ::-1]).reshape(-1)
    assert np.linalg.norm(embedding) == pytest.approx(1)
    np.testing.assert_allclose(embedding, theirs / np.linalg.norm(theirs), atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("size", [112, 128, 256])
def test_faces_stand_in_the_crop_where_insightface_puts_them(face: Face, size: int) -> None:
    template = ARCFACE_112 if size == 112 else swapper_template(size, size)
    theirs = face_align.estimate_norm(face.landmarks.astype(np.float32), size)
    ours = similarity(face.landmarks, template)
    np.testing.assert_allclose(carry(ours, face.landmarks), carry(theirs, face.landmarks), atol=0.01)


def test_points_that_make_no_face_are_refused(path: Path) -> None:
    with pytest.raises(AlignmentError):
        ArcFaceEmbedder(path, Execution()).embed(portrait(), np.zeros((5, 2)))


def test_embedder_of_another_signature_is_refused(tmp_path: Path) -> None:
    other = swap_networks.restorer(tmp_path / "other.onnx")
    with pytest.raises(ModelFileError, match=r"other\.onnx takes .*w600k_r50"):
        ArcFaceEmbedder(other, Execution())


def test_detector_of_another_signature_is_refused(path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"w600k_r50\.onnx takes .*det_10g"):
        KeyPointDetector(path, Execution())
