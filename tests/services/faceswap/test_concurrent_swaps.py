"""Sixteen swaps at once over gRPC: every answer belongs to its request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from core.faces.arrays import Image
from core.runtime.images import ImageFormat as FileFormat
from core.runtime.images import decode_image, encode_image
from likeness.common.v1 import image_pb2
from likeness.faceswap.v1 import faceswap_service_pb2 as pb2
from tests.support.faces import BARE, drawn, png, portrait

if TYPE_CHECKING:
    from likeness.faceswap.v1.faceswap_service_pb2_grpc import FaceSwapServiceAsyncStub

CALLS = 16
FORMATS = (image_pb2.IMAGE_FORMAT_PNG, image_pb2.IMAGE_FORMAT_JPEG, image_pb2.IMAGE_FORMAT_WEBP)


def given(image: Image, file_format: FileFormat = FileFormat.PNG) -> image_pb2.ImageInput:
    data = png(image) if file_format is FileFormat.PNG else encode_image(image, file_format).data
    return image_pb2.ImageInput(data=data)


def target(number: int) -> Image:
    """A drawn person of its own for each number, each in a size of its own."""
    return drawn(BARE[number % len(BARE)], 160 + 4 * number)


def requests() -> list[pb2.SwapRequest]:
    """Swaps that differ in target, reference, format and weight."""
    references = (given(portrait()), given(drawn(18, 256), FileFormat.WEBP))
    return [
        pb2.SwapRequest(
            target_image=given(target(number), tuple(FileFormat)[number % 3]),
            reference_image=references[number % 2],
            swap_weight=0.5 if number % 5 == 0 else 1.0,
            output=image_pb2.ImageOutput(format=FORMATS[(number // 2) % 3]),
        )
        for number in range(CALLS)
    ]


async def test_sixteen_swaps_at_once_each_get_their_own_answer(stub: FaceSwapServiceAsyncStub) -> None:
    asked = requests()
    alone = [await stub.Swap(request) for request in asked]
    assert len({answer.image.sha256 for answer in alone}) == CALLS
    turn = np.random.default_rng(4).permutation(CALLS)
    together = await asyncio.gather(*(stub.Swap(asked[number]) for number in turn))
    for number, answer in zip(turn, together, strict=True):
        assert answer.image.sha256 == alone[number].image.sha256
        assert answer.swapped == alone[number].swapped
        assert answer.target_faces == alone[number].target_faces
        assert decode_image(answer.image.data, field="image").shape == target(number).shape
