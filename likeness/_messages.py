"""Values and pictures into protobuf messages of the contract.

A value that its field cannot hold at all, such as an integer of 70 bits or a text that is no Unicode, raises
InvalidRequest as a value beyond its limit does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from likeness.common.v1 import image_pb2
from likeness.errors import InvalidRequest
from likeness.results import ImageFormat

M = TypeVar("M", bound=Message)

ImageSource = bytes | str | os.PathLike[str]
"""A picture to hand in: its encoded bytes, a path, or an ``artifact://`` URI as a string."""

FORMATS = {
    ImageFormat.PNG: image_pb2.IMAGE_FORMAT_PNG,
    ImageFormat.JPEG: image_pb2.IMAGE_FORMAT_JPEG,
    ImageFormat.WEBP: image_pb2.IMAGE_FORMAT_WEBP,
}


def image_input(source: ImageSource) -> image_pb2.ImageInput:
    """Return the message of a picture. Raises OSError when a path cannot be read."""
    if isinstance(source, bytes | bytearray | memoryview):
        return image_pb2.ImageInput(data=bytes(source))
    if isinstance(source, str) and source.startswith("artifact://"):
        return image_pb2.ImageInput(artifact_uri=source)
    return image_pb2.ImageInput(data=Path(source).read_bytes())


def image_output(
    output_format: ImageFormat = ImageFormat.PNG, quality: int | None = None, store: bool = False
) -> image_pb2.ImageOutput:
    """Return how an answer's pictures are encoded and delivered."""
    return filled(image_pb2.ImageOutput, format=FORMATS[ImageFormat(output_format)], quality=quality, store=store)


def filled(kind: type[M], **values: Any) -> M:
    """Return a message with these values; None leaves a field out."""
    try:
        return kind(**values)
    except ValueError as error:
        name = next((name for name, value in values.items() if not _fits(kind, name, value)), None)
        raise InvalidRequest(f"{name}: the value is out of range, or no valid text", field=name) from error


def _fits(kind: type[Message], name: str, value: Any) -> bool:
    try:
        kind(**{name: value})
    except ValueError:
        return False
    return True
