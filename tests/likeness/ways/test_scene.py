from __future__ import annotations

import io

import pytest
from PIL import Image

from likeness.results import Box, Face, Gender
from likeness.ways.scene import Scene, scene_kept
from tests.support.services import picture


def face_at(x: float, y: float, width: float, height: float) -> Face:
    box = Box(x, y, width, height)
    return Face(0, box, 0.9, (), 0, 0, 0, Gender.UNKNOWN, 0.5, 30, 100)


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_colours_are_cielab() -> None:
    red = Scene.of(picture((255, 0, 0)), ()).colours[0]
    assert red == pytest.approx((53.24, 80.09, 67.20), abs=0.05)
    assert Scene.of(picture((255, 255, 255)), ()).colours[0] == pytest.approx((100, 0, 0), abs=0.02)
    assert Scene.of(picture((0, 0, 0)), ()).colours[0] == pytest.approx((0, 0, 0), abs=0.02)


def test_the_person_is_left_out() -> None:
    there, alone = Image.new("RGB", (240, 240), (90, 90, 200)), Image.new("RGB", (240, 240), (90, 90, 200))
    there.paste((220, 180, 150), (100, 80, 140, 130))
    face = face_at(100, 80, 40, 50)
    assert Scene.of(encoded(there), [face]).distance(Scene.of(encoded(alone), [])) == 0
    assert Scene.of(encoded(there), []).distance(Scene.of(encoded(alone), [])) > 0


def test_faces_that_fill_both_pictures_leave_all_of_them_to_compare() -> None:
    face = face_at(0, 0, 240, 240)
    red, blue = (encoded(Image.new("RGB", (240, 240), colour)) for colour in ((200, 0, 0), (0, 0, 200)))
    assert Scene.of(red, [face]).distance(Scene.of(blue, [face])) > 50


def test_a_scene_is_kept_wholly_half_or_not_at_all() -> None:
    own, other = Scene.of(picture((0, 0, 200)), ()), Scene.of(picture((0, 200, 0)), ())
    assert scene_kept(own, own, [other]) == 1
    assert scene_kept(other, own, [other]) == 0
    assert scene_kept(own, own, [own]) == 0.5
    assert scene_kept(own, own, []) is None
