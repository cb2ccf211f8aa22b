"""Training over REST: the body that asks for a job, into a message of the contract, and the documents of answers."""

from __future__ import annotations

import asyncio
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, RootModel

from gateway import translation
from gateway.answer_models import Document
from gateway.images import checked, decode_text
from gateway.models import Body, ImageValue, limited
from likeness.common.v1 import image_pb2
from likeness.errors import InvalidRequest
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from likeness.trainer_client import settings_message
from likeness.training import CharacterDeletion, PublishedLora, TrainingForecast, TrainingJob, TrainingSettings

NAMES: Mapping[str, str] = {f"job.{name}": name for name in pb2.CreateTrainingJobRequest.DESCRIPTOR.fields_by_name} | {
    f"settings.{name}": name for name in pb2.TrainingSettings.DESCRIPTOR.fields_by_name
}
"""Names of the fields of `TrainingBody`, where the protos have others."""

_OWN = ("job_id", "character_id", "trigger_word", "class_word", "webhook_url", "webhook_secret")
_SETTINGS = ("rank", "steps", "learning_rate", "resolution", "checkpoint_every", "overrides")


def _parse_overrides(value: Any) -> Any:
    """Return an object that a form holds as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("must be a JSON object") from None


class TrainingBody(Body):
    """A LoRA to train from 4 to 100 photos of a character; 10 to 20 are best."""

    character_id: str = limited(
        pb2.CreateTrainingJobRequest, "character_id", ..., "Name of the character, and of the LoRA that comes out."
    )
    trigger_word: str = limited(
        pb2.CreateTrainingJobRequest, "trigger_word", ..., "The word that will call the character."
    )
    job_id: str = limited(
        pb2.CreateTrainingJobRequest, "job_id", "", "Name of the job; one is made when empty. The same name with the "
        "same body is the same job.",
    )  # fmt: skip
    images: list[ImageValue] = limited(
        pb2.CreateTrainingJobRequest, "images", [], "Photos: data URLs, base64, artifact URIs, or files of a form."
    )
    image_urls: list[str] = limited(
        pb2.CreateTrainingJobRequest, "image_urls", [], "Photos that the trainer fetches, by https.", items={
            "type": "string", "maxLength": 2048,
        },
    )  # fmt: skip
    archive: str | bytes | None = Field(
        None,
        description="Photos as a zip file, a text file beside each with its caption: in a form a file, else base64.",
    )
    captions: list[str] = limited(
        pb2.CreateTrainingJobRequest, "captions", [], "What each photo of images and image_urls shows, in their "
        "order: all that shall stay changeable.", items={"type": "string", "maxLength": 1000},
    )  # fmt: skip
    class_word: str = limited(
        pb2.CreateTrainingJobRequest, "class_word", "", "What the character is; person when empty.", examples=["woman"]
    )
    rank: int | None = limited(pb2.TrainingSettings, "rank", None, "Rank of the LoRA; the profile's own.")
    steps: int | None = limited(pb2.TrainingSettings, "steps", None, "Steps in all; the profile's own.")
    learning_rate: float | None = limited(pb2.TrainingSettings, "learning_rate", None, "Highest learning rate.")
    resolution: int | None = limited(
        pb2.TrainingSettings, "resolution", None, "Side of a square of the size trained at, a multiple of 16."
    )
    seed: int = limited(pb2.TrainingSettings, "seed", 0, "Seed of data order, noise and samples.")
    checkpoint_every: int | None = limited(
        pb2.TrainingSettings, "checkpoint_every", None, "Steps from one checkpoint to the next."
    )
    overrides: Annotated[dict[str, Any], BeforeValidator(_parse_overrides)] = Field(
        {}, description="Everything else about a run, by the names of the profile's file of training settings."
    )
    webhook_url: str = limited(
        pb2.CreateTrainingJobRequest, "webhook_url", "", "Where events are sent by POST; nowhere when empty."
    )
    webhook_secret: str = limited(
        pb2.CreateTrainingJobRequest, "webhook_secret", "", "Key that signs them; the deployment's own when empty."
    )
    timeout_seconds: float | None = Field(
        None, description="The answer is wanted within so many seconds.", json_schema_extra={"exclusiveMinimum": 0}
    )
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "character_id": "anna",
                    "trigger_word": "ohwx",
                    "class_word": "woman",
                    "image_urls": [f"https://example.com/anna-{number}.jpg" for number in range(1, 5)],
                    "webhook_url": "https://example.com/hooks/likeness",
                }
            ]
        }
    )


class TrainingImageBody(Body):
    """A photo to keep for a job."""

    image: ImageValue


class CheckpointBody(Body):
    """A checkpoint to publish."""

    step: int = limited(
        pb2.PublishCheckpointRequest,
        "step",
        ...,
        "Step of one of the job's checkpoints, or a cancelled job's checkpoint_step.",
    )


class PublishedLoraDocument(RootModel[PublishedLora]):
    """A LoRA that was published."""


class TrainingImageDocument(Document):
    """A photo that was kept, for a day or until a job takes it."""

    artifact_uri: str


class TrainingJobDocument(RootModel[TrainingJob]):
    """A training job."""


class TrainingForecastDocument(RootModel[TrainingForecast]):
    """What a training job would be."""


class CharacterDeletionDocument(RootModel[CharacterDeletion]):
    """What there was of a character that was forgotten."""


class TrainingJobListDocument(Document):
    """A page of training jobs, the newest first."""

    jobs: list[TrainingJob]
    next_page_token: str


async def training_request(body: TrainingBody) -> pb2.CreateTrainingJobRequest:
    """Return the checked message of a job. Raises InvalidRequest and the image errors."""
    message = pb2.CreateTrainingJobRequest()
    values = {name: getattr(body, name) for name in _OWN}
    translation.fill(message, values)
    for name in ("image_urls", "captions"):
        try:
            getattr(message, name).extend(getattr(body, name))
        except ValueError:
            raise InvalidRequest(f"{name}: a text is no valid Unicode", field=name) from None
    settings = TrainingSettings(seed=body.seed, **{name: getattr(body, name) for name in _SETTINGS})
    message.settings.CopyFrom(settings_message(settings))
    if body.archive is not None:
        message.archive = await asyncio.to_thread(_archive, body.archive)
    for image in await asyncio.to_thread(_images, body.images):
        message.images.append(image)
    translation.check(message)
    return message


def training_image(value: str | bytes, field: str) -> image_pb2.ImageInput:
    """Return a photo of a body. Raises InvalidRequest and the image errors."""
    if isinstance(value, bytes):
        return image_pb2.ImageInput(data=checked(value, field))
    text = value.strip()
    if text.startswith("artifact://"):
        return image_pb2.ImageInput(artifact_uri=text)
    if "://" in text[:32]:
        raise InvalidRequest(f"{field}: URLs go into image_urls", field=field)
    return image_pb2.ImageInput(data=checked(decode_text(text, field), field))


def _images(values: Sequence[str | bytes]) -> list[image_pb2.ImageInput]:
    return [training_image(value, f"images[{number}]") for number, value in enumerate(values)]


def _archive(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return binascii.a2b_base64(value.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise InvalidRequest("archive: not base64; send the file as multipart/form-data", field="archive") from None
