"""Compositions with face models, several references and genders: all are looked at before anything is drawn."""

from __future__ import annotations

from typing import Any

import pytest

from likeness.errors import NoMatchingFace
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from tests.gateway.conftest import REFERENCE, House, portrait
from tests.support.services import face


def man(index: int) -> faceswap.Face:
    found = face(index)
    found.gender = faceswap.GENDER_MALE
    return found


async def test_a_face_model_is_put_into_the_drawn_picture(house: House) -> None:
    house.faceswap.models.keep("anna")
    body = portrait(face_model_id="anna", all_target_faces=True, swap_weight=0.8)
    del body["reference_image"]
    answer = await house.http.post("/qwen-faceswap-fast", json=body)
    assert answer.status_code == 200, answer.text
    (request,) = house.faceswap.swaps
    assert (request.face_model_id, request.all_target_faces) == ("anna", True)
    assert request.HasField("target_image")
    assert not house.faceswap.detections
    assert answer.json()["images"][0]["swap"]["references"][0]["face_model_id"] == "anna"


async def test_several_references_are_each_looked_at(house: House) -> None:
    house.faceswap.models.keep("anna")
    body = portrait(references=[REFERENCE, REFERENCE, {"face_model_id": "anna"}], reference_order="left-to-right")
    del body["reference_image"]
    answer = await house.http.post("/qwen-faceswap", json=body)
    assert answer.status_code == 200, answer.text
    assert len(house.faceswap.detections) == 2
    assert house.faceswap.detections[0].order == faceswap.FACE_ORDER_LEFT_TO_RIGHT
    assert len(house.faceswap.swaps[0].references) == 3


async def test_the_gender_picks_the_face_of_a_reference(house: House) -> None:
    house.faceswap.faces = [man(0), face(1)]
    answer = await house.http.post("/qwen-faceswap", json=portrait(reference_gender="female"))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("faces", "fields", "status", "reason", "field"),
    [
        ([face()], {"reference_gender": "male"}, 422, "NO_MATCHING_FACE", "reference_image"),
        ([man(0), face(1), face(2)], {"reference_gender": "female"}, 422, "SEVERAL_FACES", "reference_image"),
        (
            [man(0), face(1)],
            {"reference_gender": "female", "reference_face_index": 1},
            422,
            "FACE_INDEX_OUT_OF_RANGE",
            "reference_face_index",
        ),
        ([face()], {"reference_face_indexes": "0,1"}, 422, "FACE_INDEX_OUT_OF_RANGE", "reference_face_indexes"),
        ([face()], {"reference_image": None, "face_model_id": "bert"}, 404, "FACE_MODEL_NOT_FOUND", "face_model_id"),
        (
            [face()],
            {"reference_image": None, "references": [REFERENCE, {"face_model_id": "bert"}]},
            404,
            "FACE_MODEL_NOT_FOUND",
            "references[1].face_model_id",
        ),
        (
            [face()],
            {"reference_image": None, "face_model_id": "other"},
            422,
            "FACE_MODEL_INCOMPATIBLE",
            "face_model_id",
        ),
        (
            [face(0, yaw=60)],
            {"reference_image": None, "references": [{"image": REFERENCE}]},
            422,
            "FACE_TURNED_TOO_FAR",
            "references[0].image",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_reference_that_cannot_be_used_costs_no_drawing(
    house: House, faces: list[faceswap.Face], fields: dict[str, Any], status: int, reason: str, field: str
) -> None:
    house.faceswap.faces = faces
    house.faceswap.models.keep("other", "inswapper")
    answer = await house.http.post("/qwen-faceswap", json=portrait(**fields))
    problem = answer.json()
    assert (answer.status_code, problem["reason"], problem["field"]) == (status, reason, field), problem
    assert not house.generator.requests


async def test_a_kind_that_no_drawn_person_is_of_concerns_the_prompt(house: House) -> None:
    house.faceswap.swap_error = NoMatchingFace(
        "the target shows 1 face, but none of the asked kind", field="target_image"
    )
    answer = await house.http.post("/qwen-faceswap", json=portrait(target_gender="male"))
    problem = answer.json()
    assert (answer.status_code, problem["reason"], problem["field"]) == (422, "NO_MATCHING_FACE", "prompt")
    assert "seed" in problem["metadata"]
