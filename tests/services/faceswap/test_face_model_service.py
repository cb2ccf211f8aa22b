"""Face models over gRPC: built from photos, named in a swap, listed and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import pytest

from likeness.common.v1 import image_pb2
from likeness.errors import LikenessError, from_rpc_error
from likeness.faceswap.v1 import face_model_service_pb2 as pb2
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from tests.support.faces import drawn, png, portrait, shots

if TYPE_CHECKING:
    from likeness.faceswap.v1.face_model_service_pb2_grpc import FaceModelServiceAsyncStub
    from likeness.faceswap.v1.faceswap_service_pb2_grpc import FaceSwapServiceAsyncStub


def given(image: np.ndarray | bytes) -> image_pb2.ImageInput:
    return image_pb2.ImageInput(data=image if isinstance(image, bytes) else png(image))


def request(name: str = "anna", *images: np.ndarray, **more: Any) -> pb2.BuildFaceModelRequest:
    return pb2.BuildFaceModelRequest(
        face_model_id=name, images=[given(image) for image in images or shots(0)[:3]], **more
    )


async def refusal(call: Any) -> LikenessError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_a_built_model_is_put_in_by_its_name(
    stub: FaceSwapServiceAsyncStub, face_models: FaceModelServiceAsyncStub
) -> None:
    mirrored = np.ascontiguousarray(portrait()[:, ::-1])
    built = await face_models.BuildFaceModel(request("anna", portrait(), mirrored))
    assert [photo.used for photo in built.photos] == [True, True]
    assert built.face_model.photo_count == 2
    assert list(built.face_model.engines) == ["mesh"]
    assert built.face_model.views[0].width_pixels > 48
    response = await stub.Swap(faceswap.SwapRequest(target_image=given(drawn()), face_model_id="anna"))
    assert response.swapped[0].identity_after > response.swapped[0].identity_before + 0.3
    assert [item.face_model_id for item in response.references] == ["anna"]
    both = [faceswap.Reference(face_model_id="anna"), faceswap.Reference(image=given(drawn(21)))]
    target = np.hstack([drawn(2), drawn(14)])
    response = await stub.Swap(faceswap.SwapRequest(target_image=given(target), references=both))
    assert [item.reference_index for item in response.swapped] == [0, 1]


async def test_the_report_names_the_photo_that_is_rejected(face_models: FaceModelServiceAsyncStub) -> None:
    first, second, third = shots(0)[:3]
    built = await face_models.BuildFaceModel(
        request("anna", first, portrait(), second, third, average=pb2.FACE_MODEL_AVERAGE_MEDIAN)
    )
    assert [photo.used for photo in built.photos] == [True, False, True, True]
    assert built.photos[1].rejection == pb2.PHOTO_REJECTION_OUTLIER
    assert built.photos[1].face.score > 0.5
    assert built.photos[0].similarity > 0.8
    assert built.face_model.average == pb2.FACE_MODEL_AVERAGE_MEDIAN


async def test_models_are_listed_described_and_removed(face_models: FaceModelServiceAsyncStub) -> None:
    for name in ("bert", "anna"):
        await face_models.BuildFaceModel(request(name))
    listed = await face_models.ListFaceModels(pb2.ListFaceModelsRequest(page_size=1))
    assert [model.face_model_id for model in listed.face_models] == ["anna"]
    rest = await face_models.ListFaceModels(pb2.ListFaceModelsRequest(page_token=listed.next_page_token))
    assert [model.face_model_id for model in rest.face_models] == ["bert"]
    described = await face_models.GetFaceModel(pb2.GetFaceModelRequest(face_model_id="anna"))
    assert described.face_model == listed.face_models[0]
    assert len(described.face_model.sha256) == 64
    await face_models.DeleteFaceModel(pb2.DeleteFaceModelRequest(face_model_id="anna"))
    error = await refusal(face_models.GetFaceModel(pb2.GetFaceModelRequest(face_model_id="anna")))
    assert (error.reason, error.field) == ("FACE_MODEL_NOT_FOUND", "face_model_id")


async def test_a_model_that_is_not_there_is_named_by_the_field_that_asks_for_it(
    stub: FaceSwapServiceAsyncStub,
) -> None:
    error = await refusal(stub.Swap(faceswap.SwapRequest(target_image=given(drawn()), face_model_id="anna")))
    assert (error.reason, error.field) == ("FACE_MODEL_NOT_FOUND", "face_model_id")
    several = [faceswap.Reference(image=given(portrait())), faceswap.Reference(face_model_id="anna")]
    error = await refusal(stub.Swap(faceswap.SwapRequest(target_image=given(drawn()), references=several)))
    assert (error.reason, error.field) == ("FACE_MODEL_NOT_FOUND", "references[1].face_model_id")


async def test_a_taken_name_is_told_before_the_photos_are_looked_at(face_models: FaceModelServiceAsyncStub) -> None:
    await face_models.BuildFaceModel(request())
    damaged = pb2.BuildFaceModelRequest(face_model_id="anna", images=[given(png(portrait())[:4000])])
    error = await refusal(face_models.BuildFaceModel(damaged))
    assert error.reason == "CONFLICT"
    damaged.replace = True
    error = await refusal(face_models.BuildFaceModel(damaged))
    assert (error.reason, error.field) == ("IMAGE_UNREADABLE", "images[0].data")
    assert (await face_models.BuildFaceModel(request(replace=True))).face_model.photo_count == 3


@pytest.mark.parametrize(
    ("change", "field"),
    [({"name": "../x"}, "face_model_id"), ({"name": ""}, "face_model_id"), ({"min_score": 2}, "min_score")],
    ids=["path", "empty", "score"],
)
async def test_limits_of_the_contract_are_checked(
    face_models: FaceModelServiceAsyncStub, change: dict[str, Any], field: str
) -> None:
    name = change.pop("name", "anna")
    error = await refusal(face_models.BuildFaceModel(request(name, drawn(), **change)))
    assert (error.reason, error.field) == ("INVALID_REQUEST", field)


async def test_photos_that_make_no_model_are_refused_with_what_they_show(
    face_models: FaceModelServiceAsyncStub,
) -> None:
    plain = np.full((64, 64, 3), 90, dtype=np.uint8)
    error = await refusal(face_models.BuildFaceModel(request("anna", plain)))
    assert (error.reason, error.field) == ("PHOTOS_UNUSABLE", "images")
    assert "photo 0: no face" in error.message
    assert not (await face_models.ListFaceModels(pb2.ListFaceModelsRequest())).face_models
