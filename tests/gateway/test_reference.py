from __future__ import annotations

import pytest

from gateway.deadline import Deadline
from gateway.reference import ReferenceCheck, turn_degrees
from likeness import _convert as convert
from likeness.client import AsyncClient
from likeness.common.v1 import image_pb2
from likeness.errors import DeadlineExceeded
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.metadata import CallMetadata
from tests.support.services import FakeFaceSwap, face, picture, running_faceswap, unused_address

SWAP = faceswap.SwapRequest(reference_image=image_pb2.ImageInput(data=picture()))


class Counting(FakeFaceSwap):
    """Counts how often it is asked for its limits."""

    asked = 0

    async def GetCapabilities(self, request: object, context: object) -> faceswap.GetCapabilitiesResponse:
        self.asked += 1
        return await super().GetCapabilities(request, context)


async def test_the_limits_are_asked_for_once_in_their_lifetime() -> None:
    service = Counting()
    async with running_faceswap(service) as address, AsyncClient(unused_address(), address) as client:
        metadata, deadline = CallMetadata.new(), Deadline.after(30)
        keeping, forgetting = ReferenceCheck(lifetime_seconds=60), ReferenceCheck(lifetime_seconds=0)
        for check in (keeping, keeping, forgetting, forgetting):
            assert [face.index for face in await check(client, metadata, deadline, SWAP)] == [0]
    assert service.asked == 3


async def test_the_named_face_is_the_one_that_is_checked() -> None:
    service = FakeFaceSwap()
    service.faces = [face(0, yaw=80), face(1)]
    async with running_faceswap(service) as address, AsyncClient(unused_address(), address) as client:
        swap = faceswap.SwapRequest(reference_image=SWAP.reference_image, reference_face_index=1)
        (found,) = await ReferenceCheck()(client, CallMetadata.new(), Deadline.after(30), swap)
    assert found.index == 1


async def test_a_deadline_that_has_passed_asks_nothing() -> None:
    async with AsyncClient(unused_address(), unused_address()) as client:
        with pytest.raises(DeadlineExceeded):
            await ReferenceCheck()(client, CallMetadata.new(), Deadline.after(-1), SWAP)


@pytest.mark.parametrize(
    ("yaw", "pitch", "turn"), [(0, 0, 0), (25, 0, 25), (0, -25, 25), (-20, 20, 27.99), (90, 0, 90), (180, 0, 180)]
)
def test_the_turn_from_the_camera_counts_yaw_and_pitch_together(yaw: float, pitch: float, turn: float) -> None:
    assert turn_degrees(convert.face(face(yaw=yaw, pitch=pitch))) == pytest.approx(turn, abs=0.01)


async def test_a_reference_within_the_engines_own_limit_is_taken() -> None:
    service = FakeFaceSwap()
    service.faces = [face(yaw=24, pitch=0)]
    async with running_faceswap(service) as address, AsyncClient(unused_address(), address) as client:
        (found,) = await ReferenceCheck()(client, CallMetadata.new(), Deadline.after(30), SWAP)
    assert found.yaw == pytest.approx(24)
