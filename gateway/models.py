"""The bodies of requests. Types stand here; limits come from the protos, which also check them."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from google.protobuf.message import Message
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema

from gateway.limits import field_limits
from likeness.common.v1 import image_pb2
from likeness.face_models import FaceModelAverage
from likeness.faceswap.v1 import face_model_service_pb2 as face_models
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.results import FaceOrder, Gender, ImageFormat, Priority

PORTRAIT_PROMPT = "A professional woman in a modern office"
DATA_URL = "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQ…"

ImageValue = Annotated[
    str | bytes,
    WithJsonSchema(
        {
            "type": "string",
            "description": (
                "A JPEG, PNG, WebP, AVIF or HEIC picture of one frame, at most 20 MiB and 40 megapixels: a data URL, "
                "bare base64, an https URL, or an artifact:// URI of an earlier answer. In multipart/form-data, a file."
            ),
            "examples": [DATA_URL, "https://example.com/me.jpg"],
        }
    ),
]


def choice(kind: type[StrEnum], *without: StrEnum) -> Callable[[Any], Any]:
    """Return what turns a choice's text into the choice: strict types, as JSON has them, would take no text."""
    choices = [choice for choice in kind if choice not in without]

    def convert(value: Any) -> Any:
        if value is None or isinstance(value, kind):
            return value
        if isinstance(value, str) and value in choices:
            return kind(value)
        raise ValueError(f"must be one of {', '.join(choices)}")

    return convert


def _split_indexes(value: Any, info: ValidationInfo) -> Any:
    """Return a list of indexes that was written as text, ``0,1,2``, in a form also in each of its parts."""
    form = not (info.context or {}).get("json")
    texts = [value] if isinstance(value, str) else value if form and isinstance(value, list) else None
    if texts is None or not all(isinstance(text, str) for text in texts):
        return value
    parts = [part.strip() for text in texts for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise ValueError("must be indexes from 0 on, with commas between them")
    return [int(part) for part in parts]


Indexes = Annotated[list[int], BeforeValidator(_split_indexes)]
GenderChoice = Annotated[
    Gender | None,
    BeforeValidator(choice(Gender, Gender.UNKNOWN)),
    WithJsonSchema({"type": "string", "enum": [Gender.FEMALE.value, Gender.MALE.value]}),
]


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

    output_format: Annotated[ImageFormat | None, BeforeValidator(choice(ImageFormat))] = Field(
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
    priority: Annotated[Priority, BeforeValidator(choice(Priority))] = Field(
        Priority.NORMAL,
        description="Which work goes first where several requests wait: high before the tenant's own others, low after "
        "everybody's. It does not change the pictures.",
    )
    preview_every: int = limited(
        generator.GenerateRequest, "preview_every", 0, "Show each picture after every so many steps, as events; 0 for "
        "never. Needs Accept: text/event-stream.",
    )  # fmt: skip


class ModeField(Body):
    """How to draw."""

    mode: str = limited(
        generator.GenerateRequest, "mode", "", 'How to draw: "full" (the default), "fast", or a further mode of '
        "the deployment.", examples=["full", "fast"],
    )  # fmt: skip


class ReferenceBody(Body):
    """One of several persons to put in: a picture or a face model."""

    image: ImageValue | None = None
    face_model_id: str = limited(faceswap.Reference, "face_model_id", "", "Name of a face model, in place of image.")
    face_index: int | None = limited(
        faceswap.Reference, "face_index", None, "Which face of the picture; needed when it holds several."
    )


class SwapFields(Body):
    """Whom to put in, onto which faces, and how. Score, gender, match, order, index act in this order."""

    reference_image: ImageValue | None = Field(
        None, description="The picture with the face to put in; or face_model_id, or references, say whom."
    )
    face_model_id: str = limited(
        faceswap.SwapRequest, "face_model_id", "", "Name of a face model, in place of reference_image."
    )
    references: list[ReferenceBody | ImageValue] = limited(
        faceswap.SwapRequest, "references", [], "Several persons to put in, in place of reference_image: pictures, "
        "or objects with image or face_model_id. Reference k goes to the k-th changed face.",
    )  # fmt: skip
    reference_face_index: int | None = limited(
        faceswap.SwapRequest, "reference_face_index", None, "Which face of reference_image to use, in "
        "reference_order. Needed when it holds several.",
    )  # fmt: skip
    reference_face_indexes: Indexes = limited(
        faceswap.SwapRequest, "reference_face_indexes", [], "Several faces of reference_image to put in, in "
        "reference_order; a list, or text with commas.",
    )  # fmt: skip
    reference_order: Annotated[FaceOrder, BeforeValidator(choice(FaceOrder))] = Field(
        FaceOrder.LARGE_TO_SMALL, description="Order in which the faces of a reference count."
    )
    reference_gender: GenderChoice = Field(None, description="Only faces of a reference that look like this count.")
    target_face_indexes: Indexes = limited(
        faceswap.SwapRequest, "target_face_indexes", [], "Which faces of the target to change, in target_order; a "
        "list, or text with commas. When empty the first ones, as many as there are references.",
    )  # fmt: skip
    all_target_faces: bool = Field(False, description="Change every face of the target that the rules leave.")
    target_order: Annotated[FaceOrder, BeforeValidator(choice(FaceOrder))] = Field(
        FaceOrder.LARGE_TO_SMALL, description="Order in which target_face_indexes count."
    )
    target_gender: GenderChoice = Field(None, description="Only faces of the target that look like this are changed.")
    match_image: ImageValue | None = Field(
        None, description="Only faces of the target that are like the largest face of this picture are changed."
    )
    match_threshold: float | None = limited(
        faceswap.SwapRequest, "match_threshold", None, "Least cosine to the face of match_image; 0.4 when left out."
    )
    pairing: Indexes = limited(
        faceswap.SwapRequest, "pairing", [], "For the k-th changed face the place of its reference; a list, or text "
        "with commas. In turn when empty.",
    )  # fmt: skip
    swap_weight: float | None = limited(
        faceswap.SwapRequest, "swap_weight", None, "1 for the reference's face (the default), 0 for the target's own, "
        "between them a likeness of both.",
    )  # fmt: skip
    restore_face: bool = Field(True, description="Restore the swapped faces; the answer says whether it was done.")
    restore_model: str = limited(
        faceswap.SwapRequest, "restore_model", "", "Restoration model; the profile's own when empty."
    )
    restore_visibility: float | None = limited(
        faceswap.SwapRequest, "restore_visibility", None, "How strongly the restored face shows; 1 when left out."
    )
    restore_fidelity: float | None = limited(
        faceswap.SwapRequest, "restore_fidelity", None, "For CodeFormer: 0 looks best, 1 keeps most to the face."
    )
    engine: str = limited(faceswap.SwapRequest, "engine", "", "Swap engine; the profile's own when empty.")
    pixel_boost: int = limited(
        faceswap.SwapRequest, "pixel_boost", 0, "Side in pixels at which a neural engine draws the face: 256 or 512; "
        "the network's own when 0.",
    )  # fmt: skip
    min_score: float | None = limited(
        faceswap.SwapRequest, "min_score", None, "Faces below this detection score do not count; 0.5 when left out."
    )
    thorough: bool = Field(
        False, description="Also look for small, dark and turned faces where the target shows others already."
    )


class DrawBody(DrawingFields, ModeField):
    """A picture from words."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "A woman with red hair in a café", "mode": "fast", "seed": 7}]}
    )


class FastPortraitBody(DrawingFields, SwapFields):
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


class SwapBody(AnswerFields, SwapFields):
    """The faces of one or more references put onto a given picture."""

    target_image: ImageValue
    model_config = ConfigDict(json_schema_extra={"examples": [{"target_image": DATA_URL, "reference_image": DATA_URL}]})


class FaceModelBody(Body):
    """Photos of one person to build a face model from."""

    images: list[ImageValue] = limited(
        face_models.BuildFaceModelRequest, "images", ..., "Photos of one person with one face each, 1–20. Others are "
        "rejected, and the answer says which and why.",
    )  # fmt: skip
    average: Annotated[FaceModelAverage, BeforeValidator(choice(FaceModelAverage))] = Field(
        FaceModelAverage.MEAN, description="How the photos' embeddings become one."
    )
    min_score: float | None = limited(
        face_models.BuildFaceModelRequest, "min_score", None, "Faces below this detection score do not count; 0.5 "
        "when left out.",
    )  # fmt: skip
    replace: bool = Field(False, description="Take the place of a model of the same name; else that is a conflict.")
    timeout_seconds: float | None = Field(
        None,
        description="The answer is wanted within so many seconds.",
        json_schema_extra={"exclusiveMinimum": 0},
    )
    model_config = ConfigDict(json_schema_extra={"examples": [{"images": [DATA_URL, DATA_URL], "average": "mean"}]})
