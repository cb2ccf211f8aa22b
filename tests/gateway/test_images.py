from __future__ import annotations

import base64

import pytest

from gateway.images import decode_text, image_input
from likeness.errors import LikenessError
from tests.support.services import picture


async def no_fetch(url: str, *, field: str) -> bytes:
    raise AssertionError(f"fetched {url}")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_every_way_to_hand_in_a_picture_gives_its_bytes(kind: str) -> None:
    data = picture(kind=kind)
    text = base64.b64encode(data).decode()

    async def fetch(url: str, *, field: str) -> bytes:
        assert (url, field) == ("https://example.com/a", "reference_image")
        return data

    data_url = f"data:image/{kind.lower()};base64,{text}"
    upper = f"DATA:image/{kind.lower()};BASE64,{text}"
    lines = base64.encodebytes(data).decode()
    for value in (data, text, text.rstrip("="), lines, data_url, upper, "https://example.com/a"):
        message = await image_input(value, "reference_image", fetch)
        assert message.data == data


async def test_an_artifact_stays_a_name() -> None:
    message = await image_input("artifact://images/ab.png", "reference_image", no_fetch)
    assert message.artifact_uri == "artifact://images/ab.png"


async def test_a_large_picture_is_decoded_beside_the_event_loop() -> None:
    data = picture() + b"\0" * 2_000_000
    message = await image_input(base64.b64encode(data).decode(), "target_image", no_fetch)
    assert message.data == data


def test_errors_name_the_field() -> None:
    with pytest.raises(LikenessError) as caught:
        decode_text("%%%", "target_image")
    assert caught.value.field == "target_image"
