from __future__ import annotations

from typing import Any

import pytest

from gateway.answer_models import ComparisonDocument, FacesDocument
from likeness.common.v1 import image_pb2
from likeness.errors import ImageFormatUnsupported, NoFace
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from tests.gateway.conftest import REFERENCE, House
from tests.support.services import face, picture


async def test_the_faces_of_a_picture_are_told(house: House) -> None:
    house.faceswap.faces = [face(), face()]
    body = {"image": REFERENCE, "order": "left-to-right", "min_score": 0.7, "thorough": True}
    answer = await house.http.post("/faces", json=body)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    FacesDocument.model_validate(document, strict=True)
    assert (len(document["faces"]), document["width"], document["height"]) == (2, 512, 512)
    assert "drawing" not in document
    (request,) = house.faceswap.detections
    assert (request.order, request.thorough) == (faceswap.FACE_ORDER_LEFT_TO_RIGHT, True)
    assert request.min_score == pytest.approx(0.7)


async def test_a_picture_without_faces_is_an_empty_list(house: House) -> None:
    house.faceswap.faces = []
    answer = await house.http.post("/faces", files={"image": ("a.png", picture())})
    assert (answer.status_code, answer.json()["faces"]) == (200, [])


async def test_the_faces_are_drawn_on_request(house: House) -> None:
    answer = await house.http.post("/faces", json={"image": REFERENCE, "drawing": "jpeg"})
    FacesDocument.model_validate(answer.json(), strict=True)
    assert answer.json()["drawing"]["media_type"] == "image/jpeg"
    assert house.faceswap.detections[0].drawing.format == image_pb2.IMAGE_FORMAT_JPEG


async def test_two_faces_are_compared(house: House) -> None:
    files = [("first_image", ("a.png", picture())), ("second_image", ("b.png", picture((9, 9, 9))))]
    answer = await house.http.post("/faces/compare", data={"second_face_index": "1"}, files=files)
    assert answer.status_code == 200, answer.text
    ComparisonDocument.model_validate(answer.json(), strict=True)
    assert answer.json()["identity"] == 0.5
    (request,) = house.faceswap.comparisons
    assert (request.first_face_index, request.second_face_index) == (0, 1)
    assert request.second_image.data == picture((9, 9, 9))


async def test_an_error_of_the_service_keeps_its_field(house: House) -> None:
    house.faceswap.detect_error = NoFace("no face was found", field="image")
    answer = await house.http.post("/faces", json={"image": REFERENCE})
    assert (answer.status_code, answer.json()["field"]) == (NoFace.http_status, "image")


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("/faces", {}, "image"),
        ("/faces", {"image": "http://127.0.0.1/a.png", "min_score": 2}, "min_score"),
        ("/faces", {"image": REFERENCE, "order": "random"}, "order"),
        ("/faces", {"image": REFERENCE, "drawing": "gif"}, "drawing"),
        ("/faces", {"image": REFERENCE, "faces": 1}, "faces"),
        ("/faces/compare", {"first_image": REFERENCE}, "second_image"),
        ("/faces/compare", {"first_image": REFERENCE, "second_image": REFERENCE, "first_face_index": -1},
         "first_face_index"),
        ("/faces/compare", {"first_image": "http://127.0.0.1/", "second_image": REFERENCE, "second_face_index": 10**12},
         "second_face_index"),
    ],
    ids=lambda value: str(value)[-50:],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused_before_a_picture_is_fetched(
    house: House, route: str, body: dict[str, Any], field: str
) -> None:
    answer = await house.http.post(route, json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert not house.faceswap.detections
    assert not house.faceswap.comparisons


async def test_a_picture_that_cannot_be_read_names_its_field(house: House) -> None:
    answer = await house.http.post(
        "/faces/compare", json={"first_image": REFERENCE, "second_image": "bm90IGEgcGljdHVyZQ=="}
    )
    assert (answer.status_code, answer.json()["field"]) == (ImageFormatUnsupported.http_status, "second_image")
