from __future__ import annotations

import base64
from typing import Any

import pytest

from gateway.answer_models import AnswerDocument
from likeness.errors import FaceTurnedTooFar
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from tests.gateway.conftest import REFERENCE, House
from tests.support.services import picture


async def test_a_face_is_put_into_a_given_picture(house: House) -> None:
    body = {
        "target_image": base64.b64encode(picture((9, 9, 9))).decode(),
        "reference_image": REFERENCE,
        "target_face_indexes": [0, 2],
        "target_order": "left-to-right",
        "reference_face_index": 1,
        "min_score": 0.6,
    }
    answer = await house.http.post("/faceswap", json=body)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    AnswerDocument.model_validate(document, strict=True)
    assert document["images"][0]["identity"]["after"] == 0.61
    assert "seed" not in document
    request = house.faceswap.swaps[0]
    assert request.target_image.data == picture((9, 9, 9))
    assert list(request.target_face_indexes) == [0, 2]
    assert request.target_order == faceswap.FACE_ORDER_LEFT_TO_RIGHT
    assert request.reference_face_index == 1


async def test_lists_of_a_form_may_be_repeated_or_json(house: House) -> None:
    files = [("target_image", ("a.png", picture())), ("reference_image", ("b.png", picture()))]
    for indexes in (["0", "2"], ["[0, 2]"]):
        answer = await house.http.post("/faceswap", data={"target_face_indexes": indexes}, files=files)
        assert answer.status_code == 200, answer.text
    assert [list(request.target_face_indexes) for request in house.faceswap.swaps] == [[0, 2], [0, 2]]


async def test_an_error_of_the_service_keeps_its_field_and_reason(house: House) -> None:
    house.faceswap.swap_error = FaceTurnedTooFar("turned by 60 degrees", field="reference_image", pose_degrees="60")
    answer = await house.http.post("/faceswap", json={"target_image": REFERENCE, "reference_image": REFERENCE})
    assert answer.status_code == 422
    problem = answer.json()
    assert (problem["reason"], problem["field"]) == ("FACE_TURNED_TOO_FAR", "reference_image")
    assert problem["metadata"]["pose_degrees"] == "60"


async def test_every_way_to_say_whom_reaches_the_service(house: House) -> None:
    body = {
        "target_image": REFERENCE,
        "references": [REFERENCE, {"image": REFERENCE, "face_index": 1}, {"face_model_id": "anna"}],
        "match_image": REFERENCE,
        "match_threshold": 0.6,
        "target_face_indexes": "0, 2",
        "pairing": [2, 0],
        "target_gender": "female",
        "reference_gender": "male",
        "reference_order": "right-to-left",
        "swap_weight": 0.5,
        "restore_visibility": 0.7,
        "pixel_boost": 256,
    }
    answer = await house.http.post("/faceswap", json=body)
    assert answer.status_code == 200, answer.text
    (request,) = house.faceswap.swaps
    assert [entry.WhichOneof("source") for entry in request.references] == ["image", "image", "face_model_id"]
    assert [entry.HasField("face_index") for entry in request.references] == [False, True, False]
    assert not request.HasField("reference_image")
    assert request.match_image.data == picture((240, 200, 180))
    assert (list(request.target_face_indexes), list(request.pairing)) == ([0, 2], [2, 0])
    assert (request.target_gender, request.reference_gender) == (faceswap.GENDER_FEMALE, faceswap.GENDER_MALE)
    assert request.reference_order == faceswap.FACE_ORDER_RIGHT_TO_LEFT
    assert (request.swap_weight, request.pixel_boost) == (0.5, 256)
    swap = answer.json()["images"][0]["swap"]
    assert swap["skipped"][0]["reason"] == "gender"
    assert swap["references"][0]["face_model_id"] is None


async def test_references_of_a_form_are_files(house: House) -> None:
    files = [
        ("target_image", ("t.png", picture())),
        ("references", ("a.png", picture((1, 1, 1)))),
        ("references", ("b.png", picture((2, 2, 2)))),
    ]
    answer = await house.http.post("/faceswap", data={"reference_face_indexes": "", "pairing": "1,0"}, files=files)
    assert answer.json()["field"] == "reference_face_indexes"
    answer = await house.http.post("/faceswap", data={"pairing": "1,0"}, files=files)
    assert answer.status_code == 200, answer.text
    (request,) = house.faceswap.swaps
    assert [entry.image.data for entry in request.references] == [picture((1, 1, 1)), picture((2, 2, 2))]
    assert list(request.pairing) == [1, 0]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "reference_image"),
        ({"reference_image": REFERENCE, "face_model_id": "anna"}, "reference_image"),
        ({"face_model_id": "../x"}, "face_model_id"),
        ({"references": [{"face_model_id": "../x"}]}, "references[0].face_model_id"),
        ({"references": [{}]}, "references[0].face_model_id"),
        ({"references": [{"image": REFERENCE, "face_model_id": "a"}]}, "references[0].image"),
        ({"reference_image": REFERENCE, "target_gender": "unknown"}, "target_gender"),
        ({"reference_image": REFERENCE, "target_face_indexes": "0,x"}, "target_face_indexes"),
        ({"reference_image": REFERENCE, "target_face_indexes": ["0"]}, "target_face_indexes[0]"),
        ({"reference_image": REFERENCE, "target_face_indexes": [10**12]}, "target_face_indexes"),
        ({"reference_image": REFERENCE, "match_threshold": 0.4}, "match_threshold"),
        ({"reference_image": "http://127.0.0.1/a.png", "swap_weight": 2}, "swap_weight"),
    ],
    ids=lambda value: str(value)[-50:],
)
async def test_what_makes_no_sense_is_refused_before_a_picture_is_fetched(
    house: House, body: dict[str, Any], field: str
) -> None:
    answer = await house.http.post("/faceswap", json={"target_image": REFERENCE, **body})
    problem = answer.json()
    assert (answer.status_code, problem["reason"]) == (400, "INVALID_REQUEST"), problem
    assert field in [entry["field"] for entry in problem["errors"]], problem
    assert not house.faceswap.swaps
