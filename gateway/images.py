"""Pictures as REST takes them, into the contract's `ImageInput`: data URL, base64, URL, file or artifact."""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Awaitable
from typing import Protocol

from likeness.common.v1 import image_pb2
from likeness.errors import ImageEmpty, ImageFormatUnsupported, ImageTooLarge, ImageUnreadable, InvalidRequest

MAX_IMAGE_BYTES = 20 * 1024 * 1024
MAX_URL_CHARACTERS = 2048
# Above this, base64 is decoded in a thread: the event loop has other clients.
_INLINE_CHARACTERS = 512 * 1024


class Fetcher(Protocol):
    """Fetches a picture from a URL, safely."""

    def __call__(self, url: str, *, field: str) -> Awaitable[bytes]:
        """Return the body. Raises FetchRefused and FetchFailed with ``field``."""


async def image_input(value: str | bytes, field: str, fetch: Fetcher) -> image_pb2.ImageInput:
    """Return the message of a picture. The service decodes it; here its size and first bytes are checked.

    Raises InvalidRequest, the image errors and the fetch errors, each with ``field``.
    """
    if isinstance(value, bytes):
        return image_pb2.ImageInput(data=checked(value, field))
    text = value.strip()
    if text.startswith("artifact://"):
        return image_pb2.ImageInput(artifact_uri=text)
    scheme, separator, _ = text[:64].partition("://")
    if separator and scheme.isascii() and scheme.replace("+", "").isalnum():
        if len(text) > MAX_URL_CHARACTERS:
            raise InvalidRequest(f"the URL has more than {MAX_URL_CHARACTERS} characters", field=field)
        return image_pb2.ImageInput(data=checked(await fetch(text, field=field), field))
    if len(text) > _INLINE_CHARACTERS:
        data = await asyncio.to_thread(decode_text, text, field)
    else:
        data = decode_text(text, field)
    return image_pb2.ImageInput(data=checked(data, field))


def decode_text(text: str, field: str) -> bytes:
    """Decode a data URL or bare base64. Raises InvalidRequest, ImageEmpty, ImageTooLarge, ImageUnreadable."""
    if text[:5].lower() == "data:":
        header, comma, payload = text.partition(",")
        header = header[:200].lower()
        if not comma or not header.endswith(";base64"):
            raise InvalidRequest("the data URL must be data:image/…;base64,…", field=field)
        media_type = header[len("data:") :].partition(";")[0]
        if not media_type.startswith("image/"):
            raise ImageFormatUnsupported(
                "the data URL does not say that it is a picture; it must be image/jpeg, image/png, image/webp, "
                "image/avif or image/heic",
                field=field,
            )
    else:
        payload = text
    try:
        # Many encoders break the lines, as MIME has it; some leave out the padding.
        digits = payload.encode("ascii").translate(None, b" \t\r\n")
        if not digits:
            raise ImageEmpty("the picture is empty", field=field)
        if len(digits) > (MAX_IMAGE_BYTES + 2) // 3 * 4 + 4:
            raise _too_large(field)
        return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ImageUnreadable(
            "the picture is neither a data URL, nor base64, nor an https or artifact URL", field=field
        ) from None


def checked(data: bytes, field: str) -> bytes:
    """Return the file when its size and first bytes are those of a format that is taken. Raises the image errors."""
    if not data:
        raise ImageEmpty("the picture is empty", field=field)
    if len(data) > MAX_IMAGE_BYTES:
        raise _too_large(field)
    if not is_picture(data):
        raise ImageFormatUnsupported(
            "the file is not a JPEG, PNG, WebP, AVIF or HEIC picture; these are the formats that are taken", field=field
        )
    return data


def is_picture(data: bytes) -> bool:
    """Tell whether a file's first bytes are those of a JPEG, PNG, WebP, AVIF or HEIC."""
    return (
        data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
        or (data.startswith(b"RIFF") and data[8:12] == b"WEBP")
        or (data[4:8] == b"ftyp" and data[8:11] in (b"avi", b"hei", b"hev", b"mif", b"msf"))
    )


def _too_large(field: str) -> ImageTooLarge:
    return ImageTooLarge(
        f"the picture has more than {MAX_IMAGE_BYTES} bytes", field=field, max_bytes=str(MAX_IMAGE_BYTES)
    )
