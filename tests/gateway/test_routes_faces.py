from __future__ import annotations

import base64

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
