"""The trainer's protocol: messages in, calls to the stores, messages out."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from core.runtime.calls import current_metadata
from core.runtime.cancellation import CancelToken
from core.runtime.work import Emit
from core.training.spec import Photo
from likeness.errors import ImageError, InvalidRequest, ServiceUnavailable
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from likeness.trainer.v1 import trainer_service_pb2_grpc
from services.trainer.dry_run import forecast
from services.trainer.engine import TrainerEngine, TrainerWorker, wait_for
from services.trainer.job_store import NewJob
from services.trainer.lora_removal import LoraRemoval
from services.trainer.plan import training_spec
from services.trainer.records import ENDED, JobRecord, State
from services.trainer.webhook_message import decode_secret

Context = grpc.aio.ServicerContext[Any, Any]

DEFAULT_PAGE_SIZE = 100
_COME_BACK_SECONDS = 1.0


class TrainerServicer(trainer_service_pb2_grpc.TrainerServiceServicer):
    """``likeness.trainer.v1.TrainerService`` over an engine."""

    def __init__(self, engine: TrainerEngine, worker: TrainerWorker, loras: LoraRemoval) -> None:
        """Answer from ``engine``; dry runs are done on the thread of ``worker``."""
        self._engine = engine
        self._jobs = engine.jobs
        self._worker = worker
        self._loras = loras

    async def UploadTrainingImage(
        self, request: pb2.UploadTrainingImageRequest, context: Context
    ) -> pb2.UploadTrainingImageResponse:
        """Keep a photo. Raises ImageError."""
        uri = await self._engine.intake.upload(request.data)
        await asyncio.to_thread(self._jobs.keep_upload, uri)
        return pb2.UploadTrainingImageResponse(artifact_uri=uri)

    async def CreateTrainingJob(
        self, request: pb2.CreateTrainingJobRequest, context: Context
    ) -> pb2.CreateTrainingJobResponse:
        """Queue a job, or return that of an equal request.

        Raises InvalidRequest, the image, artifact and fetch errors, Conflict, QueueFull.
        """
        metadata = current_metadata()
        sha256 = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
        found = await asyncio.to_thread(
            self._jobs.find, metadata.tenant_id, request.job_id, metadata.idempotency_key, sha256
        )
        if found is not None:
            return pb2.CreateTrainingJobResponse(job=await self._message(found))
        spec = training_spec(request, self._engine.settings, job_id=request.job_id)
        await self._check_webhook(request)
        uid = uuid.uuid4().hex
        photos = await self._engine.intake.keep(uid, self._engine.intake.receive(request, _deadline(context)))
        kept = pb2.CreateTrainingJobRequest()
        kept.CopyFrom(request)
        for name in ("images", "image_urls", "archive", "captions"):
            kept.ClearField(name)
        job = NewJob(
            uid=uid,
            tenant_id=metadata.tenant_id,
            request=kept,
            request_sha256=sha256,
            photos=photos,
            class_word=spec.settings.class_word,
            idempotency_key=metadata.idempotency_key,
        )
        created = False
        try:
            record, created = await asyncio.to_thread(self._jobs.create, job)
        finally:
            if not created:
                for photo in photos:
                    await asyncio.to_thread(self._engine.artifacts.delete, photo.uri)
        return pb2.CreateTrainingJobResponse(job=await self._message(record))

    async def DryRunTraining(self, request: pb2.DryRunTrainingRequest, context: Context) -> pb2.DryRunTrainingResponse:
        """Check the photos; one that can't be read is reported. Raises InvalidRequest, artifact and fetch errors."""
        job = request.job
        spec = training_spec(job, self._engine.settings, job_id=job.job_id)
        await self._check_webhook(job)
        pictures: list[Photo] = []
        async for photo in self._engine.intake.receive(job, _deadline(context)):
            try:
                rgb = await self._engine.intake.decode(photo)
            except ImageError as error:
                pictures.append(Photo(photo.name, None, photo.caption, error.message))
            else:
                pictures.append(Photo(photo.name, rgb, photo.caption))

        def work(token: CancelToken, emit: Emit) -> pb2.DryRunTrainingResponse:
            report = self._engine.inspect(pictures, spec)
            return forecast(report, spec, self._jobs, self._engine.settings)

        token = CancelToken.for_call(context)
        answer, _ = await self._worker.call(work, token=token, tenant=current_metadata().tenant_id, kind="dry_run")
        return answer

    async def GetTrainingJob(self, request: pb2.GetTrainingJobRequest, context: Context) -> pb2.GetTrainingJobResponse:
        """Tell how a job stands. Raises TrainingJobNotFound."""
        return pb2.GetTrainingJobResponse(job=await self._message(await self._record(request.job_id)))

    async def ListTrainingJobs(
        self, request: pb2.ListTrainingJobsRequest, context: Context
    ) -> pb2.ListTrainingJobsResponse:
        """List a page. Raises InvalidRequest for a bad token."""
        records, token = await asyncio.to_thread(
            self._jobs.list_jobs,
            current_metadata().tenant_id,
            request.page_size or DEFAULT_PAGE_SIZE,
            request.page_token,
            request.character_id,
        )
        return pb2.ListTrainingJobsResponse(jobs=[record.message for record in records], next_page_token=token)

    async def WatchTrainingJob(
        self, request: pb2.WatchTrainingJobRequest, context: Context
    ) -> AsyncIterator[pb2.WatchTrainingJobResponse]:
        """Stream events until the job has ended. Raises TrainingJobNotFound, and ServiceUnavailable at a shutdown."""
        record = await self._record(request.job_id)
        after = request.after_sequence
        while True:
            events = await asyncio.to_thread(self._jobs.events, record.uid, after)
            for event in events:
                after = event.sequence
                yield pb2.WatchTrainingJobResponse(event=event)
            if events and events[-1].state in ENDED:
                return
            if not events:
                record = await self._record(request.job_id)
                if record.ended and record.message.sequence <= after:
                    return
                await wait_for(self._worker.leaving, self._engine.settings.poll_seconds)
            if self._worker.leaving.is_set():
                raise ServiceUnavailable(
                    "the trainer is shutting down; watch again after the last event",
                    retry_after_seconds=_COME_BACK_SECONDS,
                )

    async def CancelTrainingJob(
        self, request: pb2.CancelTrainingJobRequest, context: Context
    ) -> pb2.CancelTrainingJobResponse:
        """Tell a job to stop. Raises TrainingJobNotFound."""
        record = await asyncio.to_thread(self._jobs.cancel, current_metadata().tenant_id, request.job_id)
        return pb2.CancelTrainingJobResponse(job=await self._message(record))

    async def DeleteTrainingJob(
        self, request: pb2.DeleteTrainingJobRequest, context: Context
    ) -> pb2.DeleteTrainingJobResponse:
        """Remove a job. Raises TrainingJobNotFound, Conflict while it has not ended, ServiceUnavailable."""
        record = await self._record(request.job_id)
        if request.delete_lora and record.ended and record.message.HasField("lora"):
            await self._loras.remove(record.message.lora.lora_id, record.message.lora.version)
        await asyncio.to_thread(self._engine.remover.remove, record)
        return pb2.DeleteTrainingJobResponse()

    async def _record(self, job_id: str) -> JobRecord:
        return await asyncio.to_thread(self._jobs.get, current_metadata().tenant_id, job_id)

    async def _message(self, record: JobRecord) -> pb2.TrainingJob:
        message = pb2.TrainingJob()
        message.CopyFrom(record.message)
        if message.state == State.STATE_QUEUED:
            message.queue_position = await asyncio.to_thread(self._jobs.queue_position, record)
        message.MergeFrom(await asyncio.to_thread(self._jobs.dataset, record.uid))
        return message

    async def _check_webhook(self, request: pb2.CreateTrainingJobRequest) -> None:
        """Raise InvalidRequest, FetchRefused or FetchFailed when a job's webhook can't be told."""
        if not request.webhook_url:
            return
        if request.webhook_secret:
            decode_secret(request.webhook_secret)
        elif not self._engine.settings.webhook_secret:
            raise InvalidRequest(
                "webhook_secret: this deployment signs with no key of its own; bring one", field="webhook_secret"
            )
        await self._engine.webhooks.check(request.webhook_url, field="webhook_url")


def _deadline(context: Context) -> float | None:
    left = context.time_remaining()
    return None if left is None else time.monotonic() + left
