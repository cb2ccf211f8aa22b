from __future__ import annotations

import numpy as np

from core.faces import Face, FaceAnalyser, landmarks
from core.faces.mesh import FaceCrop, FaceMesher, warp_antialiased
from tests.support.faces import portrait
from weights.recipe.draw import draw
from weights.recipe.people import sample_person, sample_shot


def test_crop_maps_its_middle_and_its_size() -> None:
    crop = FaceCrop((40.0, 30.0), 20.0, 0.0)
    matrix = crop.matrix(10)
    assert np.allclose(matrix @ (40, 30, 1), (4.5, 4.5))
    assert np.allclose(matrix @ (42, 30, 1), (5.5, 4.5))


def test_crop_turns_with_its_roll() -> None:
    matrix = FaceCrop((0.0, 0.0), 10.0, np.pi / 2).matrix(11)
    assert np.allclose(matrix @ (0, 1, 1), (6.1, 5.0))


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    matrix = np.array([[0.125, 0, 0], [0, 0.125, 0]])
    small = warp_antialiased(stripes, matrix, 24)
    assert abs(small.astype(int) - 127).max() <= 2


def test_shrinking_keeps_places() -> None:
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    image[100:108, 60:68] = 255
    small = warp_antialiased(image, np.array([[0.25, 0, -0.375], [0, 0.25, -0.375]]), 50)
    y, x = np.argwhere(small[:, :, 0] > 200).mean(axis=0)
    assert abs(x - 15.5) < 0.1
    assert abs(y - 25.5) < 0.1


def test_mesh_lies_on_the_face(face: Face) -> None:
    points = face.mesh.points
    assert face.mesh.presence > 0.9
    box = face.detection.box
    assert (points[:, :2] > box[:2] - 0.4 * box[2:]).all()
    assert (points[:, :2] < box[:2] + 1.4 * box[2:]).all()
    assert points[landmarks.NOSE_TIP, 2] < points[landmarks.RIGHT_EYE_CORNERS[0], 2]
    assert points[landmarks.RIGHT_EYE_CORNERS[0], 0] < points[landmarks.LEFT_EYE_CORNERS[0], 0]
    assert points[landmarks.LIP_UPPER, 1] < points[landmarks.LIP_LOWER, 1]


def test_mesh_moves_with_the_picture(analyser: FaceAnalyser, face: Face) -> None:
    moved = np.pad(portrait(), ((40, 0), (25, 0), (0, 0)), mode="edge")
    (found,) = analyser.analyse(np.ascontiguousarray(moved), attributes=False)
    difference = found.mesh.points[:, :2] - face.mesh.points[:, :2] - (25, 40)
    assert np.linalg.norm(difference, axis=1).mean() < 0.02 * face.width


def test_a_face_past_the_windows_border_is_fitted_in_a_wider_one() -> None:
    generator = np.random.default_rng((9, 5))
    person = sample_person(generator)
    image = draw(person, sample_shot(generator, person), (256, 256))
    (face,) = FaceAnalyser().analyse(image, attributes=False)
    box = face.mesh.box
    mesher = FaceMesher()
    for share in np.arange(0.8, 0.9, 0.01):
        tight = FaceCrop((box[0] + box[2] / 2, box[1] + box[3] / 2), float(share) * max(box[2:]), 0.0)
        mesh = mesher.fit(image, tight)
        assert mesh.presence > 0.9
        assert np.linalg.norm((mesh.points - face.mesh.points)[:, :2], axis=1).mean() < 0.05 * face.width


def test_refined_points_name_every_point_once() -> None:
    for refined, count in (
        (landmarks.LIPS_REFINED, 80),
        (landmarks.RIGHT_EYE_REFINED, 71),
        (landmarks.LEFT_EYE_REFINED, 71),
    ):
        assert len(refined) == len(set(refined)) == count
