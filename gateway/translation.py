"""REST bodies into messages of the contract, checked by the contract's own rules before anything is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from core.runtime.validation import validate
from gateway.errors import in_rest_names, violations_error
from gateway.models import DrawingFields
from gateway.negotiation import Accepted, AnswerKind
from likeness._drawing_requests import PRIORITIES
from likeness._messages import FORMATS
from likeness.common.v1 import image_pb2
from likeness.errors import InvalidRequest
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.results import ImageFormat

NO_NAMES: Mapping[str, str] = {}


def check(message: Message, names: Mapping[str, str] = NO_NAMES) -> None:
    """Check a message against the rules of its proto. Raises InvalidRequest with fields in REST's names."""
    try:
        validate(message)
    except InvalidRequest as error:
        raise violations_error(in_rest_names(error, names).violations) from None


def output(body: Any, accepted: Accepted) -> image_pb2.ImageOutput:
    """Return how the answer's pictures are encoded: as the body says, else as Accept does, else PNG.

    Raises InvalidRequest when the two disagree, or when a picture as the answer itself should also be stored.
    """
    wanted: ImageFormat | None = body.output_format
    if accepted.image_format is not None and wanted not in (None, accepted.image_format):
        raise InvalidRequest(
            f"Accept asks for {accepted.image_format.media_type}, output_format for another format",
            field="output_format",
        )
    if accepted.kind is AnswerKind.IMAGE and body.store:
        raise InvalidRequest("an answer that is the picture itself is not stored; accept JSON", field="store")
    message = image_pb2.ImageOutput(format=FORMATS[wanted or accepted.image_format or ImageFormat.PNG])
    fill(message, {"quality": body.quality, "store": body.store}, {"quality": "quality"})
    return message


def generate_request(
    body: DrawingFields, *, mode: str, accepted: Accepted, picture: image_pb2.ImageOutput
) -> generator.GenerateRequest:
    """Return the checked message of a drawing. Raises InvalidRequest."""
    if accepted.kind is AnswerKind.IMAGE and (body.n or 1) != 1:
        raise InvalidRequest("an answer that is the picture itself holds one; accept JSON for more", field="n")
    if body.preview_every and accepted.kind is not AnswerKind.EVENTS:
        raise InvalidRequest(
            "previews come as events; accept text/event-stream, or leave it out", field="preview_every"
        )
    message = generator.GenerateRequest(output=picture, priority=PRIORITIES[body.priority])
    values = {
        "prompt": body.prompt,
        "negative_prompt": body.negative_prompt,
        "mode": mode,
        "aspect_ratio": body.aspect_ratio,
        "width": body.width,
        "height": body.height,
        "seed": body.seed,
        "count": body.n,
        "steps": body.steps,
        "true_cfg_scale": body.true_cfg_scale,
        "trigger_word": body.trigger_word,
        "preview_every": body.preview_every,
    }
    fill(message, values)
    for index, lora in enumerate(body.loras[:100]):
        values = {"lora_id": lora.lora_id, "version": lora.version, "strength": lora.strength}
        fill(message.loras.add(), values, prefix=f"loras[{index}].")
    check(message)
    return message


def fill(message: Message, values: Mapping[str, Any], names: Mapping[str, str] = NO_NAMES, *, prefix: str = "") -> None:
    """Set the fields that are not None. Raises InvalidRequest for a number that its field cannot hold."""
    for name, value in values.items():
        if value is None:
            continue
        try:
            setattr(message, name, value)
        except (ValueError, TypeError):
            error = InvalidRequest(f"{prefix}{name}: the value is out of range", field=prefix + name)
            raise in_rest_names(error, names) from None
