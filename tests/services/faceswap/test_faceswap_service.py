"""The faceswap service over gRPC, on a real port with the shipped networks."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import pytest

from core.runtime.cancellation import CancelToken
from core.runtime.images import decode_image
from core.runtime.server import running_service
from likeness.common.v1 import image_pb2
from likeness.errors import LikenessError, from_rpc_error
from likeness.faceswap.v1 import faceswap_service_pb2 as pb2
from likeness.faceswap.v1.faceswap_service_pb2_grpc import FaceSwapServiceStub
from services.faceswap.service import make_spec
from services.faceswap.settings import FaceSwapSettings
from services.faceswap.swapper import FaceSwapper
from tests.support.faces import drawn, group_photo, png, portrait, side_by_side

if TYPE_CHECKING:
    from likeness.faceswap.v1.faceswap_service_pb2_grpc import FaceSwapServiceAsyncStub


def given(image: np.ndarray | bytes) -> image_pb2.ImageInput:
    return image_pb2.ImageInput(data=image if isinstance(image, bytes) else png(image))


def swap_request(**changes: Any) -> pb2.SwapRequest:
    values: dict[str, Any] = {"target_image": given(drawn()), "reference_image": given(portrait())}
    return pb2.SwapRequest(**values | changes)


async def refusal(call: Any) -> LikenessError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_swap_answers_with_picture_scores_and_timings(stub: FaceSwapServiceAsyncStub) -> None:
    response = await stub.Swap(swap_request())
    image = decode_image(response.image.data, field="image")
    assert image.shape == drawn().shape
    assert not np.array_equal(image, drawn())
    (swapped,) = response.swapped
    assert swapped.identity_before < 0.2
    assert swapped.identity_after > 0.4
    assert 0.5 < swapped.seam_ratio < 2
    assert swapped.pose_change_degrees < 8
    assert swapped.HasField("mouth_openness_change")
    assert swapped.HasField("eye_openness_change")
    assert swapped.HasField("mouth_curve_change")
    assert response.engine == "mesh"
    assert response.reference_face.gender == pb2.GENDER_FEMALE
    assert len(response.target_faces) == 1
    timings = response.timings
    parts = (timings.decode_milliseconds, timings.analyse_milliseconds, timings.swap_milliseconds)
    assert all(part > 0 for part in (*parts, timings.score_milliseconds, timings.encode_milliseconds))
    assert timings.total_milliseconds >= sum(parts)


async def test_missing_restorer_is_said_and_never_silent(stub: FaceSwapServiceAsyncStub) -> None:
    left_out = (await stub.Swap(swap_request())).restoration
    assert not left_out.applied
    assert "has no restorer" in left_out.reason
    declined = (await stub.Swap(swap_request(restore_face=False))).restoration
    assert declined.reason == "restore_face is false"


async def test_same_request_gives_the_same_picture(stub: FaceSwapServiceAsyncStub) -> None:
    first, second = await asyncio.gather(stub.Swap(swap_request()), stub.Swap(swap_request()))
    assert first.image.sha256 == second.image.sha256


async def test_stored_result_can_be_the_target_of_the_next_swap(stub: FaceSwapServiceAsyncStub) -> None:
    stored = await stub.Swap(swap_request(output=image_pb2.ImageOutput(store=True)))
    assert stored.image.artifact_uri.startswith("artifact://images/")
    again = image_pb2.ImageInput(artifact_uri=stored.image.artifact_uri)
    response = await stub.Swap(swap_request(target_image=again))
    assert response.swapped[0].identity_before > 0.4


async def test_output_format_is_the_asked_one(stub: FaceSwapServiceAsyncStub) -> None:
    output = image_pb2.ImageOutput(format=image_pb2.IMAGE_FORMAT_WEBP)
    assert (await stub.Swap(swap_request(output=output))).image.media_type == "image/webp"


async def test_indexes_count_in_the_asked_order(stub: FaceSwapServiceAsyncStub) -> None:
    target = side_by_side(drawn(2), drawn(18), drawn(14))
    response = await stub.Swap(
        swap_request(
            target_image=given(target),
            target_order=pb2.FACE_ORDER_LEFT_TO_RIGHT,
            target_face_indexes=[2, 0],
        )
    )
    assert [swapped.target_face_index for swapped in response.swapped] == [2, 0]
    assert [face.index for face in response.target_faces] == [0, 1, 2]
    image = decode_image(response.image.data, field="image")
    third = target.shape[1] // 3
    changed = (image != target).any(axis=(0, 2))
    assert changed[:third].any()
    assert not changed[third : 2 * third].any()
    assert changed[2 * third :].any()


async def test_reference_with_several_faces_needs_an_index(stub: FaceSwapServiceAsyncStub) -> None:
    group = given(side_by_side(portrait(), drawn(2)))
    error = await refusal(stub.Swap(swap_request(reference_image=group)))
    assert error.reason == "SEVERAL_FACES"
    assert error.field == "reference_image"
    assert "2 faces" in error.message
    response = await stub.Swap(swap_request(reference_image=group, reference_face_index=1))
    assert response.reference_face.index == 1


@pytest.mark.parametrize("field", ["reference_image", "target_image"])
async def test_picture_without_a_face_is_named(stub: FaceSwapServiceAsyncStub, field: str) -> None:
    plain = given(np.full((200, 300, 3), 140, dtype=np.uint8))
    error = await refusal(stub.Swap(swap_request(**{field: plain})))
    assert error.reason == "NO_FACE"
    assert error.field == field


@pytest.mark.parametrize("field", ["reference_image", "target_image"])
async def test_unreadable_picture_is_named(stub: FaceSwapServiceAsyncStub, field: str) -> None:
    error = await refusal(stub.Swap(swap_request(**{field: given(png(portrait())[:4000])})))
    assert error.reason == "IMAGE_UNREADABLE"
    assert error.field == f"{field}.data"


async def test_index_past_the_last_face_says_how_many_there_are(stub: FaceSwapServiceAsyncStub) -> None:
    error = await refusal(stub.Swap(swap_request(target_face_indexes=[3])))
    assert error.reason == "FACE_INDEX_OUT_OF_RANGE"
    assert error.field == "target_face_indexes"
    assert "shows 1 face" in error.message
    error = await refusal(stub.Swap(swap_request(reference_face_index=1)))
    assert error.field == "reference_face_index"


async def test_engine_that_is_not_there_is_refused_with_those_that_are(stub: FaceSwapServiceAsyncStub) -> None:
    error = await refusal(stub.Swap(swap_request(engine="inswapper")))
    assert error.reason == "UNKNOWN_ENGINE"
    assert error.field == "engine"
    assert "mesh" in error.message


async def test_turned_reference_is_refused_with_its_angles(stub: FaceSwapServiceAsyncStub) -> None:
    photo = group_photo()
    if photo is None:
        pytest.skip("the insightface package is not installed")
    faces = (await stub.DetectFaces(pb2.DetectFacesRequest(image=given(photo)))).faces
    turned = max(faces, key=lambda face: abs(face.pose.yaw))
    error = await refusal(stub.Swap(swap_request(reference_image=given(photo), reference_face_index=turned.index)))
    assert error.reason == "FACE_TURNED_TOO_FAR"
    assert f"yaw {turned.pose.yaw:.0f}°" in error.message


async def test_limits_of_the_contract_are_checked(stub: FaceSwapServiceAsyncStub) -> None:
    error = await refusal(stub.Swap(swap_request(min_score=0.01)))
    assert error.reason == "INVALID_REQUEST"
    assert [violation.field for violation in error.violations] == ["min_score"]


async def test_detect_faces_describes_each_face(stub: FaceSwapServiceAsyncStub) -> None:
    image = side_by_side(drawn(2), portrait())
    response = await stub.DetectFaces(pb2.DetectFacesRequest(image=given(image), order=pb2.FACE_ORDER_RIGHT_TO_LEFT))
    assert (response.width, response.height) == (image.shape[1], image.shape[0])
    assert [face.index for face in response.faces] == [0, 1]
    first = response.faces[0]
    assert first.box.x > response.faces[1].box.x
    assert len(first.landmarks) == 5
    assert first.gender == pb2.GENDER_FEMALE
    assert first.age_years > 15
    assert first.sharpness > 30


async def test_detect_faces_of_an_empty_scene_is_an_empty_list(stub: FaceSwapServiceAsyncStub) -> None:
    plain = given(np.full((64, 64, 3), 90, dtype=np.uint8))
    assert list((await stub.DetectFaces(pb2.DetectFacesRequest(image=plain))).faces) == []


async def test_compare_faces_tells_same_from_different(stub: FaceSwapServiceAsyncStub) -> None:
    mirrored = np.ascontiguousarray(portrait()[:, ::-1])
    same = await stub.CompareFaces(pb2.CompareFacesRequest(first_image=given(portrait()), second_image=given(mirrored)))
    other = await stub.CompareFaces(pb2.CompareFacesRequest(first_image=given(portrait()), second_image=given(drawn())))
    assert same.identity > 0.8
    assert other.identity < 0.3
    assert same.first_face.score > 0.5
    plain = given(np.full((64, 64, 3), 90, dtype=np.uint8))
    error = await refusal(stub.CompareFaces(pb2.CompareFacesRequest(first_image=given(portrait()), second_image=plain)))
    assert error.field == "second_image"


async def test_capabilities_name_engine_limits_and_revision(stub: FaceSwapServiceAsyncStub) -> None:
    response = await stub.GetCapabilities(pb2.GetCapabilitiesRequest())
    assert list(response.engines) == ["mesh"]
    assert list(response.restorers) == []
    assert response.max_pose_degrees == 30
    assert response.max_reference_turn_degrees == 25
    assert response.min_reference_face_pixels == 48
    assert len(response.model.revision) == 12
    assert response.model.profile == "miniature"


async def test_full_queue_refuses_at_once(swapper: FaceSwapper, tmp_path: Path) -> None:
    settings = FaceSwapSettings.load(port=0, threads=2, queue_capacity=1, artifacts_url=str(tmp_path))
    spec = dataclasses.replace(make_spec(settings), load=lambda: swapper)
    async with running_service(spec, settings) as address, grpc.aio.insecure_channel(address) as channel:
        stub: FaceSwapServiceAsyncStub = FaceSwapServiceStub(channel)
        calls = [stub.Swap(swap_request()) for _ in range(8)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    errors = [from_rpc_error(outcome) for outcome in outcomes if isinstance(outcome, grpc.RpcError)]
    assert errors
    assert {error.reason for error in errors} == {"QUEUE_FULL"}
    assert all(error.retry_after_seconds for error in errors)


async def test_damaged_picture_is_refused_while_the_device_is_busy(swapper: FaceSwapper, tmp_path: Path) -> None:
    settings = FaceSwapSettings.load(port=0, threads=2, artifacts_url=str(tmp_path))
    spec = dataclasses.replace(make_spec(settings), load=lambda: swapper)
    assert spec.worker is not None
    release = threading.Event()
    async with running_service(spec, settings) as address, grpc.aio.insecure_channel(address) as channel:
        stub: FaceSwapServiceAsyncStub = FaceSwapServiceStub(channel)
        spec.worker.submit(lambda token, emit: release.wait(60), token=CancelToken(), emit=lambda event: None)
        try:
            damaged = given(png(portrait())[:4000])
            calls = {
                "target_image.data": stub.Swap(swap_request(target_image=damaged)),
                "image.data": stub.DetectFaces(pb2.DetectFacesRequest(image=damaged)),
                "second_image.data": stub.CompareFaces(
                    pb2.CompareFacesRequest(first_image=given(drawn()), second_image=damaged)
                ),
            }
            for field, call in calls.items():
                error = await asyncio.wait_for(refusal(call), 30)
                assert (error.reason, error.field) == ("IMAGE_UNREADABLE", field)
        finally:
            release.set()


async def test_altered_network_stops_the_service_from_loading(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    settings = FaceSwapSettings.load(port=0, weights_dir=tmp_path, artifacts_url=str(tmp_path / "artifacts"))
    with pytest.raises(Exception, match=r"face_detection\.onnx"):
        async with running_service(make_spec(settings), settings):
            pass
