"""LoRAs over REST: the bodies that name and register them, into messages of the contract, and their documents."""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field

from gateway import translation
from gateway.answer_models import Document
from gateway.errors import in_rest_names, violations_error
from gateway.models import Body, DrawingFields, LoraBody, ModeField, limited
from gateway.negotiation import Accepted
from likeness.common.v1 import image_pb2
from likeness.errors import InvalidRequest
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.generator.v1 import lora_service_pb2 as pb2
from likeness.loras import Lora

DRAWING_NAMES: Mapping[str, str] = {
    "loras[0].lora_id": "lora_id",
    "loras[0].version": "lora_version",
    "loras[0].strength": "lora_strength",
    # The body's own LoRA stands before those of its list.
    **{f"loras[{number + 1}]": f"loras[{number}]" for number in range(100)},
}
"""Names of the fields of `LoraDrawBody`, where the protos have others."""

REGISTRY_NAMES: Mapping[str, str] = {
    "start.lora_id": "lora_id",
    "start.trigger_word": "trigger_word",
    "start.sha256": "file",
    "chunk": "file",
    "data": "file",
}
"""Names of the fields of `LoraFileBody`, where the protos have others."""


class LoraDrawBody(DrawingFields, ModeField):
    """A picture from words, with a LoRA."""

    lora_id: str = limited(generator.LoraSelection, "lora_id", ..., "Name of the LoRA in the registry.")
    lora_version: int = limited(generator.LoraSelection, "version", 0, "Version of the LoRA; the newest when 0.")
    lora_strength: float = limited(generator.LoraSelection, "strength", 1.0, "How strongly the LoRA acts.")
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "A woman with red hair in a café",
                    "lora_id": "anna",
                    "lora_strength": 1.0,
                    "trigger_word": "ohwx woman",
                }
            ]
        }
    )


class LoraFileBody(Body):
    """A LoRA to keep: its file, or where it is stored."""

    file: str | bytes | None = Field(
        None, description="The safetensors file: in multipart/form-data a file, in JSON base64."
    )
    artifact_uri: str | None = limited(
        pb2.RegisterLoraRequest, "artifact_uri", None, "In place of file: its URI in the artifact store."
    )
    trigger_word: str = limited(pb2.RegisterLoraRequest, "trigger_word", "", "The word that calls the character.")
    timeout_seconds: float | None = Field(
        None, description="The answer is wanted within so many seconds.", json_schema_extra={"exclusiveMinimum": 0}
    )
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"artifact_uri": "artifact://training/…", "trigger_word": "ohwx woman"}]}
    )


class RegisteredLoraDocument(Document):
    """One version of a registered LoRA."""

    lora_id: str
    version: int = Field(description="From 1; the number of a deleted version is never given again.")
    trigger_word: str
    format: str = Field(description="Key format of the file.", examples=["diffusers", "kohya"])
    rank: int = Field(description="Highest rank among its modules.")
    modules: int = Field(description="How many modules of the model it changes.")
    base_model: str = Field(description="Name of the model that it was checked against.")
    size_bytes: int
    sha256: str
    create_time: str = Field(description="RFC 3339, UTC.")
    shared: bool = Field(description="Whether every tenant may use it.")


class LoraListDocument(Document):
    """A page of LoRAs, each in its newest version."""

    loras: list[RegisteredLoraDocument]
    next_page_token: str = Field(description="Token of the next page; empty on the last.")


class LoraRemovalDocument(Document):
    """What was removed."""

    lora_id: str
    versions: list[int]


def draw_request(
    body: LoraDrawBody, *, accepted: Accepted, picture: image_pb2.ImageOutput
) -> generator.GenerateRequest:
    """Return the checked message of a drawing with a LoRA. Raises InvalidRequest."""
    # Not validated here: the contract's own rules are, with everything else.
    own = LoraBody.model_construct(lora_id=body.lora_id, version=body.lora_version, strength=body.lora_strength)
    with_own = body.model_copy(update={"loras": [own, *body.loras]})
    try:
        return translation.generate_request(with_own, mode=body.mode, accepted=accepted, picture=picture)
    except InvalidRequest as error:
        raise violations_error(in_rest_names(error, DRAWING_NAMES).violations) from None


async def lora_source(lora_id: str, body: LoraFileBody) -> bytes | str:
    """Return the file of a body, or its checked URI. Raises InvalidRequest."""
    if (body.file is None) == (body.artifact_uri is None):
        raise InvalidRequest("send either file or artifact_uri", field="file")
    if body.artifact_uri is not None:
        message = pb2.RegisterLoraRequest()
        values = {"lora_id": lora_id, "artifact_uri": body.artifact_uri, "trigger_word": body.trigger_word}
        translation.fill(message, values)
        translation.check(message)
        return body.artifact_uri
    start = pb2.UploadLoraStart()
    translation.fill(start, {"lora_id": lora_id, "trigger_word": body.trigger_word})
    translation.check(start)
    data = body.file if isinstance(body.file, bytes) else await asyncio.to_thread(_decode, body.file or "")
    if not data:
        raise InvalidRequest("the file is empty", field="file")
    return data


def _decode(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise InvalidRequest("file: not base64; send the file as multipart/form-data", field="file") from None


def lora_document(lora: Lora) -> dict[str, Any]:
    """Return a LoRA as `RegisteredLoraDocument` has it."""
    return {
        "lora_id": lora.lora_id,
        "version": lora.version,
        "trigger_word": lora.trigger_word,
        "format": lora.format,
        "rank": lora.rank,
        "modules": lora.modules,
        "base_model": lora.base_model,
        "size_bytes": lora.size_bytes,
        "sha256": lora.sha256,
        "create_time": lora.create_time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "shared": lora.shared,
    }
