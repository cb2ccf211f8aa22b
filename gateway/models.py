"""The bodies of requests. Types stand here; limits come from the protos, which also check them."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from google.protobuf.message import Message
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from gateway.limits import field_limits
from likeness.common.v1 import image_pb2
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.results import FaceOrder, ImageFormat

PORTRAIT_PROMPT = "A professional woman in a modern office"
DATA_URL = "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQ…"

ImageValue = Annotated[
    str | bytes,
    WithJsonSchema(
        {
            "type": "string",
            "description": (
                "A JPEG, PNG or WebP picture of one frame, at most 20 MiB and 40 megapixels: a data URL, bare "
                "base64, an https URL, or an artifact:// URI of an earlier answer. In multipart/form-data, a file."
            ),
            "examples": [DATA_URL, "https://example.com/me.jpg"],
        }
    ),
]


def _choice(kind: type[StrEnum]) -> Callable[[Any], Any]:
    """Return what turns a choice's text into the choice: strict types, as JSON has them, would take no text."""

    def convert(value: Any) -> Any:
        if value is None or isinstance(value, kind):
            return value
        if isinstance(value, str) and value in set(kind):
            return kind(value)
        raise ValueError(f"must be one of {', '.join(kind)}")

    return convert


def limited(message: type[Message], field: str, default: Any, description: str, **extra: Any) -> Any:
    """Return a pydantic field whose JSON Schema has the limits of a proto's field."""
    return Field(default, description=description, json_schema_extra={**field_limits(message, field), **extra})


class Body(BaseModel):
    """A request body: fields that are not known are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LoraBody(Body):
    """A registered LoRA and how strongly it acts."""

    lora_id: str = limited(generator.LoraSelection, "lora_id", ..., "Name of the LoRA in the registry.")
    version: int = limited(generator.LoraSelection, "version", 0, "Version; the newest when 0.")
    strength: float = limited(generator.LoraSelection, "strength", 1.0, "How strongly it acts.")


class AnswerFields(Body):
    """How the answer is encoded and delivered."""

    output_format: Annotated[ImageFormat | None, BeforeValidator(_choice(ImageFormat))] = Field(
        None, description="File format of the pictures; what Accept names, else png."
    )
    quality: int | None = limited(
        image_pb2.ImageOutput, "quality", None, "JPEG or WebP quality; 95 when left out. PNG ignores it."
    )
    store: bool = Field(False, description="Keep the pictures in the artifact store and answer with their URIs.")
    timeout_seconds: float | None = Field(
        None,
        description="The answer is wanted within so many seconds; what cannot meet that is refused. "
        "The X-Timeout-Seconds header says the same.",
        json_schema_extra={"exclusiveMinimum": 0},
    )


class DrawingFields(AnswerFields):
    """What to draw."""

    prompt: str = limited(
        generator.GenerateRequest, "prompt", ..., "What to draw; not blank.", examples=[PORTRAIT_PROMPT]
    )
    negative_prompt: str | None = limited(
        generator.GenerateRequest, "negative_prompt", None, "What to keep out; the model's own default when left out."
    )
    aspect_ratio: str = limited(
        generator.GenerateRequest, "aspect_ratio", "", "Shape of the picture; 1:1 when nothing says otherwise.",
        examples=["9:16"],
    )  # fmt: skip
    width: int | None = limited(generator.GenerateRequest, "width", None, "Width in pixels; goes with height.")
    height: int | None = limited(generator.GenerateRequest, "height", None, "Height in pixels; goes with width.")
    seed: int | None = limited(
        generator.GenerateRequest, "seed", None, "Seed of the first picture; picture k is drawn with seed + k. "
        "A random one when left out.",
    )  # fmt: skip
    n: int | None = limited(generator.GenerateRequest, "count", None, "How many pictures; 1 when left out.")
    steps: int | None = limited(generator.GenerateRequest, "steps", None, "Denoising steps; the mode's own default.")
    true_cfg_scale: float | None = limited(
        generator.GenerateRequest, "true_cfg_scale", None, "Classifier-free guidance; the mode's own default."
    )
    loras: list[LoraBody] = limited(
        generator.GenerateRequest, "loras", [], "LoRAs to add to the model for this request alone."
    )
    trigger_word: str = limited(
        generator.GenerateRequest, "trigger_word", "", "Put in front of the prompt when the prompt does not hold it."
    )


class ModeField(Body):
    """How to draw."""

    mode: str = limited(
        generator.GenerateRequest, "mode", "", 'How to draw: "full" (the default), "fast", or a further mode of '
        "the deployment.", examples=["full", "fast"],
    )  # fmt: skip


class ReferenceFields(Body):
    """The face to put in, and how."""

    reference_image: ImageValue
    reference_face_index: int | None = limited(
        faceswap.SwapRequest, "reference_face_index", None, "Which face of the reference to use, largest first. "
        "Needed when it holds several.",
    )  # fmt: skip
    restore_face: bool = Field(True, description="Restore the swapped faces; the answer says whether it was done.")
    engine: str = limited(faceswap.SwapRequest, "engine", "", "Swap engine; the profile's own when empty.")
    min_score: float | None = limited(
        faceswap.SwapRequest, "min_score", None, "Faces below this detection score do not count; 0.5 when left out."
    )


class DrawBody(DrawingFields, ModeField):
    """A picture from words."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "A woman with red hair in a café", "mode": "fast", "seed": 7}]}
    )


class FastPortraitBody(DrawingFields, ReferenceFields):
    """A picture from words, with the face of a reference, in the fast mode."""

    include_original: bool = Field(False, description="Answer also with each picture as it was before the swap.")
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": PORTRAIT_PROMPT,
                    "reference_image": DATA_URL,
                    "aspect_ratio": "9:16",
                    "restore_face": True,
                }
            ]
        }
    )


class PortraitBody(FastPortraitBody, ModeField):
    """A picture from words, with the face of a reference."""


class SwapBody(AnswerFields, ReferenceFields):
    """The face of a reference put onto a given picture."""

    target_image: ImageValue
    target_face_indexes: list[int] = limited(
        faceswap.SwapRequest, "target_face_indexes", [], "Which faces of the target to change, in target_order; "
        "the first one when empty.",
    )  # fmt: skip
    target_order: Annotated[FaceOrder, BeforeValidator(_choice(FaceOrder))] = Field(
        FaceOrder.LARGE_TO_SMALL, description="Order in which target_face_indexes count."
    )
    model_config = ConfigDict(json_schema_extra={"examples": [{"target_image": DATA_URL, "reference_image": DATA_URL}]})
