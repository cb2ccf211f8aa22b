from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from core.faces import Face, FaceAnalyser, FaceOrder, Gender, identity_score
from core.faces.expression import eye_openness, mouth_openness
from tests.support.faces import drawn, group_photo, portrait, side_by_side


@pytest.fixture(scope="module")
def group(analyser: FaceAnalyser) -> list[Face]:
    return analyser.analyse(side_by_side(drawn(2), portrait(), drawn(7)), attributes=False)


def middles(faces: list[Face], axis: int) -> list[float]:
    return [float(face.detection.box[axis] + face.detection.box[axis + 2] / 2) for face in faces]


def test_pictures_without_people_have_no_face(analyser: FaceAnalyser) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (180, 256, 3)).copy()
    for image in (noise, ramp, np.zeros((64, 64, 3), dtype=np.uint8)):
        assert analyser.analyse(image) == []


def test_attributes_of_the_portrait(face: Face) -> None:
    assert face.attributes is not None
    assert face.attributes.gender is Gender.FEMALE
    assert 0.5 <= face.attributes.gender_score <= 1
    assert 20 < face.attributes.age_years < 50


def test_attributes_are_left_out_when_not_asked_for(group: list[Face]) -> None:
    assert all(face.attributes is None for face in group)


def test_smile_and_open_eyes_are_measured(face: Face) -> None:
    assert face.mouth_openness > 0.08
    assert face.eye_openness > 0.2
    shut = face.mesh.points.copy()
    shut[14] = shut[13]
    assert mouth_openness(shut) == 0
    assert eye_openness(face.mesh.points) == face.eye_openness


@pytest.mark.parametrize("order", list(FaceOrder))
def test_every_order_holds_all_faces(analyser: FaceAnalyser, order: FaceOrder) -> None:
    image = side_by_side(drawn(2), portrait(), drawn(7))
    assert len(analyser.analyse(image, order=order, attributes=False)) == 3


def test_orders_sort(analyser: FaceAnalyser) -> None:
    image = side_by_side(drawn(2), portrait(), drawn(7))

    def faces(order: FaceOrder) -> list[Face]:
        return analyser.analyse(image, order=order, attributes=False)

    assert middles(faces(FaceOrder.LEFT_TO_RIGHT), 0) == sorted(middles(faces(FaceOrder.RIGHT_TO_LEFT), 0))
    assert middles(faces(FaceOrder.TOP_TO_BOTTOM), 1) == sorted(middles(faces(FaceOrder.BOTTOM_TO_TOP), 1))
    widths = [face.width for face in faces(FaceOrder.LARGE_TO_SMALL)]
    assert widths == sorted(widths, reverse=True)
    assert widths[::-1] == [face.width for face in faces(FaceOrder.SMALL_TO_LARGE)]
    scores = [face.detection.score for face in faces(FaceOrder.BEST_SCORE)]
    assert scores == sorted(scores, reverse=True)


def test_mirror_image_is_the_same_person(analyser: FaceAnalyser, face: Face) -> None:
    (mirrored,) = analyser.analyse(np.ascontiguousarray(portrait()[:, ::-1]), attributes=False)
    assert identity_score(face.embedding, mirrored.embedding) > 0.8
    assert mirrored.pose.yaw == pytest.approx(-face.pose.yaw, abs=4)


def test_brightness_does_not_change_identity(analyser: FaceAnalyser, face: Face) -> None:
    (dim,) = analyser.analyse((portrait() * 0.7).astype(np.uint8), attributes=False)
    assert identity_score(face.embedding, dim.embedding) > 0.8


def test_strangers_are_told_apart(group: list[Face]) -> None:
    for index, face in enumerate(group):
        for other in group[index + 1 :]:
            assert identity_score(face.embedding, other.embedding) < 0.45


def test_sharpness_falls_with_blur(analyser: FaceAnalyser, face: Face) -> None:
    blurred = np.asarray(cv2.GaussianBlur(portrait(), (0, 0), 4), dtype=np.uint8)
    (found,) = analyser.analyse(blurred, attributes=False)
    assert face.sharpness > 100
    assert found.sharpness < 30


def test_face_is_found_again_where_it_was(analyser: FaceAnalyser, group: list[Face]) -> None:
    image = side_by_side(drawn(2), portrait(), drawn(7))
    for face in group:
        again = analyser.analyse_again(image, face)
        assert again is not None
        assert identity_score(again.embedding, face.embedding) > 0.95


def test_face_that_is_gone_is_not_found_again(analyser: FaceAnalyser, group: list[Face]) -> None:
    image = side_by_side(drawn(2), portrait(), drawn(7)).copy()
    x, y, width, height = (int(value) for value in group[0].detection.box)
    image[max(0, y - height) : y + 2 * height, max(0, x - width // 2) : x + width + width // 2] = 127
    assert analyser.analyse_again(image, group[0]) is None


def test_threads_share_an_analyser_without_mixing_faces(analyser: FaceAnalyser) -> None:
    images = [portrait(), drawn(2), drawn(7), drawn(8)]
    alone = [analyser.analyse(image, attributes=False)[0].mesh.points for image in images]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda image: analyser.analyse(image, attributes=False)[0].mesh.points, images * 3))
    for index, points in enumerate(results):
        assert np.array_equal(points, alone[index % len(images)])


def test_group_photo_has_six_faces(analyser: FaceAnalyser) -> None:
    photo = group_photo()
    if photo is None:
        pytest.skip("the insightface package is not installed")
    faces = analyser.analyse(photo, order=FaceOrder.LEFT_TO_RIGHT)
    genders = [face.attributes.gender for face in faces if face.attributes is not None]
    female, male = Gender.FEMALE, Gender.MALE
    assert genders == [female, female, male, male, male, female]
