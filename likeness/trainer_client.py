"""`AsyncTrainerClient`: the trainer of a deployment over gRPC, with typed results.

    async with AsyncTrainerClient() as client:
        photos = sorted(Path("anna").glob("*.jpg"))
        job = await client.create(TrainingPlan("anna", "ohwx", photos, class_word="woman"))
        async for event in client.watch(job.job_id):
            print(event.state, event.step, event.loss)

It raises `likeness.errors.LikenessError`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from likeness._messages import ImageSource
from likeness._training_convert import event_from_message, forecast_from_message, job_from_message, lora_from_message
from likeness.calls import CallOptions, StreamCall, UnaryCall
from likeness.channel import DEFAULT_TRAINER_ADDRESS, ChannelOptions, open_channel
from likeness.common.v1 import image_pb2
from likeness.errors import InvalidRequest, ModelLoading, ServiceUnavailable
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from likeness.trainer.v1 import trainer_service_pb2_grpc
from likeness.training import (
    CharacterDeletion,
    PublishedLora,
    TrainingEvent,
    TrainingForecast,
    TrainingJob,
    TrainingJobPage,
    TrainingSettings,
)

# Photos together larger than this are uploaded one by one: messages may have 64 MiB.
INLINE_BYTES = 16 * 2**20
_RECONNECT_PAUSE_SECONDS = 0.5
M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class TrainingPlan:
    """A job as it shall be. Its photos may come in several ways at once; there must be 4 to 100 of them."""

    character_id: str
    """Name of the character, and of the LoRA that comes out."""
    trigger_word: str
    """The word that will call the character."""
    images: Sequence[ImageSource] = ()
    """Photos: bytes, paths, or ``artifact://`` URIs as strings."""
    image_urls: Sequence[str] = ()
    """Photos that the trainer fetches."""
    archive: bytes | os.PathLike[str] | None = None
    """A zip file of photos, and text files of the same names with their captions."""
    captions: Sequence[str] = ()
    """One for each of ``images`` and ``image_urls``, or none."""
    class_word: str = ""
    """What the character is; the profile's own when empty."""
    job_id: str = ""
    """Name of the job; one is made when empty."""
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    webhook_url: str = ""
    """Where events are sent; nowhere when empty."""
    webhook_secret: str = field(default="", repr=False)
    """Key that signs them, ``whsec_…``; the deployment's own when empty."""


class AsyncTrainerClient:
    """Calls the trainer. Use it as an async context manager, inside one event loop."""

    def __init__(
        self,
        address: str = DEFAULT_TRAINER_ADDRESS,
        *,
        channel_options: ChannelOptions | None = None,
        default_options: CallOptions | None = None,
    ) -> None:
        """Take the trainer's address, ``host:port`` or a gRPC target. Connects with the first call."""
        self._default = default_options or CallOptions()
        self._channel = channel = open_channel(address, channel_options)
        stub: Any = trainer_service_pb2_grpc.TrainerServiceStub(channel)
        service = "trainer"
        self._upload: UnaryCall[pb2.UploadTrainingImageRequest, pb2.UploadTrainingImageResponse] = UnaryCall(
            stub.UploadTrainingImage, service
        )
        self._create: UnaryCall[pb2.CreateTrainingJobRequest, pb2.CreateTrainingJobResponse] = UnaryCall(
            stub.CreateTrainingJob, service
        )
        self._dry_run: UnaryCall[pb2.DryRunTrainingRequest, pb2.DryRunTrainingResponse] = UnaryCall(
            stub.DryRunTraining, service
        )
        self._get: UnaryCall[pb2.GetTrainingJobRequest, pb2.GetTrainingJobResponse] = UnaryCall(
            stub.GetTrainingJob, service
        )
        self._list: UnaryCall[pb2.ListTrainingJobsRequest, pb2.ListTrainingJobsResponse] = UnaryCall(
            stub.ListTrainingJobs, service
        )
        self._watch: StreamCall[pb2.WatchTrainingJobRequest, pb2.WatchTrainingJobResponse] = StreamCall(
            stub.WatchTrainingJob, service
        )
        self._cancel: UnaryCall[pb2.CancelTrainingJobRequest, pb2.CancelTrainingJobResponse] = UnaryCall(
            stub.CancelTrainingJob, service
        )
        self._publish: UnaryCall[pb2.PublishCheckpointRequest, pb2.PublishCheckpointResponse] = UnaryCall(
            stub.PublishCheckpoint, service
        )
        self._delete: UnaryCall[pb2.DeleteTrainingJobRequest, pb2.DeleteTrainingJobResponse] = UnaryCall(
            stub.DeleteTrainingJob, service
        )
        self._delete_character: UnaryCall[pb2.DeleteCharacterRequest, pb2.DeleteCharacterResponse] = UnaryCall(
            stub.DeleteCharacter, service
        )

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the channel."""
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls that still run are cancelled."""
        await self._channel.close()

    async def create(self, plan: TrainingPlan, options: CallOptions | None = None) -> TrainingJob:
        """Create a job. Raises LikenessError, and OSError when a path can't be read."""
        return await self.send_create(await self._message(plan, options), options)

    async def send_create(
        self, message: pb2.CreateTrainingJobRequest, options: CallOptions | None = None
    ) -> TrainingJob:
        """Create the job of a message of the contract. Raises LikenessError."""
        return job_from_message((await self._create(message, options or self._default)).job)

    async def dry_run(self, plan: TrainingPlan, options: CallOptions | None = None) -> TrainingForecast:
        """Tell what a job would be. Raises LikenessError, and OSError when a path can't be read."""
        return await self.send_dry_run(await self._message(plan, options), options)

    async def send_dry_run(
        self, message: pb2.CreateTrainingJobRequest, options: CallOptions | None = None
    ) -> TrainingForecast:
        """Tell what the job of a message would be. Raises LikenessError."""
        return forecast_from_message(
            await self._dry_run(pb2.DryRunTrainingRequest(job=message), options or self._default)
        )

    async def get(self, job_id: str, options: CallOptions | None = None) -> TrainingJob:
        """Tell how a job stands. Raises LikenessError."""
        return job_from_message(
            (await self._get(filled(pb2.GetTrainingJobRequest, job_id=job_id), options or self._default)).job
        )

    async def list(
        self, page_size: int = 0, page_token: str = "", character_id: str = "", options: CallOptions | None = None
    ) -> TrainingJobPage:
        """Return a page of jobs. Raises LikenessError."""
        message = filled(
            pb2.ListTrainingJobsRequest, page_size=page_size, page_token=page_token, character_id=character_id
        )
        answer = await self._list(message, options or self._default)
        return TrainingJobPage(tuple(map(job_from_message, answer.jobs)), answer.next_page_token)

    async def upload(self, data: bytes, options: CallOptions | None = None) -> str:
        """Keep a photo for a job to come; return its artifact URI. Raises LikenessError."""
        answer = await self._upload(pb2.UploadTrainingImageRequest(data=data), options or self._default)
        return answer.artifact_uri

    async def watch(
        self,
        job_id: str,
        after_sequence: int = 0,
        options: CallOptions | None = None,
        *,
        reconnect_seconds: float = 0.0,
    ) -> AsyncGenerator[TrainingEvent, None]:
        """Yield the events of a job until it has ended.

        Args:
            job_id: name of the job.
            after_sequence: only events after this number.
            options: what goes along with the call.
            reconnect_seconds: how long to try again when the trainer goes away, counted from its last event.

        Raises:
            LikenessError: there is no such job, or the trainer stays away.
        """
        seen = time.monotonic()
        while True:
            message = filled(pb2.WatchTrainingJobRequest, job_id=job_id, after_sequence=after_sequence)
            try:
                async with aclosing(self._watch(message, options or self._default)) as responses:
                    async for response in responses:
                        after_sequence, seen = response.event.sequence, time.monotonic()
                        yield event_from_message(response.event, job_id)
                return
            except (ServiceUnavailable, ModelLoading):
                if time.monotonic() - seen >= reconnect_seconds:
                    raise
            await asyncio.sleep(_RECONNECT_PAUSE_SECONDS)

    async def cancel(self, job_id: str, options: CallOptions | None = None) -> TrainingJob:
        """Stop a job. Raises LikenessError."""
        return job_from_message(
            (await self._cancel(filled(pb2.CancelTrainingJobRequest, job_id=job_id), options or self._default)).job
        )

    async def publish(self, job_id: str, step: int, options: CallOptions | None = None) -> PublishedLora:
        """Publish a further checkpoint of an ended job; return what it is. Raises LikenessError."""
        message = filled(pb2.PublishCheckpointRequest, job_id=job_id, step=step)
        return lora_from_message((await self._publish(message, options or self._default)).lora)

    async def delete(self, job_id: str, *, delete_lora: bool = False, options: CallOptions | None = None) -> None:
        """Remove a job. Raises LikenessError."""
        await self._delete(
            filled(pb2.DeleteTrainingJobRequest, job_id=job_id, delete_lora=delete_lora), options or self._default
        )

    async def delete_character(self, character_id: str, options: CallOptions | None = None) -> CharacterDeletion:
        """Forget a character: stop and remove its jobs, and all versions of its LoRA. Raises LikenessError."""
        message = filled(pb2.DeleteCharacterRequest, character_id=character_id)
        answer = await self._delete_character(message, options or self._default)
        return CharacterDeletion(tuple(answer.job_ids), tuple(answer.lora_versions))

    async def _message(self, plan: TrainingPlan, options: CallOptions | None) -> pb2.CreateTrainingJobRequest:
        message = filled(
            pb2.CreateTrainingJobRequest,
            job_id=plan.job_id,
            character_id=plan.character_id,
            trigger_word=plan.trigger_word,
            class_word=plan.class_word,
            image_urls=plan.image_urls,
            captions=plan.captions,
            webhook_url=plan.webhook_url,
            webhook_secret=plan.webhook_secret,
            settings=settings_message(plan.settings),
        )
        if plan.archive is not None:
            message.archive = plan.archive if isinstance(plan.archive, bytes) else Path(plan.archive).read_bytes()
        inline = sum(_size(image) for image in plan.images) + len(message.archive) <= INLINE_BYTES
        for image in plan.images:
            if isinstance(image, str) and image.startswith("artifact://"):
                message.images.append(image_pb2.ImageInput(artifact_uri=image))
                continue
            data = image if isinstance(image, bytes) else Path(image).read_bytes()
            if inline:
                message.images.append(image_pb2.ImageInput(data=data))
            else:
                uri = await self.upload(data, options)
                message.images.append(image_pb2.ImageInput(artifact_uri=uri))
        return message


def settings_message(settings: TrainingSettings) -> pb2.TrainingSettings:
    """Return the message of settings. Raises InvalidRequest for what it can't hold."""
    names = ("rank", "steps", "learning_rate", "resolution", "seed", "checkpoint_every")
    given = {name: value for name in names if (value := getattr(settings, name)) is not None}
    message = pb2.TrainingSettings()
    for name, value in given.items():
        field = f"settings.{name}"
        try:
            setattr(message, name, value)
        except (ValueError, TypeError) as error:
            raise InvalidRequest(f"{field}: is out of range, or no number", field=field) from error
    if settings.overrides:
        try:
            json_format.ParseDict(dict(settings.overrides), message.overrides)
        except (json_format.ParseError, TypeError, ValueError) as error:
            raise InvalidRequest("settings.overrides: not what JSON can hold", field="settings.overrides") from error
    return message


def _size(image: ImageSource) -> int:
    if isinstance(image, bytes):
        return len(image)
    return 0 if isinstance(image, str) and image.startswith("artifact://") else Path(image).stat().st_size


def filled(kind: type[M], **values: Any) -> M:
    """Return a message. Raises InvalidRequest when a field can't hold its value."""
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"{', '.join(values)}: a value is out of range, or no valid text") from error
