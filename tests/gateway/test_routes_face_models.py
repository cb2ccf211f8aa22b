from __future__ import annotations

import base64
from typing import Any

import pytest

from gateway.answer_models import FaceModelBuildDocument, FaceModelDocument, FaceModelListDocument
from likeness.errors import PhotosUnusable
from likeness.faceswap.v1 import face_model_service_pb2 as pb2
from tests.gateway.conftest import REFERENCE, House
from tests.support.services import picture


async def test_a_model_is_built_from_the_files_of_a_form(house: House) -> None:
    files = [("images", (f"{shade}.png", picture((shade, 9, 9)))) for shade in (10, 20, 30)]
    answer = await house.http.post("/face-models/anna", data={"average": "median", "replace": "true"}, files=files)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    FaceModelBuildDocument.model_validate(document, strict=True)
    assert document["face_model"]["face_model_id"] == "anna"
    assert document["face_model"]["create_time"].endswith("Z")
    assert [photo["rejection"] for photo in document["photos"]] == [None, "outlier", "outlier"]
    request = house.faceswap.models.builds[0]
    assert [image.data for image in request.images] == [picture((shade, 9, 9)) for shade in (10, 20, 30)]
    assert (request.average, request.replace) == (pb2.FACE_MODEL_AVERAGE_MEDIAN, True)


async def test_one_file_of_a_form_is_one_photo(house: House) -> None:
    # Its bytes hold many brackets, which are no JSON.
    noisy = picture() + b"[" * 20_000
    answer = await house.http.post("/face-models/anna", files=[("images", ("a.png", noisy))])
    assert answer.status_code == 200, answer.text
    assert [image.data for image in house.faceswap.models.builds[0].images] == [noisy]


async def test_a_model_is_built_from_a_list_of_json(house: House) -> None:
    bare = base64.b64encode(picture((1, 2, 3))).decode()
    answer = await house.http.post("/face-models/anna", json={"images": [REFERENCE, bare]})
    assert answer.status_code == 200, answer.text
    request = house.faceswap.models.builds[0]
    assert request.images[1].data == picture((1, 2, 3))
    assert request.average == pb2.FACE_MODEL_AVERAGE_MEAN


async def test_models_are_listed_shown_and_removed(house: House) -> None:
    for name in ("bert", "anna"):
        house.faceswap.models.keep(name)
    page = (await house.http.get("/face-models", params={"page_size": 1})).json()
    FaceModelListDocument.model_validate(page, strict=True)
    assert [model["face_model_id"] for model in page["face_models"]] == ["anna"]
    rest = (await house.http.get("/face-models", params={"page_token": page["next_page_token"]})).json()
    assert [model["face_model_id"] for model in rest["face_models"]] == ["bert"]
    shown = await house.http.get("/face-models/anna")
    FaceModelDocument.model_validate(shown.json(), strict=True)
    assert shown.json()["views"][0]["pose"]["yaw"] == 4
    assert (await house.http.delete("/face-models/anna")).status_code == 204
    gone = await house.http.get("/face-models/anna")
    assert (gone.status_code, gone.json()["reason"]) == (404, "FACE_MODEL_NOT_FOUND")


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("Anna", {"images": [REFERENCE]}, "face_model_id"),
        ("anna", {"images": []}, "images"),
        ("anna", {"images": [REFERENCE] * 21}, "images"),
        ("anna", {}, "images"),
        ("anna", {"images": [REFERENCE], "average": "mode"}, "average"),
        ("anna", {"images": [REFERENCE], "min_score": 2}, "min_score"),
        ("anna", {"images": ["http://127.0.0.1/a.png"], "min_score": 2}, "min_score"),
    ],
    ids=["name", "none", "too many", "left out", "average", "score", "before a fetch"],
)
async def test_a_bad_build_is_refused_before_anything_is_done(
    house: House, name: str, body: dict[str, Any], field: str
) -> None:
    answer = await house.http.post(f"/face-models/{name}", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["reason"], problem["field"]) == (400, "INVALID_REQUEST", field), problem
    assert not house.faceswap.models.builds


async def test_a_bad_photo_and_unusable_photos_are_named(house: House) -> None:
    answer = await house.http.post("/face-models/anna", json={"images": [REFERENCE, "AAAA"]})
    assert (answer.json()["reason"], answer.json()["field"]) == ("IMAGE_FORMAT_UNSUPPORTED", "images[1]")
    house.faceswap.models.error = PhotosUnusable("no photo can be used", field="images")
    answer = await house.http.post("/face-models/anna", json={"images": [REFERENCE]})
    assert (answer.status_code, answer.json()["reason"]) == (422, "PHOTOS_UNUSABLE")


async def test_the_page_of_the_api_shows_them(house: House) -> None:
    document = (await house.http.get("/openapi.json")).json()
    assert set(document["paths"]["/face-models/{face_model_id}"]) == {"get", "post", "delete"}
    form = document["components"]["schemas"]["FaceModelBodyForm"]["properties"]["images"]
    assert (form["items"]["format"], form["maxItems"]) == ("binary", 20)
    swap = document["components"]["schemas"]["SwapBody"]["properties"]
    assert swap["target_gender"]["enum"] == ["female", "male"]
    assert (swap["swap_weight"]["minimum"], swap["swap_weight"]["maximum"]) == (0, 1)
