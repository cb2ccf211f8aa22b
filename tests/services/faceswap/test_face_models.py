"""Face models: what becomes of the photos, and which view is taken."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from core.faces import FaceAnalyser, identity_score
from core.faces.arrays import Image
from likeness.errors import FaceTooSmall, PhotosUnusable
from services.faceswap.engines.mesh import LIMITS, MeshEngine, MeshSettings
from services.faceswap.face_models import Average, FaceModel, Rejection, average_embedding, cut_view, outliers, takes
from services.faceswap.references import Reference, View, choose_view
from tests.services.faceswap.conftest import build
from tests.support.faces import drawn, portrait, shots, side_by_side


def blurred(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 9), dtype=np.uint8)


def test_photos_of_one_person_agree(analyser: FaceAnalyser, model: FaceModel) -> None:
    assert model.photo_count == 3
    assert model.agreement > 0.9
    assert np.linalg.norm(model.embedding) == pytest.approx(1)
    (unseen,) = analyser.analyse(shots(0)[3])
    assert identity_score(model.embedding, unseen.embedding) > 0.85


def test_a_photo_of_somebody_else_is_rejected_by_its_number(analyser: FaceAnalyser) -> None:
    first, second, third = shots(0)[:3]
    model, photos = build(analyser, first, portrait(), second, third)
    assert [photo.rejection for photo in photos] == [None, Rejection.OUTLIER, None, None]
    assert "to the other photos, below 0.3" in photos[1].detail
    assert photos[1].similarity is not None and photos[1].similarity < 0.3
    assert model.photo_count == 3
    assert 1 not in [view.image_index for view in model.views]


def test_photos_that_cannot_be_used_are_rejected_each_with_its_reason(analyser: FaceAnalyser) -> None:
    plain = np.full((200, 300, 3), 140, dtype=np.uint8)
    tiny = np.asarray(cv2.resize(shots(0)[2], (96, 96), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    soft = blurred(shots(0)[1])
    _, photos = build(analyser, plain, side_by_side(drawn(), portrait()), tiny, soft, shots(0)[0])
    assert [photo.rejection for photo in photos] == [
        Rejection.NO_FACE,
        Rejection.SEVERAL_FACES,
        Rejection.TOO_SMALL,
        Rejection.BLURRED,
        None,
    ]
    assert photos[1].detail == "it shows 2 faces: crop it to one"
    assert "at least 48 are needed" in photos[2].detail


def test_a_blurred_photo_is_better_than_none(analyser: FaceAnalyser) -> None:
    soft = blurred(shots(0)[1])
    model, photos = build(analyser, soft)
    assert model.photo_count == 1
    assert photos[0].rejection is None


def test_an_engine_is_listed_when_it_takes_a_view(analyser: FaceAnalyser, model: FaceModel, engine: MeshEngine) -> None:
    assert any(takes(engine, view) for view in model.views)
    strict = MeshEngine(analyser.canonical, MeshSettings(limits=replace(LIMITS, max_reference_turn_degrees=0.1)))
    assert not any(takes(strict, view) for view in model.views)


def test_without_a_usable_photo_each_is_told(analyser: FaceAnalyser) -> None:
    plain = np.full((200, 300, 3), 140, dtype=np.uint8)
    with pytest.raises(PhotosUnusable, match=r"photo 0: no face .*; photo 1: it shows 2 faces") as caught:
        build(analyser, plain, side_by_side(drawn(), portrait()))
    assert caught.value.field == "images"


def test_two_photos_of_different_people_make_no_model(analyser: FaceAnalyser) -> None:
    with pytest.raises(PhotosUnusable, match="different people: even photos 0 and 1"):
        build(analyser, portrait(), drawn(17, 512))


def test_outliers_are_taken_out_one_after_the_other() -> None:
    rng = np.random.default_rng(3)
    person = rng.normal(size=64)
    rows = [person + 0.4 * rng.normal(size=64) for _ in range(5)]
    rows[1:1] = [rng.normal(size=64)]
    rows.append(rng.normal(size=64))
    embeddings = np.stack([row / np.linalg.norm(row) for row in rows])
    assert sorted(outliers(embeddings)) == [1, 6]
    assert outliers(embeddings[:1]) == {}


def test_the_median_follows_a_stray_photo_less_than_the_mean_does() -> None:
    rng = np.random.default_rng(4)
    person = rng.normal(size=64)
    rows = np.stack([person + 0.2 * rng.normal(size=64) for _ in range(4)] + [-person * 2])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    truth = person / np.linalg.norm(person)
    mean, median = (average_embedding(rows, average) @ truth for average in (Average.MEAN, Average.MEDIAN))
    assert median > mean


def test_a_view_keeps_the_face_where_it_was(analyser: FaceAnalyser) -> None:
    picture = np.asarray(cv2.resize(portrait(), (1536, 1536), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    (face,) = analyser.analyse(picture)
    view = cut_view(picture, face, analyser.canonical)
    assert np.ptp(view.face.mesh.points[:, 0]) == pytest.approx(384, abs=2)
    assert view.image.shape[0] < 1000
    (again,) = analyser.analyse(view.image)
    assert np.abs(again.mesh.points - view.face.mesh.points)[:, :2].mean() < 3
    assert view.face.pose.largest_difference(face.pose) < 0.5


def test_the_view_nearest_in_pose_is_taken(analyser: FaceAnalyser, engine: MeshEngine) -> None:
    (face,) = analyser.analyse(portrait())
    cut = cut_view(portrait(), face, analyser.canonical)

    def turned(degrees: float) -> View:
        angle = np.radians(degrees)
        rotation = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
        placement = replace(face.placement, rotation=rotation)
        return View(cut.image, replace(cut.face, placement=placement))

    views = (turned(0), turned(20), turned(-10))
    reference = Reference(views, face.embedding)
    assert choose_view(reference, turned(19).face, engine) is views[1]
    assert choose_view(reference, turned(-19).face, engine) is views[1], "its mirror image is near"
    assert choose_view(reference, turned(1).face, engine) is views[0]
    small = replace(face, detection=replace(face.detection, box=np.array([0.0, 0, 20, 20])))
    with pytest.raises(FaceTooSmall):
        choose_view(reference, small, engine)
