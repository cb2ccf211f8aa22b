"""Faces are found whatever their size, turn and light; pictures without people stay free of them.

The test set: the portrait, the group photo of insightface, drawn people; turned, cropped, scaled, darkened, placed into
drawn scenes. The rates that are asserted are those that docs/05-faceswap.md states.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from bench.detection import (
    EIGHT_TURNS,
    PHOTOS_WITHOUT_PEOPLE,
    Count,
    count_empty,
    count_turns,
    empty_photos,
    empty_scenes,
    turned,
)
from core.faces import Face, FaceAnalyser, identity_score
from core.faces.arrays import Image
from core.faces.detector import Detection, FaceDetector, View, merge, turn_back
from core.faces.search import tiles_of
from core.runtime.images import decode_image
from tests.support.faces import BARE, BESPECTACLED, drawn, group_photo, portrait
from weights.recipe.scenes import scene


def scaled(image: Image, factor: float) -> Image:
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=interpolation), dtype=np.uint8)


def head(image: Image, face: Face, room: float = 0.5) -> Image:
    """The face with some of the picture around it."""
    x, y, width, height = face.detection.box
    left, top = max(0, int(x - room * width)), max(0, int(y - room * height))
    return image[top : int(y + (1 + room) * height), left : int(x + (1 + room) * width)]


def place(background: Image, patch: Image, corner: tuple[int, int]) -> Image:
    left, top = corner
    result = background.copy()
    result[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    return result


def test_the_portrait_is_found_in_eight_turns(analyser: FaceAnalyser) -> None:
    assert count_turns(analyser, portrait(), thorough=False) == Count(8, 8, 0)


@pytest.mark.parametrize("person", (*BARE, *BESPECTACLED))
def test_a_drawn_person_is_found_in_eight_turns(analyser: FaceAnalyser, person: int) -> None:
    assert count_turns(analyser, drawn(person, 320), thorough=False) == Count(8, 8, 0)


def test_faces_of_24_pixels_are_found_in_eight_turns_in_one_picture(analyser: FaceAnalyser) -> None:
    (large,) = analyser.analyse(drawn(2, 512), attributes=False)
    picture = np.asarray(cv2.resize(scene("beach", 3, (512, 512)), (2000, 2000)), dtype=np.uint8)
    middles = []
    for place_number, degrees in enumerate(EIGHT_TURNS):
        small, _ = turned(scaled(head(drawn(2, 512), large), 24 / large.width), degrees)
        row, column = divmod(place_number, 4)
        corner = (200 + 450 * column + 7 * place_number, 500 + 800 * row - 11 * place_number)
        picture = place(picture, small, corner)
        middles.append(np.array(corner) + np.array(small.shape[1::-1]) / 2)
    faces = analyser.analyse(picture, attributes=False, thorough=True)
    assert len(faces) == len(EIGHT_TURNS)
    for middle in middles:
        assert min(float(np.linalg.norm(face.landmarks.mean(axis=0) - middle)) for face in faces) < 12


@pytest.mark.parametrize(("thorough", "missed"), [(False, 1), (True, 0)])
def test_a_group_is_found_in_eight_turns(analyser: FaceAnalyser, thorough: bool, missed: int) -> None:
    group = group_photo()
    if group is None:
        pytest.skip("insightface is not installed")
    count = count_turns(analyser, scaled(group, 0.6), thorough=thorough)
    assert (count.shown, count.too_many) == (6 * 8, 0)
    assert count.found >= count.shown - missed


def test_turned_faces_have_their_roll(analyser: FaceAnalyser, face: Face) -> None:
    for degrees in EIGHT_TURNS:
        canvas, _ = turned(portrait(), degrees)
        (found,) = analyser.analyse(canvas, attributes=False)
        difference = (found.pose.roll - face.pose.roll - degrees + 180) % 360 - 180
        assert abs(difference) < 6
        assert abs(found.pose.yaw - face.pose.yaw) < 8
        assert abs(found.pose.pitch - face.pose.pitch) < 8
        assert identity_score(found.embedding, face.embedding) > 0.6


@pytest.mark.parametrize("degrees", EIGHT_TURNS)
def test_a_face_of_24_pixels_is_found_in_a_large_picture(analyser: FaceAnalyser, face: Face, degrees: int) -> None:
    small, _ = turned(scaled(head(portrait(), face), 24 / face.width), degrees)
    background = np.asarray(cv2.resize(scene("beach", 3, (512, 512)), (2000, 2000)), dtype=np.uint8)
    picture = place(background, small, (1390, 610))
    (found,) = analyser.analyse(picture, attributes=False)
    middle = np.array([1390, 610]) + np.array(small.shape[1::-1]) / 2
    assert np.linalg.norm(found.landmarks.mean(axis=0) - middle) < 12
    assert found.width < 48


def test_small_faces_beside_a_large_one_are_found_on_request(analyser: FaceAnalyser, face: Face) -> None:
    small = scaled(head(portrait(), face), 26 / face.width)
    background = np.asarray(cv2.resize(scene("library", 1, (512, 512)), (1200, 1200)), dtype=np.uint8)
    picture = place(place(background, portrait(), (40, 60)), small, (900, 800))
    assert len(analyser.analyse(picture, attributes=False)) == 1
    faces = analyser.analyse(picture, attributes=False, thorough=True)
    assert len(faces) == 2
    assert faces[0].width > 100 > faces[1].width


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_face_that_fills_the_frame_is_found(analyser: FaceAnalyser, face: Face, degrees: int) -> None:
    x, y, width, height = face.mesh.box
    left, top = int(x + 0.12 * width), int(y + 0.15 * height)
    tight = scaled(portrait()[top : int(y + 0.97 * height), left : int(x + 0.9 * width)], 4)
    (found,) = analyser.analyse(np.ascontiguousarray(np.rot90(tight, -degrees // 90)), attributes=False)
    if not degrees:
        assert np.linalg.norm(found.landmarks[0] / 4 - (face.landmarks[0] - (left, top))) < 0.08 * width
    # Cut off at the brows and cheeks, it is still more like the portrait than strangers are.
    assert identity_score(found.embedding, face.embedding) > 0.3


@pytest.mark.parametrize("share", [0.3, 0.1, 0.05])
def test_a_dark_face_is_found(analyser: FaceAnalyser, face: Face, share: float) -> None:
    dark = (portrait() * share).astype(np.uint8)
    (found,) = analyser.analyse(dark, attributes=False)
    assert np.linalg.norm(found.landmarks - face.landmarks, axis=1).mean() < 0.1 * face.width


def variants() -> list[tuple[str, Callable[[PillowImage.Image], PillowImage.Image], str, dict[str, Any]]]:
    def with_alpha(image: PillowImage.Image) -> PillowImage.Image:
        image = image.convert("RGBA")
        image.putalpha(PillowImage.linear_gradient("L").resize(image.size).point(lambda value: max(value, 128)))
        return image

    def deep(image: PillowImage.Image) -> PillowImage.Image:
        return PillowImage.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)

    exif = PillowImage.Exif()
    exif[0x0112] = 6
    return [
        ("grey", lambda image: image.convert("L"), "PNG", {}),
        ("16 bit", deep, "PNG", {}),
        ("CMYK", lambda image: image.convert("CMYK"), "JPEG", {"quality": 90}),
        ("palette", lambda image: image.quantize(64), "PNG", {}),
        ("transparent", with_alpha, "PNG", {}),
        ("EXIF", lambda image: image.transpose(PillowImage.Transpose.ROTATE_90), "JPEG", {"exif": exif}),
        ("AVIF", lambda image: image, "AVIF", {"quality": 60}),
        ("WebP", lambda image: image, "WEBP", {"quality": 60}),
    ]


@pytest.mark.parametrize(("name", "change", "kind", "options"), variants(), ids=lambda value: str(value)[:12])
def test_a_face_is_found_in_every_kind_of_file(
    analyser: FaceAnalyser,
    face: Face,
    name: str,
    change: Callable[[PillowImage.Image], PillowImage.Image],
    kind: str,
    options: dict[str, Any],
) -> None:
    buffer = io.BytesIO()
    change(PillowImage.fromarray(portrait())).save(buffer, kind, **options)
    (found,) = analyser.analyse(decode_image(buffer.getvalue(), field=name), attributes=False)
    assert np.linalg.norm(found.landmarks - face.landmarks, axis=1).mean() < 0.06 * face.width
    assert identity_score(found.embedding, face.embedding) > 0.6


def test_fifty_scenes_without_people_have_no_face(analyser: FaceAnalyser) -> None:
    assert count_empty(analyser, empty_scenes()) == {"pictures": 53, "faces": 0}


def test_photos_without_people_have_no_face(analyser: FaceAnalyser) -> None:
    whole = list(empty_photos())[::3]
    assert count_empty(analyser, whole) == {"pictures": len(PHOTOS_WITHOUT_PEOPLE), "faces": 0}


@pytest.mark.parametrize(("height", "width"), [(2000, 2000), (4320, 7680), (600, 16383), (500, 500)])
def test_tiles_cover_a_picture_and_stay_few(height: int, width: int) -> None:
    levels = list(tiles_of(height, width))
    assert levels
    assert sum(map(len, levels)) <= 256
    for tiles in levels:
        seen = np.zeros((height, width), dtype=bool)
        for left, top, right, bottom in tiles:
            seen[top:bottom, left:right] = True
        assert seen.all()


def test_a_face_in_a_picture_of_one_pixel_is_none(analyser: FaceAnalyser) -> None:
    assert analyser.analyse(np.zeros((1, 1, 3), np.uint8), thorough=True) == []


@pytest.mark.parametrize("shape", [(3, 900, 3), (900, 3, 3)])
def test_a_sliver_has_no_face(analyser: FaceAnalyser, shape: tuple[int, int, int]) -> None:
    assert analyser.analyse(np.full(shape, 90, np.uint8), thorough=True) == []


@pytest.mark.parametrize("turns", range(4))
def test_turning_back_undoes_a_quarter_turn(turns: int) -> None:
    square = np.zeros((192, 192), np.uint8)
    square[20, 70] = 1
    row, column = (int(value[0]) for value in np.nonzero(np.rot90(square, turns)))
    points = np.full((6, 2), (column + 0.5, row + 0.5))
    box = np.array([column - 9.5, row - 19.5, 20.0, 40.0])
    found = turn_back(Detection(box, points, 0.9), turns, 192)
    assert found.key_points[0].tolist() == [70.5, 20.5]
    assert (found.box[:2] + found.box[2:] / 2).tolist() == [70.5, 20.5]
    assert found.box[2:].tolist() == ([20, 40] if turns % 2 == 0 else [40, 20])


def test_a_part_of_a_picture_is_told_in_the_pictures_pixels(face: Face) -> None:
    detector = FaceDetector()
    canvas = place(np.full((900, 1000, 3), 128, np.uint8), portrait(), (400, 300))
    view = View.of(canvas[300 : 300 + portrait().shape[0], 400 : 400 + portrait().shape[1]], origin=(400, 300))
    (found,) = detector.detect_in(view, 0.5)
    assert np.abs(found.box[:2] - (400, 300) - face.detection.box[:2]).max() < 2


def test_merging_keeps_the_best_of_overlapping_faces() -> None:
    def at(x: float, score: float) -> Detection:
        return Detection(np.array([x, 0, 100, 100]), np.zeros((6, 2)), score)

    assert [kept.score for kept in merge([at(0, 0.6), at(20, 0.9), at(300, 0.7), at(0, 0.8)])] == [0.9, 0.7]
