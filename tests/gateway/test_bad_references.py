"""Every bad reference gets its status, its reason and its field, before anything is drawn."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from likeness.errors import ImageAnimated, LikenessError, NoFace
from tests.gateway.conftest import REFERENCE, House, portrait
from tests.gateway.test_bad_input import assert_problem
from tests.support.services import face, picture


def gif() -> bytes:
    """Return a picture in a format that is not taken."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "GIF")
    return buffer.getvalue()


def url_of(data: bytes, media_type: str = "image/png") -> str:
    """Return a data URL."""
    return f"data:{media_type};base64," + base64.b64encode(data).decode()


REFERENCE_FAULTS = [
    ("", 400, "IMAGE_EMPTY"),
    ("data:image/png;base64,", 400, "IMAGE_EMPTY"),
    ("not base64 at all!", 400, "IMAGE_UNREADABLE"),
    ("data:image/png;base64,@@@@", 400, "IMAGE_UNREADABLE"),
    ("data:image/png,abc", 400, "INVALID_REQUEST"),
    (url_of(b"hello", "text/plain"), 400, "IMAGE_FORMAT_UNSUPPORTED"),
    (url_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), 400, "IMAGE_FORMAT_UNSUPPORTED"),
    (url_of(gif(), "image/gif"), 400, "IMAGE_FORMAT_UNSUPPORTED"),
    ("A" * 28_000_000, 413, "IMAGE_TOO_LARGE"),
    ("artifact://../../etc/passwd", 400, "INVALID_REQUEST"),
    ("http://169.254.169.254/latest/meta-data", 400, "FETCH_REFUSED"),
    ("https://[::1]/x.png", 400, "FETCH_REFUSED"),
    ("https://2130706433/x.png", 400, "FETCH_REFUSED"),
    ("https://allowed@127.0.0.1/x.png", 400, "FETCH_REFUSED"),
    ("file:///etc/passwd", 400, "FETCH_REFUSED"),
    ("https://example.com/" + "x" * 3000, 400, "INVALID_REQUEST"),
]


@pytest.mark.parametrize(("value", "status", "reason"), REFERENCE_FAULTS, ids=lambda value: str(value)[:40])
async def test_a_reference_that_is_no_picture_is_refused_before_anything_is_called(
    house: House, value: str, status: int, reason: str
) -> None:
    answer = await house.http.post("/qwen-faceswap", json=portrait(reference_image=value))
    assert_problem(answer, status, reason, "reference_image")
    assert not house.faceswap.detections
    assert not house.generator.requests


async def test_a_reference_that_is_missing_is_named(house: House) -> None:
    answer = await house.http.post("/qwen-faceswap", json={"prompt": "p"})
    assert_problem(answer, 400, "INVALID_REQUEST", "reference_image")


@pytest.mark.parametrize(
    ("faces", "extra", "reason", "field"),
    [
        ([], {}, "NO_FACE", "reference_image"),
        ([face(0), face(1)], {}, "SEVERAL_FACES", "reference_image"),
        ([face(0), face(1)], {"reference_face_index": 2}, "FACE_INDEX_OUT_OF_RANGE", "reference_face_index"),
        ([face(0, width=40)], {}, "FACE_TOO_SMALL", "reference_image"),
        ([face(0, yaw=-50)], {}, "FACE_TURNED_TOO_FAR", "reference_image"),
        ([face(0, pitch=41)], {}, "FACE_TURNED_TOO_FAR", "reference_image"),
        ([face(0, yaw=27, pitch=0)], {}, "FACE_TURNED_TOO_FAR", "reference_image"),
        ([face(0, yaw=20, pitch=-20)], {}, "FACE_TURNED_TOO_FAR", "reference_image"),
    ],
)
async def test_a_reference_without_one_usable_face_is_refused_before_drawing(
    house: House, faces: list[Any], extra: dict[str, Any], reason: str, field: str
) -> None:
    house.faceswap.faces = faces
    answer = await house.http.post("/qwen-faceswap-fast", json=portrait(**extra))
    assert_problem(answer, 422, reason, field)
    assert not house.generator.requests


async def test_an_engine_that_is_not_there_is_refused_before_drawing(house: House) -> None:
    answer = await house.http.post("/qwen-faceswap", json=portrait(engine="magic"))
    assert_problem(answer, 400, "UNKNOWN_ENGINE", "engine")
    assert not house.generator.requests


async def test_one_of_several_faces_may_be_named(house: House) -> None:
    house.faceswap.faces = [face(0), face(1)]
    answer = await house.http.post("/qwen-faceswap", json=portrait(reference_face_index=1))
    assert answer.status_code == 200, answer.text
    assert house.faceswap.swaps[0].reference_face_index == 1


@pytest.mark.parametrize(
    ("error", "status", "field"),
    [
        (ImageAnimated("it has 9 frames", field="image"), 400, "reference_image"),
        (NoFace("no face", field="image.data"), 422, "reference_image"),
    ],
)
async def test_what_the_service_says_of_the_reference_names_rests_field(
    house: House, error: LikenessError, status: int, field: str
) -> None:
    house.faceswap.detect_error = error
    answer = await house.http.post("/qwen-faceswap", json=portrait())
    assert_problem(answer, status, error.reason, field)


async def test_a_truncated_picture_passes_to_the_service_that_decodes(house: House) -> None:
    await house.http.post("/qwen-faceswap", json=portrait(reference_image=url_of(picture()[:40])))
    assert house.faceswap.detections[0].image.data == picture()[:40]
    assert REFERENCE.startswith("data:")
