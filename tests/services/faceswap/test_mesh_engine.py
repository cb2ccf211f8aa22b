from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from core.faces import Face, FaceAnalyser, identity_score, landmarks
from core.faces.arrays import Image
from core.faces.detector import Detection
from core.faces.pose import place_face
from likeness.errors import FaceTooSmall, FaceTurnedTooFar
from services.faceswap.engines.colour import to_lab
from services.faceswap.engines.masks import features, fill, inner_oval
from services.faceswap.engines.mesh import MeshEngine, MeshSettings
from services.faceswap.engines.occluders import find_occluders
from services.faceswap.engines.outline import REACH
from services.faceswap.engines.shape import ShapeSettings
from tests.support.faces import BARE, BESPECTACLED, drawn, group_photo, portrait


def only_face(analyser: FaceAnalyser, image: Image) -> Face:
    (found,) = analyser.analyse(image, attributes=False)
    return found


def looking(face: Face, yaw: float, analyser: FaceAnalyser) -> Face:
    """The same face, its mesh turned."""
    rotation = cv2.Rodrigues(np.array([0.0, -np.radians(yaw), 0.0]))[0]
    middle = face.mesh.points.mean(axis=0)
    points = (face.mesh.points - middle) @ rotation.T + middle
    mesh = dataclasses.replace(face.mesh, points=points)
    return dataclasses.replace(face, mesh=mesh, placement=place_face(points, analyser.canonical.points))


def test_result_looks_like_the_reference_and_keeps_the_target(
    analyser: FaceAnalyser, engine: MeshEngine, reference: Face
) -> None:
    before, after, seams, poses, mouths, eyes = [], [], [], [], [], []
    for index in BARE:
        image = drawn(index)
        target = only_face(analyser, image)
        result = engine.swap(image, target, portrait(), reference)
        face = analyser.analyse_again(result.image, target)
        assert face is not None
        before.append(identity_score(target.embedding, reference.embedding))
        after.append(identity_score(face.embedding, reference.embedding))
        seams.append(result.seam_ratio)
        poses.append(face.pose.largest_difference(target.pose))
        mouths.append(abs(face.mouth_openness - target.mouth_openness))
        eyes.append(abs(face.eye_openness - target.eye_openness))
    assert np.mean(before) < 0.15
    assert np.mean(after) > 0.5
    assert min(after) > 0.4
    assert 0.8 < np.mean(seams) < 1.25
    assert np.mean(poses) < 4
    assert np.mean(mouths) < 0.05
    assert np.mean(eyes) < 0.06


def test_group_photo_faces_that_look_into_the_camera_carry_over(analyser: FaceAnalyser, engine: MeshEngine) -> None:
    photo = group_photo()
    if photo is None:
        pytest.skip("the insightface package is not installed")
    scores, refused = [], 0
    targets = [(drawn(index), only_face(analyser, drawn(index))) for index in BARE[:4]]
    for face in analyser.analyse(photo, attributes=False):
        try:
            for image, target in targets:
                after = analyser.analyse_again(engine.swap(image, target, photo, face).image, target)
                assert after is not None
                scores.append(identity_score(after.embedding, face.embedding))
        except FaceTurnedTooFar:
            refused += 1
    assert refused <= 3
    assert np.mean(scores) > 0.4
    assert min(scores) > 0.25


def test_nothing_changes_outside_the_region(analyser: FaceAnalyser, engine: MeshEngine, reference: Face) -> None:
    image = drawn()
    result = engine.swap(image, only_face(analyser, image), portrait(), reference)
    changed = (result.image != image).any(axis=2)
    assert changed.any()
    changed[result.region.rows, result.region.columns] = False
    assert not changed.any()


def test_outside_the_oval_only_what_is_near_the_jaw_gives_way(
    analyser: FaceAnalyser, engine: MeshEngine, reference: Face
) -> None:
    image = drawn()
    target = only_face(analyser, image)
    changed = (engine.swap(image, target, portrait(), reference).image != image).any(axis=2)
    oval = fill(target.mesh.points, landmarks.OVAL, (image.shape[0], image.shape[1]))
    width = float(np.ptp(target.mesh.points[:, 0]))
    distance = cv2.distanceTransform((oval == 0).astype(np.uint8), cv2.DIST_L2, 5)
    assert not changed[distance > (REACH + 0.03) * width].any()
    above = np.zeros_like(changed)
    above[: int(target.mesh.points[landmarks.NOSE_BRIDGE, 1] - 0.15 * width)] = True
    assert not changed[above & (distance > 3)].any()


def test_outline_stays_when_the_jaw_does(analyser: FaceAnalyser, reference: Face) -> None:
    image = drawn()
    target = only_face(analyser, image)
    engine = MeshEngine(analyser.canonical, MeshSettings(shape=ShapeSettings(jaw=0)))
    changed = (engine.swap(image, target, portrait(), reference).image != image).any(axis=2)
    oval = fill(target.mesh.points, landmarks.OVAL, (image.shape[0], image.shape[1]))
    assert not changed[cv2.dilate(oval, np.ones((5, 5))) == 0].any()


def test_inputs_stay_as_they_are_and_the_result_is_the_same_every_time(
    analyser: FaceAnalyser, engine: MeshEngine, reference: Face
) -> None:
    image = drawn().copy()
    source = portrait().copy()
    target = only_face(analyser, image)
    first = engine.swap(image, target, source, reference).image
    second = engine.swap(image, target, source, reference).image
    assert np.array_equal(first, second)
    assert np.array_equal(image, drawn())
    assert np.array_equal(source, portrait())


@pytest.mark.parametrize("index", BARE[:6])
def test_skin_keeps_the_targets_tone(analyser: FaceAnalyser, engine: MeshEngine, reference: Face, index: int) -> None:
    image = drawn(index)
    target = only_face(analyser, image)
    result = engine.swap(image, target, portrait(), reference).image
    size, width = (image.shape[0], image.shape[1]), float(np.ptp(target.mesh.points[:, 0]))
    skin = (
        inner_oval(target.mesh.points, size, width, 0.05, 0.05) * (1 - features(target.mesh.points, size, width)) > 0.5
    )
    before, after = (to_lab(picture)[skin].mean(axis=0) for picture in (image, result))
    assert np.linalg.norm(after - before) < 5


def test_fringe_of_the_reference_stays_away(analyser: FaceAnalyser, engine: MeshEngine, reference: Face) -> None:
    image = drawn(14)
    target = only_face(analyser, image)
    result = engine.swap(image, target, portrait(), reference).image
    forehead = fill(target.mesh.points, (109, 10, 338, 337, 151, 108), (image.shape[0], image.shape[1]), hull=True)
    before, after = (to_lab(picture)[forehead > 0] for picture in (image, result))
    assert np.linalg.norm(after.mean(axis=0) - before.mean(axis=0)) < 6


def test_target_keeps_its_glasses(analyser: FaceAnalyser, engine: MeshEngine, reference: Face) -> None:
    image = drawn(BESPECTACLED[0])
    target = only_face(analyser, image)
    size = (image.shape[0], image.shape[1])
    width = float(np.ptp(target.mesh.points[:, 0]))
    frame = find_occluders(to_lab(image), target.mesh.points, size, width).glasses > 0.9
    assert frame.any()
    without = MeshEngine(analyser.canonical, MeshSettings(keep_glasses=False))
    kept, lost = (each.swap(image, target, portrait(), reference).image for each in (engine, without))
    assert abs(kept[frame].astype(int) - image[frame]).mean() < 6
    assert abs(lost[frame].astype(int) - image[frame]).mean() > 25


def test_face_at_the_border_of_the_picture_is_swapped(
    analyser: FaceAnalyser, engine: MeshEngine, reference: Face
) -> None:
    image = drawn(18)
    face = only_face(analyser, image)
    cut = np.ascontiguousarray(image[:, int(face.mesh.points[:, 0].min() + 0.15 * face.width) :])
    target = only_face(analyser, cut)
    result = engine.swap(cut, target, portrait(), reference)
    assert result.region.left == 0
    assert result.image.shape == cut.shape


def test_reference_turned_the_other_way_is_mirrored(
    analyser: FaceAnalyser, engine: MeshEngine, reference: Face
) -> None:
    image = drawn(18)
    target = only_face(analyser, image)
    side = 1 if target.pose.yaw <= 0 else -1
    result = engine.swap(
        image, looking(target, -14 * side, analyser), portrait(), looking(reference, 14 * side, analyser)
    )
    assert any("mirrored" in warning for warning in result.warnings)


def test_reference_in_profile_is_refused_with_its_angles(
    analyser: FaceAnalyser, engine: MeshEngine, reference: Face
) -> None:
    target = only_face(analyser, drawn())
    with pytest.raises(FaceTurnedTooFar, match=r"yaw 4\d°, pitch -?\d+°") as caught:
        engine.check(looking(reference, 45, analyser), target)
    assert caught.value.field == "reference_image"
    assert caught.value.metadata["max_degrees"] == "25"


def test_target_in_profile_is_refused_with_both_poses(
    analyser: FaceAnalyser, engine: MeshEngine, reference: Face
) -> None:
    target = looking(only_face(analyser, drawn(18)), 55, analyser)
    with pytest.raises(FaceTurnedTooFar, match="turned too far from the target's") as caught:
        engine.check(reference, target)
    assert caught.value.field == "target_image"


def test_small_faces_are_refused_with_their_sizes(analyser: FaceAnalyser, engine: MeshEngine, reference: Face) -> None:
    target = only_face(analyser, drawn())

    def shrunk(face: Face, width: float) -> Face:
        box = np.array([0, 0, width, width])
        return dataclasses.replace(face, detection=Detection(box, face.detection.key_points, 0.9))

    with pytest.raises(FaceTooSmall, match="40 pixels wide, at least 48") as caught:
        engine.check(shrunk(reference, 40), target)
    assert caught.value.field == "reference_image"
    with pytest.raises(FaceTooSmall, match="20 pixels wide, at least 24") as caught:
        engine.check(reference, shrunk(target, 20))
    assert caught.value.field == "target_image"
