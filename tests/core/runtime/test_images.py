"""The encoder, and pictures as messages."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.runtime.artifacts import ArtifactStore
from core.runtime.images import ImageFormat, encode_image, encode_output, read_image_input, write_image_output
from likeness.common.v1 import image_pb2
from likeness.errors import ArtifactNotFound, ImageUnreadable, InvalidRequest, LikenessError
from tests.support.pictures import close, decode, picture, save


@pytest.mark.parametrize("image_format", list(ImageFormat))
def test_what_is_encoded_is_described_and_decodes_again(image_format: ImageFormat) -> None:
    encoded = encode_image(picture(), image_format)
    assert (encoded.width, encoded.height) == (40, 30)
    assert encoded.media_type == f"image/{image_format.value.lower()}"
    assert encoded.sha256 == hashlib.sha256(encoded.data).hexdigest()
    assert close(decode(encoded.data), picture(), 0 if image_format is ImageFormat.PNG else 24)
    with Image.open(io.BytesIO(encoded.data)) as image:
        assert image.format == image_format.value
        assert not image.getexif()


def test_metadata_of_the_input_does_not_reach_the_output() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    exif[0x010E] = "at home"
    data = save(Image.fromarray(picture()), "JPEG", exif=exif, comment=b"at home")
    assert b"at home" in data
    for image_format in ImageFormat:
        out = encode_image(decode(data), image_format).data
        assert b"at home" not in out
        assert b"Exif" not in out


def test_jpeg_keeps_full_chroma() -> None:
    with Image.open(io.BytesIO(encode_image(picture(), ImageFormat.JPEG).data)) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_quality_makes_smaller_files() -> None:
    sizes = [len(encode_image(picture(200, 200), ImageFormat.JPEG, quality).data) for quality in (20, 60, 95)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("array", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3))])
def test_another_array_is_a_programming_error(array: Any) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        encode_image(array)
    with pytest.raises(ValueError, match="quality"):
        encode_image(picture(), quality=0)


def test_an_image_message_round_trips_by_bytes_and_by_uri(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    for output in (image_pb2.ImageOutput(), image_pb2.ImageOutput(store=True)):
        message = write_image_output(picture(), output, store)
        assert (message.media_type, message.width, message.height) == ("image/png", 40, 30)
        given = image_pb2.ImageInput(data=message.data, artifact_uri=message.artifact_uri)
        if not output.store:
            given = image_pb2.ImageInput(data=message.data)
        assert close(read_image_input(given, store, "target_image"), picture(), 0)


def test_the_requested_format_and_quality_are_used() -> None:
    output = image_pb2.ImageOutput(format=image_pb2.IMAGE_FORMAT_JPEG, quality=30)
    encoded = encode_output(picture(), output)
    assert encoded == encode_image(picture(), ImageFormat.JPEG, 30)


def test_errors_of_an_image_input_name_its_field(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    text = store.put("images", b"no picture", ".png")
    cases: list[tuple[image_pb2.ImageInput, type[LikenessError], str]] = [
        (image_pb2.ImageInput(data=b"x"), ImageUnreadable, "target_image.data"),
        (image_pb2.ImageInput(artifact_uri=text), ImageUnreadable, "target_image.artifact_uri"),
        (image_pb2.ImageInput(artifact_uri="artifact://x/y"), InvalidRequest, "target_image.artifact_uri"),
        (
            image_pb2.ImageInput(artifact_uri=text.replace(".png", ".jpg")),
            ArtifactNotFound,
            "target_image.artifact_uri",
        ),
    ]
    for message, kind, field in cases:
        with pytest.raises(kind) as caught:
            read_image_input(message, store, "target_image")
        assert caught.value.field == field
