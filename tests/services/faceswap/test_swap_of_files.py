"""What a target's file has beside its pixels comes back from a swap, and turned or small faces are swapped too."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import pytest
from PIL import Image, ImageCms

from core.runtime.images import decode_image
from likeness.common.v1 import image_pb2
from likeness.errors import ImageTooLarge, from_rpc_error
from likeness.faceswap.v1 import faceswap_service_pb2 as pb2
from tests.support.faces import drawn, png, portrait

if TYPE_CHECKING:
    from likeness.faceswap.v1.faceswap_service_pb2_grpc import FaceSwapServiceAsyncStub

_HEIC = Path(__file__).resolve().parents[2] / "data" / "heic" / "portrait.heic"


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def request(target: bytes, **changes: Any) -> pb2.SwapRequest:
    return pb2.SwapRequest(
        target_image=image_pb2.ImageInput(data=target),
        reference_image=image_pb2.ImageInput(data=changes.pop("reference", png(portrait()))),
        **changes,
    )


def half_transparent() -> Image.Image:
    image = Image.fromarray(drawn()).convert("RGBA")
    alpha = np.full(drawn().shape[:2], 255, np.uint8)
    alpha[:, :20] = 0
    image.putalpha(Image.fromarray(alpha))
    return image


async def test_transparency_and_profile_of_the_target_come_back(stub: FaceSwapServiceAsyncStub) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "at home"
    response = await stub.Swap(request(saved(half_transparent(), icc_profile=profile, exif=exif)))
    with Image.open(io.BytesIO(response.image.data)) as answer:
        assert answer.mode == "RGBA"
        assert answer.info["icc_profile"] == profile
        assert not answer.getexif()
        pixels = np.asarray(answer)
    assert (pixels[:, :, 3] == np.asarray(half_transparent())[:, :, 3]).all()
    assert (pixels[:, :20, :3] == drawn()[:, :20]).all()
    assert not (pixels[:, 20:, :3] == drawn()[:, 20:]).all()
    assert b"at home" not in response.image.data


async def test_jpeg_cannot_keep_transparency_and_a_warning_says_so(stub: FaceSwapServiceAsyncStub) -> None:
    output = image_pb2.ImageOutput(format=image_pb2.IMAGE_FORMAT_JPEG)
    response = await stub.Swap(request(saved(half_transparent()), output=output))
    assert any("transparency" in warning for warning in response.warnings)
    assert decode_image(response.image.data, field="image")[:, :10].min() > 240


async def test_a_heic_is_a_reference(stub: FaceSwapServiceAsyncStub) -> None:
    response = await stub.Swap(request(png(drawn()), reference=_HEIC.read_bytes()))
    assert response.swapped[0].identity_after > 0.4


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_a_head_that_lies_or_hangs_is_swapped(stub: FaceSwapServiceAsyncStub, turns: int) -> None:
    upright = (await stub.Swap(request(png(drawn())))).swapped[0]
    turned = await stub.Swap(request(png(np.ascontiguousarray(np.rot90(drawn(), turns)))))
    assert turned.swapped[0].identity_after == pytest.approx(upright.identity_after, abs=0.12)
    roll = turned.target_faces[0].pose.roll + 90 * turns
    assert abs((roll + 180) % 360 - 180) < 10


async def test_small_faces_beside_a_large_one_are_detected_on_request(stub: FaceSwapServiceAsyncStub) -> None:
    canvas = np.full((1100, 1100, 3), 128, np.uint8)
    canvas[:512, :512] = portrait()
    small = Image.fromarray(portrait()).resize((70, 70), Image.Resampling.LANCZOS)
    canvas[900:970, 900:970] = np.asarray(small)
    picture = image_pb2.ImageInput(data=png(canvas))
    plain = await stub.DetectFaces(pb2.DetectFacesRequest(image=picture))
    thorough = await stub.DetectFaces(pb2.DetectFacesRequest(image=picture, thorough=True))
    assert (len(plain.faces), len(thorough.faces)) == (1, 2)
    assert thorough.faces[1].box.x > 880


async def test_a_target_of_20000_pixels_is_refused_with_the_limits(stub: FaceSwapServiceAsyncStub) -> None:
    target = saved(Image.new("1", (20000, 1200)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Swap(request(target))
    error = from_rpc_error(caught.value)
    assert isinstance(error, ImageTooLarge)
    assert "20000×1200" in error.message
    assert error.metadata["max_side"] == "16383"
    assert error.field == "target_image.data"
