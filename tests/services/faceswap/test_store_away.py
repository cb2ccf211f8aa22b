"""Swaps and face models while the object store is away."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import grpc.aio
import pytest

from core.runtime.server import running_service
from likeness.common.v1.image_pb2 import ImageInput, ImageOutput
from likeness.errors import ServiceUnavailable
from likeness.faceswap.v1 import face_model_service_pb2 as models
from likeness.faceswap.v1 import faceswap_service_pb2 as pb2
from likeness.faceswap.v1.face_model_service_pb2_grpc import FaceModelServiceStub
from likeness.faceswap.v1.faceswap_service_pb2_grpc import FaceSwapServiceStub
from services.faceswap.service import make_spec
from services.faceswap.settings import FaceSwapSettings
from services.faceswap.swapper import FaceSwapper
from tests.services.faceswap.test_faceswap_service import refusal, swap_request
from tests.support.faces import png, portrait
from tests.support.object_store import URL, Bucket, running_bucket


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with running_bucket(monkeypatch) as running:
        yield running


async def test_a_store_that_is_away_is_unavailable_for_pictures_and_face_models(
    swapper: FaceSwapper, bucket: Bucket
) -> None:
    settings = FaceSwapSettings.load(port=0, threads=1, artifacts_url=URL)
    spec = dataclasses.replace(make_spec(settings), load=lambda: swapper)
    bucket.status = 500
    kept = ImageInput(artifact_uri=f"artifact://images/{'0' * 64}.png")
    photo = ImageInput(data=png(portrait()))
    async with running_service(spec, settings) as address, grpc.aio.insecure_channel(address) as channel:
        swaps, face_models = FaceSwapServiceStub(channel), FaceModelServiceStub(channel)
        for call in (
            swaps.Swap(swap_request(target_image=kept)),
            swaps.Swap(swap_request(output=ImageOutput(store=True))),
            swaps.DetectFaces(pb2.DetectFacesRequest(image=kept)),
            face_models.ListFaceModels(models.ListFaceModelsRequest()),
            face_models.BuildFaceModel(models.BuildFaceModelRequest(face_model_id="anna", images=[photo])),
            face_models.DeleteFaceModel(models.DeleteFaceModelRequest(face_model_id="anna")),
        ):
            error = await refusal(call)
            assert isinstance(error, ServiceUnavailable)
            assert error.retry_after_seconds
