"""The shape of the mesh engine's face, and the outline that the target is bent to."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from core.faces import Face, FaceAnalyser, landmarks
from core.faces.arrays import FloatArray
from core.faces.expression import eye_openness, mouth_curve, mouth_openness
from core.faces.pose import place_face
from services.faceswap.engines.masks import fill
from services.faceswap.engines.outline import REACH, bend_outline
from services.faceswap.engines.shape import ShapeModel, ShapeSettings, blend_shape, eyes_closed
from tests.support.faces import BARE, drawn


@pytest.mark.parametrize("index", BARE[:5])
def test_shape_keeps_the_openness_of_mouth_and_eyes(analyser: FaceAnalyser, reference: Face, index: int) -> None:
    (target,) = analyser.analyse(drawn(index), attributes=False)
    model = ShapeModel.of(analyser.canonical)
    settings = ShapeSettings()
    shape = blend_shape(
        target.mesh.points, target.placement, reference.mesh.points, reference.placement, model, settings
    )
    assert mouth_openness(shape) == pytest.approx(target.mouth_openness, abs=0.02)
    assert eye_openness(shape) == pytest.approx(target.eye_openness, abs=0.04)


@pytest.mark.parametrize("factor", [0.8, 0.2])
def test_lids_keep_a_part_of_the_references_form_unless_its_eyes_are_closed(
    analyser: FaceAnalyser, reference: Face, factor: float
) -> None:
    target = reference.mesh.points
    narrowed = with_gap(target, (*landmarks.RIGHT_LIDS, *landmarks.LEFT_LIDS), factor)
    placement = reference.placement
    model = ShapeModel.of(analyser.canonical)
    shape = blend_shape(target, placement, narrowed, placement, model, ShapeSettings(keep_lids=0.5))
    change = (eye_openness(target) - eye_openness(shape)) / (eye_openness(target) - eye_openness(narrowed))
    assert change == pytest.approx(0.5 if factor > 0.5 else 0.0, abs=0.05)


def with_gap(points: FloatArray, lids: tuple[tuple[int, int], ...], factor: float) -> FloatArray:
    """The mesh with the gap between these lids times `factor`."""
    moved = points.copy()
    for upper, lower in lids:
        middle = points[[upper, lower]].mean(axis=0)
        moved[[upper, lower]] = middle + factor * (points[[upper, lower]] - middle)
    return moved


def test_narrow_eyes_beside_a_wide_look_are_not_closed(reference: Face) -> None:
    points = reference.mesh.points
    lids = (*landmarks.RIGHT_LIDS, *landmarks.LEFT_LIDS)
    wide, narrow = with_gap(points, lids, 1.6), with_gap(points, lids, 0.7)
    assert eye_openness(narrow) < 0.5 * eye_openness(wide)
    assert not eyes_closed(wide, narrow, ShapeSettings())
    assert eyes_closed(wide, with_gap(points, lids, 0.3), ShapeSettings())


def test_one_closed_eye_counts_for_both(analyser: FaceAnalyser, reference: Face) -> None:
    target = reference.mesh.points
    winking = with_gap(target, landmarks.LEFT_LIDS, 0.1)
    assert eyes_closed(target, winking, ShapeSettings())
    placement, model = reference.placement, ShapeModel.of(analyser.canonical)
    shape = blend_shape(target, placement, winking, placement, model, ShapeSettings())
    assert eye_openness(shape) == pytest.approx(eye_openness(target), abs=0.01)


@pytest.mark.parametrize("index", BARE[:4])
def test_shape_bends_the_mouth_back_to_the_targets_curve(analyser: FaceAnalyser, reference: Face, index: int) -> None:
    (target,) = analyser.analyse(drawn(index), attributes=False)
    model = ShapeModel.of(analyser.canonical)

    def curve(keep: float) -> float:
        shape = blend_shape(
            target.mesh.points,
            target.placement,
            reference.mesh.points,
            reference.placement,
            model,
            ShapeSettings(keep_curve=keep),
        )
        return mouth_curve(target.placement.normalise(shape))

    carried = curve(0) - target.mouth_curve
    assert abs(curve(1) - target.mouth_curve) < 0.01
    assert curve(0.5) - target.mouth_curve == pytest.approx(carried / 2, abs=0.01)


def test_shape_keeps_pose_and_outline(analyser: FaceAnalyser, reference: Face) -> None:
    (target,) = analyser.analyse(drawn(), attributes=False)
    model = ShapeModel.of(analyser.canonical)
    settings = ShapeSettings()
    shape = blend_shape(
        target.mesh.points, target.placement, reference.mesh.points, reference.placement, model, settings
    )
    moves = np.linalg.norm(shape - target.mesh.points, axis=1)
    outline = np.array(landmarks.OVAL)
    above = model.jaw[outline] == 0
    assert above.any()
    assert np.allclose(moves[outline[above]], 0, atol=0.01 * target.width)
    assert 0.01 * target.width < moves[outline[~above]].max() < 1.05 * settings.jaw_limit * target.width
    assert place_face(shape, analyser.canonical.points).pose.largest_difference(target.pose) < 2
    moved = np.linalg.norm(shape - target.mesh.points, axis=1)
    assert moved.max() > 0.02 * target.width


def test_reference_that_nods_is_tilted_towards_the_targets_pose(analyser: FaceAnalyser, reference: Face) -> None:
    canonical = analyser.canonical
    target = reference.mesh.points
    rotation = cv2.Rodrigues(np.array([np.radians(15.0), 0.0, 0.0]))[0]
    middle = target.mean(axis=0)
    nodding = (target - middle) @ rotation.T + middle
    placement = place_face(nodding, canonical.points)
    difference = reference.pose.pitch - placement.pose.pitch
    assert abs(difference) == pytest.approx(15, abs=0.5)

    def pitch(nod: float) -> float:
        settings = ShapeSettings(nod=nod, keep_curve=0)
        shape = blend_shape(target, reference.placement, nodding, placement, ShapeModel.of(canonical), settings)
        return place_face(shape, canonical.points).pose.pitch - reference.pose.pitch

    assert abs(pitch(0)) < 0.1
    # Forehead and outline stay, so the inner part alone is tilted.
    assert pitch(0.2) * np.sign(difference) > 0.5


def outline_meshes(jaw: float) -> tuple[FloatArray, FloatArray]:
    """A round face of 200 pixels, and the same with its lower half this much wider."""
    points = np.zeros((landmarks.POINTS, 3))
    points[:, :2] = 200
    angles = np.linspace(0, 2 * np.pi, len(landmarks.OVAL), endpoint=False)
    points[list(landmarks.OVAL), :2] = 200 + 100 * np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    moved = points.copy()
    lower = moved[:, 1] > 210
    moved[lower, 0] = 200 + (moved[lower, 0] - 200) * (1 + jaw)
    return points, moved


@pytest.mark.parametrize("jaw", [-0.06, 0.06])
def test_target_is_bent_so_that_its_jaw_lies_on_the_new_outline(jaw: float) -> None:
    before, after = outline_meshes(jaw)
    picture = np.repeat((fill(before, landmarks.OVAL, (400, 400)) * 255).astype(np.uint8)[..., None], 3, axis=2)
    bent = bend_outline(picture, before, after, 200)
    wanted = fill(after, landmarks.OVAL, (400, 400)) * 255
    row = 250
    assert abs(int((bent.pixels[row, :, 0] > 127).sum()) - int((wanted[row] > 127).sum())) <= 2
    outline = list(landmarks.OVAL)
    assert np.array_equal(bent.points[outline], after[outline])
    assert np.array_equal(bent.pixels[:130], picture[:130])


def test_bending_leaves_what_is_far_from_the_outline_as_it_is() -> None:
    before, after = outline_meshes(0.06)
    picture = np.random.default_rng(4).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    bent = bend_outline(picture, before, after, 200)
    line = 1 - cv2.polylines(
        np.zeros((400, 400), np.uint8), [after[list(landmarks.OVAL), :2].astype(np.int32)], True, 1
    )
    far = cv2.distanceTransform(line, cv2.DIST_L2, 5) > (REACH + 0.03) * 200
    assert np.array_equal(bent.pixels[far], picture[far])
    assert (bent.pixels[~far] != picture[~far]).any()
    assert np.array_equal(bent.points[landmarks.NOSE_TIP], before[landmarks.NOSE_TIP])


def test_same_outline_bends_nothing() -> None:
    before, _ = outline_meshes(0.0)
    picture = np.zeros((400, 400, 3), np.uint8)
    bent = bend_outline(picture, before, before, 200)
    assert bent.pixels is picture
    assert bent.points is before


def test_shape_without_strength_is_the_targets(analyser: FaceAnalyser, reference: Face) -> None:
    (target,) = analyser.analyse(drawn(), attributes=False)
    model = ShapeModel.of(analyser.canonical)
    settings = ShapeSettings(strength=0, keep_curve=0)
    shape = blend_shape(
        target.mesh.points, target.placement, reference.mesh.points, reference.placement, model, settings
    )
    assert np.allclose(shape, target.mesh.points)
