"""What lies over the target's cheeks stays; its beard does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from core.faces import Face, FaceAnalyser, landmarks
from core.faces.arrays import FloatArray, Image
from services.faceswap.engines.cheeks import find_over_cheeks
from services.faceswap.engines.colour import to_lab
from services.faceswap.engines.masks import blur, erode, fill
from services.faceswap.engines.mesh import MeshEngine
from tests.support.faces import BARE, drawn, portrait

BEARDED = 50
"""A drawn man with a full dark beard and glasses."""
LONG_HAIR = 98
"""A drawn woman whose dark curls lie over one cheek."""


def only_face(analyser: FaceAnalyser, image: Image) -> Face:
    (found,) = analyser.analyse(image, attributes=False)
    return found


def with_hair(image: Image, face: Face, seed: int = 3) -> tuple[Image, FloatArray]:
    """Dark hair that hangs from beside the eye over the left cheek to below the jaw, and where it is drawn."""
    points, rng = face.mesh.points, np.random.default_rng(seed)
    width = float(np.ptp(points[:, 0]))
    temple, chin = points[454, :2], points[landmarks.CHIN, :2]
    picture, mask = image.copy(), np.zeros(image.shape[:2], dtype=np.uint8)
    along = np.linspace(0, 1, 40)[:, None]
    for _ in range(160):
        share = rng.uniform(0, 1)
        stops = (
            temple + width * np.array([0.02 + 0.2 * share, -0.45]),
            temple + width * np.array([-0.32 + 0.55 * share, 0.2]),
            np.array([temple[0] + (-0.12 + 0.4 * share) * width, chin[1] + 0.2 * width]),
        )
        curve = (1 - along) ** 2 * stops[0] + 2 * along * (1 - along) * stops[1] + along**2 * stops[2]
        line = [np.rint(curve * 8).astype(np.int32)]
        colour = (np.array([60.0, 40.0, 30.0]) * rng.uniform(0.8, 1.2)).tolist()
        thickness = max(1, int(0.02 * width))
        cv2.polylines(picture, line, False, colour, thickness, cv2.LINE_AA, 3)
        cv2.polylines(mask, line, False, 1, thickness, cv2.LINE_8, 3)
    return picture, mask.astype(np.float32)


def with_hand(image: Image, face: Face, colour: tuple[int, int, int]) -> tuple[Image, FloatArray]:
    """Four fingers of a hand held against the right cheek from beside the face, and where they are drawn."""
    points = face.mesh.points
    width = float(np.ptp(points[:, 0]))
    ear = points[234, :2]
    picture, mask = image.copy(), np.zeros(image.shape[:2], dtype=np.uint8)
    dark = [0.75 * value for value in colour]
    for reach, height in ((0.30, 0.18), (0.32, 0.27), (0.29, 0.36), (0.22, 0.44)):
        ends = [ear + width * np.array(place) for place in ((-0.2, height + 0.1), (reach, height))]
        start, end = (np.rint(place).astype(int).tolist() for place in ends)
        cv2.line(picture, start, end, dark, int(0.10 * width), cv2.LINE_AA)
        cv2.line(picture, start, end, colour, int(0.08 * width), cv2.LINE_AA)
        cv2.line(mask, start, end, 1, int(0.08 * width))
    return picture, mask.astype(np.float32)


def things(image: Image, face: Face) -> FloatArray:
    lab = blur(to_lab(image), 1.0)
    return find_over_cheeks(lab, face.mesh.points, float(np.ptp(face.mesh.points[:, 0]))).things


def shown(before: Image, after: Image, where: FloatArray) -> float:
    """How much the pixels of a mask changed, in gray levels."""
    return float(np.abs(before.astype(int) - after)[where > 0].mean())


@pytest.mark.parametrize("index", [8, 10, 14])
def test_hair_over_a_cheek_stays(analyser: FaceAnalyser, engine: MeshEngine, reference: Face, index: int) -> None:
    plain = drawn(index)
    image, hair = with_hair(plain, only_face(analyser, plain))
    face = only_face(analyser, image)
    inside = erode(hair, 2) * erode(fill(face.mesh.points, landmarks.OVAL, image.shape[:2]), 3)
    inside *= np.arange(image.shape[0])[:, None] > face.mesh.points[landmarks.NOSE_TIP, 1]
    assert inside.sum() > 60
    result = engine.swap(image, face, portrait(), reference).image
    assert shown(image, result, inside) < 6


def test_hair_that_is_drawn_over_a_cheek_is_found_and_the_bare_one_is_not(analyser: FaceAnalyser) -> None:
    image = drawn(LONG_HAIR)
    face = only_face(analyser, image)
    found = things(image, face)
    middle = int(face.mesh.points[landmarks.NOSE_TIP, 0])
    assert found[:, middle:].sum() > 0.01 * fill(face.mesh.points, landmarks.OVAL, image.shape[:2]).sum()
    assert found[:, :middle].sum() == 0


def test_light_hand_before_a_dark_face_stays(analyser: FaceAnalyser, engine: MeshEngine, reference: Face) -> None:
    plain = drawn(21)
    bare = only_face(analyser, plain)
    image, hand = with_hand(plain, bare, (235, 200, 180))
    face = analyser.analyse_again(image, bare)
    assert face is not None
    found = things(image, face) * hand
    assert found.sum() > 0.25 * (hand * fill(face.mesh.points, landmarks.OVAL, image.shape[:2])).sum()
    result = engine.swap(image, face, portrait(), reference).image
    assert shown(image, result, erode(found, 1)) < 8


@pytest.mark.parametrize("index", BARE)
def test_nothing_is_found_in_the_middle_of_faces_that_nothing_covers(analyser: FaceAnalyser, index: int) -> None:
    image = drawn(index)
    face = only_face(analyser, image)
    inner = fill(face.mesh.points, (50, 280, 379, 150), image.shape[:2], hull=True)
    assert (things(image, face) * inner).max() == 0


def test_nothing_is_found_on_photographed_faces(reference: Face) -> None:
    assert things(portrait(), reference).max() == 0


def test_beard_is_told_from_hair_and_lends_the_chin_no_colour(
    analyser: FaceAnalyser, engine: MeshEngine, reference: Face
) -> None:
    image = drawn(BEARDED)
    face = only_face(analyser, image)
    lab, points = to_lab(image), face.mesh.points
    found = find_over_cheeks(lab, points, float(np.ptp(points[:, 0])))
    chin = fill(points, (194, 32, 140, 175, 369, 262, 418, 200), image.shape[:2], hull=True) > 0
    cheek = fill(points, (117, 118, 101, 36, 205), image.shape[:2], hull=True) > 0
    assert found.things.max() == 0
    assert found.beard[chin].mean() > 0.7
    assert found.beard[cheek].mean() < 0.05
    after = to_lab(engine.swap(image, face, portrait(), reference).image)
    before = np.linalg.norm(lab[chin].mean(axis=0) - lab[cheek].mean(axis=0))
    assert np.linalg.norm(after[chin].mean(axis=0) - after[cheek].mean(axis=0)) < 0.3 * before
