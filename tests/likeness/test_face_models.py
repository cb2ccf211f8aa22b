from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from likeness import Client, Reference
from likeness.errors import FaceModelNotFound, InvalidRequest
from likeness.face_models import FaceModelAverage, PhotoRejection
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.results import Gender, ImageFormat, SkipReason
from tests.likeness.conftest import Deployment
from tests.support.services import picture


async def test_a_build_tells_of_each_photo(deployment: Deployment) -> None:
    build = await deployment.client.build_face_model("anna", [picture(), picture((1, 1, 1))])
    assert build.face_model.average is FaceModelAverage.MEAN
    assert build.face_model.create_time == datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)
    assert [photo.rejection for photo in build.photos] == [None, PhotoRejection.OUTLIER]
    page = await deployment.client.list_face_models()
    assert [model.face_model_id for model in page.face_models] == ["anna"]
    await deployment.client.delete_face_model("anna")
    with pytest.raises(FaceModelNotFound):
        await deployment.client.get_face_model("anna")


async def test_the_blocking_client_has_them_too(deployment: Deployment) -> None:
    def use() -> str:
        with Client(deployment.generator_address, deployment.faceswap_address) as client:
            client.build_face_model("anna", [picture()], average="median", replace=True)
            name = client.get_face_model("anna").face_model_id
            assert client.swap(picture(), face_model_id=name).references[0].face_model_id == "anna"
            client.delete_face_model("anna")
            return name if not client.list_face_models().face_models else ""

    assert await asyncio.to_thread(use) == "anna"


async def test_whom_to_swap_goes_along(deployment: Deployment) -> None:
    result = await deployment.client.swap(
        picture(),
        references=[picture((1, 1, 1)), Reference(face_model_id="anna"), Reference(picture(), face_index=2)],
        target_gender=Gender.MALE,
        match_image=picture((2, 2, 2)),
        pairing=[1, 0],
    )
    (request,) = deployment.faceswap.swaps
    assert [entry.WhichOneof("source") for entry in request.references] == ["image", "face_model_id", "image"]
    assert request.references[2].face_index == 2
    assert request.target_gender == faceswap.GENDER_MALE
    assert request.match_image.data == picture((2, 2, 2))
    assert [(item.target_face_index, item.reason) for item in result.skipped] == [(1, SkipReason.GENDER)]
    assert result.swapped[0].match_score is None


async def test_a_swap_without_anybody_is_refused_by_the_contract(deployment: Deployment) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await deployment.client.swap(picture())
    assert caught.value.field == "reference_image"


async def test_faces_come_drawn_when_asked_for(deployment: Deployment) -> None:
    plain = await deployment.client.detect_faces(picture())
    drawn = await deployment.client.detect_faces(picture(), drawing=ImageFormat.WEBP)
    assert plain.drawing is None
    assert drawn.drawing is not None and drawn.drawing.media_type == "image/webp"
