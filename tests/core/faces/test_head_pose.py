from __future__ import annotations

import cv2
import numpy as np
import pytest

from core.faces import Face, FaceAnalyser
from core.faces.canonical import load_canonical_face
from core.faces.pose import HeadPose, place_face
from tests.support.faces import portrait

CANONICAL = load_canonical_face()


def turned(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The canonical face turned about its own axes: yaw first, then pitch, then roll."""
    y, x, z = np.radians((-yaw, pitch, roll))
    rotation = np.eye(3)
    for axis, angle in (((0, 1, 0), y), ((1, 0, 0), x), ((0, 0, 1), z)):
        rotation = cv2.Rodrigues(np.array(axis, dtype=float) * angle)[0] @ rotation
    return np.asarray(CANONICAL.points @ rotation.T * 80 + (200, 150, 0))


def test_canonical_face_is_symmetric() -> None:
    mirrored = CANONICAL.points[CANONICAL.mirror] * (-1, 1, 1)
    assert np.allclose(mirrored, CANONICAL.points, atol=1e-5)
    assert (CANONICAL.mirror[CANONICAL.mirror] == np.arange(468)).all()


def test_canonical_face_looks_straight_ahead() -> None:
    pose = place_face(CANONICAL.points * 100, CANONICAL.points).pose
    assert abs(pose.yaw) + abs(pose.pitch) + abs(pose.roll) < 1e-3


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(20, 0, 0), (-35, 0, 0), (0, 15, 0), (0, -20, 0), (0, 0, 30)])
def test_angles_are_read_back(yaw: float, pitch: float, roll: float) -> None:
    pose = place_face(turned(yaw, pitch, roll), CANONICAL.points).pose
    assert np.allclose((pose.yaw, pose.pitch, pose.roll), (yaw, pitch, roll), atol=0.1)


def test_positive_yaw_points_the_nose_to_the_right_of_the_picture() -> None:
    points = turned(25, 0, 0)
    assert points[4, 0] > points[[33, 263], 0].mean()


def test_positive_pitch_points_the_nose_down() -> None:
    level, nodding = turned(0, 0, 0), turned(0, 20, 0)
    assert nodding[4, 1] > level[4, 1]


def test_turn_is_the_angle_to_the_viewer_whatever_the_roll() -> None:
    assert place_face(turned(20, 0, 40), CANONICAL.points).turn_degrees == pytest.approx(20, abs=0.1)
    assert place_face(turned(0, 0, 40), CANONICAL.points).turn_degrees == pytest.approx(0, abs=0.5)


def test_placing_undoes_normalising(face: Face) -> None:
    points = face.mesh.points
    assert np.allclose(face.placement.place(face.placement.normalise(points)), points)


def test_portrait_looks_into_the_camera(face: Face) -> None:
    assert abs(face.pose.yaw) < 6
    assert face.placement.turn_degrees < 15


def test_rolled_picture_has_the_roll(analyser: FaceAnalyser, face: Face) -> None:
    size = portrait().shape[1], portrait().shape[0]
    x, y = face.detection.box[:2] + face.detection.box[2:] / 2
    matrix = cv2.getRotationMatrix2D((float(x), float(y)), -20, 1.0)
    rolled = cv2.warpAffine(portrait(), matrix, size, borderMode=cv2.BORDER_REPLICATE)
    (found,) = analyser.analyse(np.asarray(rolled, dtype=np.uint8), attributes=False)
    assert found.pose.roll - face.pose.roll == pytest.approx(20, abs=3)


POSES = [(0, 0, 0), (25, 10, 0), (-40, -15, 20), (60, 5, -30), (10, 25, 100), (-20, 0, 170)]


@pytest.mark.parametrize(("yaw", "pitch", "roll"), POSES)
@pytest.mark.parametrize("degrees", [30, 90, 180, 270])
def test_turning_a_picture_adds_to_the_roll_alone(yaw: float, pitch: float, roll: float, degrees: float) -> None:
    points = turned(yaw, pitch, roll)
    before = place_face(points, CANONICAL.points).pose
    after = place_face(points @ cv2.Rodrigues(np.array([0, 0, np.radians(degrees)]))[0].T, CANONICAL.points).pose
    assert (after.yaw, after.pitch) == pytest.approx((before.yaw, before.pitch), abs=1e-6)
    assert (after.roll - before.roll - degrees + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("yaw", "pitch", "roll"), POSES)
def test_mirroring_a_picture_changes_the_signs_of_yaw_and_roll_alone(yaw: float, pitch: float, roll: float) -> None:
    points = turned(yaw, pitch, roll)
    before = place_face(points, CANONICAL.points).pose
    after = place_face(points[CANONICAL.mirror] * (-1, 1, 1), CANONICAL.points).pose
    assert (after.yaw, after.pitch, after.roll) == pytest.approx((-before.yaw, before.pitch, -before.roll), abs=0.01)


def test_rolls_on_both_sides_of_upside_down_are_near() -> None:
    assert HeadPose(0, 0, 179).largest_difference(HeadPose(1, 0, -179)) == pytest.approx(2)


def test_mirror_image_of_the_portrait_has_the_opposite_turn(analyser: FaceAnalyser, face: Face) -> None:
    (mirrored,) = analyser.analyse(np.ascontiguousarray(portrait()[:, ::-1]), attributes=False)
    assert mirrored.pose.yaw == pytest.approx(-face.pose.yaw, abs=4)
    assert mirrored.pose.roll == pytest.approx(-face.pose.roll, abs=4)
    assert mirrored.pose.pitch == pytest.approx(face.pose.pitch, abs=4)
