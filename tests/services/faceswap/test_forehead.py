"""The reference's fringe stays away from the target's forehead, and the brows stay whole."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from core.faces import Face, FaceAnalyser, landmarks
from core.faces.arrays import FloatArray, Image
from services.faceswap.engines.colour import to_lab
from services.faceswap.engines.masks import blur, erode, fill, forehead
from services.faceswap.engines.mesh import MeshEngine
from services.faceswap.engines.occluders import find_hair, hanging_hair
from tests.support.faces import drawn, portrait

BARE_FOREHEAD = (2, 10, 14, 18)
"""Drawn people with nothing over their foreheads."""
DARK, BROWN, FAIR = (40, 30, 25), (120, 80, 45), (200, 170, 110)
_MIDDLE = (109, 10, 338, 337, 151, 108)


def only_face(analyser: FaceAnalyser, image: Image) -> Face:
    (found,) = analyser.analyse(image, attributes=False)
    return found


def with_fringe(image: Image, face: Face, colour: tuple[int, int, int], seed: int = 3) -> Image:
    """The picture with strands from above the head down to over half of the forehead."""
    points, rng = face.mesh.points, np.random.default_rng(seed)
    width = float(np.ptp(points[:, 0]))
    top, brows = points[landmarks.FOREHEAD_TOP, 1], points[[105, 334, 107, 336], 1].min()
    picture = image.copy()
    for across in np.linspace(points[54, 0] - 0.1 * width, points[284, 0] + 0.1 * width, 120):
        ends = (
            (across, top - 0.25 * width),
            (across + rng.normal(0, 0.01 * width), top + (brows - top) * rng.uniform(0.45, 0.7)),
        )
        start, end = (np.rint(np.array(place) * 8).astype(int).tolist() for place in ends)
        strand = np.clip(np.array(colour) * rng.uniform(0.7, 1.3), 0, 255).tolist()
        cv2.line(picture, start, end, strand, max(1, int(0.025 * width)), cv2.LINE_AA, 3)
    return picture


def middle_of_forehead(face: Face, image: Image) -> FloatArray:
    return fill(face.mesh.points, _MIDDLE, (image.shape[0], image.shape[1]), hull=True)


def differ(one: Image, other: Image, where: FloatArray) -> float:
    """Mean difference in gray levels."""
    return float(np.abs(one.astype(int) - other)[where > 0].mean())


def brow_contrast(image: Image, face: Face) -> float:
    """How much darker, in Lab, the brows are than the skin just above them."""
    lightness, size = to_lab(image)[..., 0], (image.shape[0], image.shape[1])
    up = 0.09 * (face.mesh.points[landmarks.FOREHEAD_TOP] - face.mesh.points[landmarks.CHIN])
    contrasts = []
    for brow in (landmarks.RIGHT_BROW, landmarks.LEFT_BROW):
        hair = fill(face.mesh.points, brow, size, hull=True) > 0
        skin = fill(face.mesh.points + up, brow, size, hull=True) > 0
        contrasts.append(np.median(lightness[skin]) - np.percentile(lightness[hair], 20))
    return float(min(contrasts))


@pytest.mark.parametrize("colour", [DARK, BROWN, FAIR])
def test_bare_forehead_does_not_show_whether_the_reference_wears_a_fringe(
    analyser: FaceAnalyser, engine: MeshEngine, reference: Face, colour: tuple[int, int, int]
) -> None:
    picture = with_fringe(portrait(), reference, colour)
    fringed = analyser.analyse_again(picture, reference)
    assert fringed is not None
    for index in BARE_FOREHEAD[:3]:
        image = drawn(index)
        target = only_face(analyser, image)
        forehead = middle_of_forehead(target, image)
        without = engine.swap(image, target, portrait(), reference).image
        result = engine.swap(image, target, picture, fringed).image
        assert differ(result, without, forehead) < 3
        assert differ(result, image, forehead) < 2


@pytest.mark.parametrize("index", BARE_FOREHEAD)
def test_edge_of_the_references_own_fringe_leaves_no_stripe(
    analyser: FaceAnalyser, engine: MeshEngine, reference: Face, index: int
) -> None:
    image = drawn(index)
    target = only_face(analyser, image)
    forehead = erode(middle_of_forehead(target, image), 2)
    result = engine.swap(image, target, portrait(), reference).image
    before, after = (
        float(np.abs(np.diff(blur(to_lab(picture)[..., 0], 1.0), axis=0))[forehead[1:] > 0].max())
        for picture in (image, result)
    )
    assert after < before + 0.3
    assert differ(result, image, forehead) < 3.5


@pytest.mark.parametrize("index", BARE_FOREHEAD)
def test_brows_stay_whole_under_a_forehead_that_is_the_targets(
    analyser: FaceAnalyser, engine: MeshEngine, reference: Face, index: int
) -> None:
    image = drawn(index)
    target = only_face(analyser, image)
    picture = with_fringe(portrait(), reference, DARK)
    result = engine.swap(image, target, picture, reference).image
    after = analyser.analyse_again(result, target)
    assert after is not None
    assert brow_contrast(result, after) > 8


@pytest.mark.parametrize("index", BARE_FOREHEAD[:3])
def test_brow_that_the_mesh_misses_does_not_stay(
    analyser: FaceAnalyser, engine: MeshEngine, reference: Face, index: int
) -> None:
    plain = drawn(index)
    target = only_face(analyser, plain)
    image, where = plain.copy(), np.zeros(plain.shape[:2], dtype=np.float32)
    for brow in (landmarks.RIGHT_BROW, landmarks.LEFT_BROW):
        stroke = target.mesh.points[list(brow)[:5], :2] - (0, 0.09 * target.width)
        line = [np.rint(stroke * 8).astype(np.int32)]
        cv2.polylines(image, line, False, (60, 40, 30), 2, cv2.LINE_AA, 3)
        cv2.polylines(where, line, False, 1, 2, cv2.LINE_8, 3)
    result = engine.swap(image, target, portrait(), reference).image
    without = engine.swap(plain, target, portrait(), reference).image
    assert differ(result, without, where) < 0.2 * differ(image, plain, where)


def test_fringe_is_found_and_a_bare_forehead_is_not(analyser: FaceAnalyser) -> None:
    for index in BARE_FOREHEAD:
        bare = drawn(index)
        face = only_face(analyser, bare)
        size, width = (bare.shape[0], bare.shape[1]), float(np.ptp(face.mesh.points[:, 0]))
        middle = middle_of_forehead(face, bare) > 0
        whole = forehead(face.mesh.points, size, width, beyond=0.1)
        shares = []
        for picture in (bare, with_fringe(bare, face, DARK)):
            hair = find_hair(to_lab(picture), face.mesh.points, size, width)
            shares.append(float(hanging_hair(hair, whole, 0.09 * width, 0.06 * width)[middle].mean()))
        assert shares[0] < 0.2
        assert shares[1] > 0.9
