"""The client's arguments into protobuf messages of the contract.

A value that its field cannot hold at all, such as an integer of 70 bits or a text that is no Unicode, raises
InvalidRequest as a value beyond its limit does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from likeness.common.v1 import image_pb2
from likeness.errors import InvalidRequest
from likeness.face_models import FaceModelAverage
from likeness.faceswap.v1 import face_model_service_pb2 as models
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.results import FaceOrder, Gender, ImageFormat, LoraUse, Priority

M = TypeVar("M", bound=Message)

ImageSource = bytes | str | os.PathLike[str]
"""A picture to hand in: its encoded bytes, a path, or an ``artifact://`` URI as a string."""

FORMATS = {
    ImageFormat.PNG: image_pb2.IMAGE_FORMAT_PNG,
    ImageFormat.JPEG: image_pb2.IMAGE_FORMAT_JPEG,
    ImageFormat.WEBP: image_pb2.IMAGE_FORMAT_WEBP,
}
PRIORITIES = {
    Priority.HIGH: generator.PRIORITY_HIGH,
    Priority.NORMAL: generator.PRIORITY_NORMAL,
    Priority.LOW: generator.PRIORITY_LOW,
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

GENDERS = {
    None: faceswap.GENDER_UNSPECIFIED,
    Gender.UNKNOWN: faceswap.GENDER_UNSPECIFIED,
    Gender.FEMALE: faceswap.GENDER_FEMALE,
    Gender.MALE: faceswap.GENDER_MALE,
}
AVERAGES = {
    FaceModelAverage.MEAN: models.FACE_MODEL_AVERAGE_MEAN,
    FaceModelAverage.MEDIAN: models.FACE_MODEL_AVERAGE_MEDIAN,
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
    priority: Priority = Priority.NORMAL,
    preview_every: int = 0,
    output_format: ImageFormat = ImageFormat.PNG,
    quality: int | None = None,
    store: bool = False,
) -> generator.GenerateRequest:
    """Return the message of a drawing. The server's own default stands for everything left out."""
    return filled(
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
            filled(generator.LoraSelection, lora_id=lora.lora_id, version=lora.version, strength=lora.strength)
            for lora in loras
        ],
        trigger_word=trigger_word,
        priority=PRIORITIES[Priority(priority)],
        preview_every=preview_every,
        output=image_output(output_format, quality, store),
    )


@dataclass(frozen=True)
class Reference:
    """One of several persons to put in: a picture or a face model."""

    image: ImageSource | None = None
    """A picture; None for a face model."""
    face_model_id: str = ""
    """Name of a face model; empty for a picture."""
    face_index: int | None = None
    """Which face of the picture; None when it holds exactly one."""


def reference(value: Reference | ImageSource) -> faceswap.Reference:
    """Return the message of a person to put in. Raises OSError when a path cannot be read."""
    entry = value if isinstance(value, Reference) else Reference(value)
    message = filled(faceswap.Reference, face_index=entry.face_index)
    if entry.image is not None:
        message.image.CopyFrom(image_input(entry.image))
    else:
        # Set also when it is empty: the rules then say what is wrong.
        message.face_model_id = entry.face_model_id
    return message


def swap_request(
    target_image: ImageSource,
    reference_image: ImageSource | None = None,
    *,
    face_model_id: str = "",
    references: Sequence[Reference | ImageSource] = (),
    target_face_indexes: Sequence[int] = (),
    all_target_faces: bool = False,
    target_gender: Gender | None = None,
    match_image: ImageSource | None = None,
    match_threshold: float | None = None,
    reference_face_index: int | None = None,
    reference_face_indexes: Sequence[int] = (),
    reference_order: FaceOrder = FaceOrder.LARGE_TO_SMALL,
    reference_gender: Gender | None = None,
    pairing: Sequence[int] = (),
    swap_weight: float | None = None,
    target_order: FaceOrder = FaceOrder.LARGE_TO_SMALL,
    restore_face: bool = True,
    restore_model: str = "",
    restore_visibility: float | None = None,
    restore_fidelity: float | None = None,
    engine: str = "",
    pixel_boost: int = 0,
    thorough: bool = False,
    min_score: float | None = None,
    output_format: ImageFormat = ImageFormat.PNG,
    quality: int | None = None,
    store: bool = False,
) -> faceswap.SwapRequest:
    """Return the message of a swap. Raises OSError when a path cannot be read."""
    return filled(
        faceswap.SwapRequest,
        target_image=image_input(target_image),
        reference_image=None if reference_image is None else image_input(reference_image),
        face_model_id=face_model_id,
        references=[reference(entry) for entry in references],
        target_face_indexes=target_face_indexes,
        all_target_faces=all_target_faces,
        target_gender=GENDERS[target_gender],
        match_image=None if match_image is None else image_input(match_image),
        match_threshold=match_threshold,
        reference_face_index=reference_face_index,
        reference_face_indexes=reference_face_indexes,
        reference_order=ORDERS[FaceOrder(reference_order)],
        reference_gender=GENDERS[reference_gender],
        pairing=pairing,
        swap_weight=swap_weight,
        target_order=ORDERS[FaceOrder(target_order)],
        restore_face=restore_face,
        restore_model=restore_model,
        restore_visibility=restore_visibility,
        restore_fidelity=restore_fidelity,
        engine=engine,
        pixel_boost=pixel_boost,
        thorough=thorough,
        min_score=min_score,
        output=image_output(output_format, quality, store),
    )


def detect_request(
    image: ImageSource,
    *,
    min_score: float | None = None,
    order: FaceOrder = FaceOrder.LARGE_TO_SMALL,
    thorough: bool = False,
    drawing: ImageFormat | None = None,
) -> faceswap.DetectFacesRequest:
    """Return the message that asks for faces. Raises OSError when a path cannot be read."""
    return filled(
        faceswap.DetectFacesRequest,
        image=image_input(image),
        min_score=min_score,
        order=ORDERS[FaceOrder(order)],
        thorough=thorough,
        drawing=None if drawing is None else image_output(drawing),
    )


def compare_request(
    first_image: ImageSource,
    second_image: ImageSource,
    *,
    first_face_index: int = 0,
    second_face_index: int = 0,
    order: FaceOrder = FaceOrder.LARGE_TO_SMALL,
    min_score: float | None = None,
) -> faceswap.CompareFacesRequest:
    """Return the message that asks how alike two faces are. Raises OSError when a path cannot be read."""
    return filled(
        faceswap.CompareFacesRequest,
        first_image=image_input(first_image),
        second_image=image_input(second_image),
        first_face_index=first_face_index,
        second_face_index=second_face_index,
        order=ORDERS[FaceOrder(order)],
        min_score=min_score,
    )


def build_face_model_request(
    face_model_id: str,
    images: Sequence[ImageSource],
    *,
    average: FaceModelAverage = FaceModelAverage.MEAN,
    min_score: float | None = None,
    replace: bool = False,
) -> models.BuildFaceModelRequest:
    """Return the message that builds a face model. Raises OSError when a path cannot be read."""
    return filled(
        models.BuildFaceModelRequest,
        face_model_id=face_model_id,
        images=[image_input(image) for image in images],
        average=AVERAGES[FaceModelAverage(average)],
        min_score=min_score,
        replace=replace,
    )


def list_face_models_request(page_size: int = 0, page_token: str = "") -> models.ListFaceModelsRequest:
    """Return the message that asks for a page of face models."""
    return filled(models.ListFaceModelsRequest, page_size=page_size, page_token=page_token)


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
