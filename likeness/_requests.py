"""The client's arguments into protobuf messages of the contract.

A value that its field cannot hold at all, such as an integer of 70 bits or a text that is no Unicode, raises
InvalidRequest as a value beyond its limit does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from likeness.common.v1 import image_pb2
from likeness.errors import InvalidRequest
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.results import FaceOrder, ImageFormat, LoraUse

M = TypeVar("M", bound=Message)

ImageSource = bytes | str | os.PathLike[str]
"""A picture to hand in: its encoded bytes, a path, or an ``artifact://`` URI as a string."""

FORMATS = {
    ImageFormat.PNG: image_pb2.IMAGE_FORMAT_PNG,
    ImageFormat.JPEG: image_pb2.IMAGE_FORMAT_JPEG,
    ImageFormat.WEBP: image_pb2.IMAGE_FORMAT_WEBP,
}
ORDERS = {
    FaceOrder.LARGE_TO_SMALL: faceswap.FACE_ORDER_LARGE_TO_SMALL,
    FaceOrder.SMALL_TO_LARGE: faceswap.FACE_ORDER_SMALL_TO_LARGE,
    FaceOrder.LEFT_TO_RIGHT: faceswap.FACE_ORDER_LEFT_TO_RIGHT,
    FaceOrder.RIGHT_TO_LEFT: faceswap.FACE_ORDER_RIGHT_TO_LEFT,
    FaceOrder.TOP_TO_BOTTOM: faceswap.FACE_ORDER_TOP_TO_BOTTOM,
    FaceOrder.BOTTOM_TO_TOP: faceswap.FACE_ORDER_BOTTOM_TO_TOP,
    FaceOrder.BEST_SCORE: faceswap.FACE_ORDER_BEST_SCORE,
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
    return _filled(image_pb2.ImageOutput, format=FORMATS[ImageFormat(output_format)], quality=quality, store=store)


def generate_request(
    prompt: str,
    *,
    negative_prompt: str | None = None,
    mode: str = "",
    aspect_ratio: str = "",
    width: int | None = None,
    height: int | None = None,
    seed: int | None = None,
    count: int | None = None,
    steps: int | None = None,
    true_cfg_scale: float | None = None,
    loras: Sequence[LoraUse] = (),
    trigger_word: str = "",
    output_format: ImageFormat = ImageFormat.PNG,
    quality: int | None = None,
    store: bool = False,
) -> generator.GenerateRequest:
    """Return the message of a drawing. The server's own default stands for everything left out."""
    return _filled(
        generator.GenerateRequest,
        prompt=prompt,
        negative_prompt=negative_prompt,
        mode=mode,
        aspect_ratio=aspect_ratio,
        width=width,
        height=height,
        seed=seed,
        count=count,
        steps=steps,
        true_cfg_scale=true_cfg_scale,
        loras=[
            _filled(generator.LoraSelection, lora_id=lora.lora_id, version=lora.version, strength=lora.strength)
            for lora in loras
        ],
        trigger_word=trigger_word,
        output=image_output(output_format, quality, store),
    )


def swap_request(
    target_image: ImageSource,
    reference_image: ImageSource,
    *,
    target_face_indexes: Sequence[int] = (),
    reference_face_index: int | None = None,
    target_order: FaceOrder = FaceOrder.LARGE_TO_SMALL,
    restore_face: bool = True,
    engine: str = "",
    min_score: float | None = None,
    output_format: ImageFormat = ImageFormat.PNG,
    quality: int | None = None,
    store: bool = False,
) -> faceswap.SwapRequest:
    """Return the message of a swap. Raises OSError when a path cannot be read."""
    return _filled(
        faceswap.SwapRequest,
        target_image=image_input(target_image),
        reference_image=image_input(reference_image),
        target_face_indexes=target_face_indexes,
        reference_face_index=reference_face_index,
        target_order=ORDERS[FaceOrder(target_order)],
        restore_face=restore_face,
        engine=engine,
        min_score=min_score,
        output=image_output(output_format, quality, store),
    )


def detect_request(
    image: ImageSource, *, min_score: float | None = None, order: FaceOrder = FaceOrder.LARGE_TO_SMALL
) -> faceswap.DetectFacesRequest:
    """Return the message that asks for faces. Raises OSError when a path cannot be read."""
    return _filled(
        faceswap.DetectFacesRequest, image=image_input(image), min_score=min_score, order=ORDERS[FaceOrder(order)]
    )


def _filled(kind: type[M], **values: Any) -> M:
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
