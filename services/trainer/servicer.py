"""The trainer's protocol: messages in, calls to the stores, messages out."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc.aio

from core.runtime.calls import current_metadata
from core.runtime.cancellation import CancelToken
from core.runtime.work import Emit
from core.training.photos import PhotoFiles
from likeness.errors import InvalidRequest, ServiceUnavailable
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from likeness.trainer.v1 import trainer_service_pb2_grpc
from services.trainer.dry_run import forecast
from services.trainer.engine import TrainerEngine, TrainerWorker, wait_for
from services.trainer.job_store import NewJob
from services.trainer.photos import content_of_upload
from services.trainer.plan import training_spec
from services.trainer.records import ENDED, JobRecord, State, published_loras
from services.trainer.run_folder import FolderHeld
from services.trainer.webhook_message import decode_secret

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")

DEFAULT_PAGE_SIZE = 100
_COME_BACK_SECONDS = 1.0
_TRY_AGAIN_SECONDS = 10.0
_LET_GO_SECONDS = 30.0


class TrainerServicer(trainer_service_pb2_grpc.TrainerServiceServicer):
    """``likeness.trainer.v1.TrainerService`` over an engine."""

    def __init__(self, engine: TrainerEngine, worker: TrainerWorker) -> None:
        """Answer from ``engine``; dry runs are done on the thread of ``worker``."""
        self._engine = engine
        self._jobs = engine.jobs
        self._worker = worker

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
        sha256 = _request_sha256(request)
        found = await asyncio.to_thread(
            self._jobs.find, metadata.tenant_id, request.job_id, metadata.idempotency_key, sha256
        )
        uploads = [image.artifact_uri for image in request.images if image.artifact_uri]
        if found is not None:
            await asyncio.to_thread(self._take_uploads, uploads)
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
        record = await asyncio.to_thread(self._create, job, uploads)
        return pb2.CreateTrainingJobResponse(job=await self._message(record))

    async def DryRunTraining(self, request: pb2.DryRunTrainingRequest, context: Context) -> pb2.DryRunTrainingResponse:
        """Check the photos; one that can't be read is reported. Raises InvalidRequest, artifact and fetch errors."""
        job = request.job
        spec = training_spec(job, self._engine.settings, job_id=job.job_id)
        await self._check_webhook(job)
        # Taking photos in is work: a full queue is told before it.
        self._worker.check_room()
        # A folder of a job's kind: should this process be killed, the sweep finds it.
        folder = self._engine.settings.work_dir / uuid.uuid4().hex
        try:
            entries = await self._engine.intake.spool(folder, self._engine.intake.receive(job, _deadline(context)))

            def work(token: CancelToken, emit: Emit) -> pb2.DryRunTrainingResponse:
                report = self._engine.inspect(PhotoFiles(entries, folder, token), spec)
                return forecast(report, spec, self._jobs, self._engine.settings)

            token = CancelToken.for_call(context)
            answer, _ = await self._worker.call(work, token=token, tenant=current_metadata().tenant_id, kind="dry_run")
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
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

    async def PublishCheckpoint(
        self, request: pb2.PublishCheckpointRequest, context: Context
    ) -> pb2.PublishCheckpointResponse:
        """Publish a further checkpoint.

        Raises TrainingJobNotFound, Conflict while the job has not ended, InvalidRequest for a step that was not scored,
        ArtifactNotFound, ServiceUnavailable.
        """
        record, token = await self._record(request.job_id), CancelToken.for_call(context)
        lora = await self._once_let_go(lambda: self._engine.checkpoints.publish(record, request.step, token))
        return pb2.PublishCheckpointResponse(lora=lora)

    async def DeleteTrainingJob(
        self, request: pb2.DeleteTrainingJobRequest, context: Context
    ) -> pb2.DeleteTrainingJobResponse:
        """Remove a job. Raises TrainingJobNotFound, Conflict while it has not ended, ServiceUnavailable."""
        record = await self._record(request.job_id)
        for lora in published_loras(record.message) if request.delete_lora and record.ended else ():
            await asyncio.to_thread(self._engine.loras.remove, record.tenant_id, lora.lora_id, lora.version)
        await self._once_let_go(lambda: self._engine.remover.remove(record))
        return pb2.DeleteTrainingJobResponse()

    async def DeleteCharacter(
        self, request: pb2.DeleteCharacterRequest, context: Context
    ) -> pb2.DeleteCharacterResponse:
        """Have a character forgotten, and wait until it is. Raises ServiceUnavailable when something holds it up."""
        named = current_metadata().tenant_id, request.character_id
        deletions = self._engine.deletions
        await asyncio.to_thread(deletions.begin, *named)
        while (found := await asyncio.to_thread(deletions.get, *named)) is not None and not found.done:
            if found.error:
                raise ServiceUnavailable(
                    f"what there was is not all gone yet, and is tried again by itself: {found.error}",
                    retry_after_seconds=_TRY_AGAIN_SECONDS,
                )
            if self._worker.leaving.is_set():
                raise ServiceUnavailable(
                    "the trainer is shutting down; the next one goes on with the deletion",
                    retry_after_seconds=_COME_BACK_SECONDS,
                )
            await wait_for(self._worker.leaving, self._engine.settings.poll_seconds)
        answer = pb2.DeleteCharacterResponse()
        if found is not None:  # another call may have seen it first
            await asyncio.to_thread(deletions.take, *named)
            answer.job_ids.extend(found.job_ids)
            answer.lora_versions.extend(found.lora_versions)
        return answer

    def _create(self, job: NewJob, uploads: list[str]) -> JobRecord:
        """Keep a job. In one piece: a call that ends meanwhile must not take the photos from a job that is there."""
        created = False
        try:
            record, created = self._jobs.create(job)
        finally:
            if not created:
                for photo in job.photos:
                    self._engine.artifacts.delete(photo.uri)
        self._take_uploads(uploads)
        return record

    def _take_uploads(self, uris: list[str]) -> None:
        self._engine.remover.remove_uploads(self._jobs.take_uploads(uris))

    async def _once_let_go(self, work: Callable[[], T]) -> T:
        """Do blocking work that holds a job's folder, when nobody else holds it any more. Raises FolderHeld."""
        ends = time.monotonic() + _LET_GO_SECONDS
        while True:
            try:
                return await asyncio.to_thread(work)
            except FolderHeld:
                # A job is told to have ended a moment before its run lets go of its folder.
                if time.monotonic() > ends or self._worker.leaving.is_set():
                    raise
            await wait_for(self._worker.leaving, self._engine.settings.poll_seconds)

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


def _request_sha256(request: pb2.CreateTrainingJobRequest) -> str:
    """Return what tells a request from others. Each upload has a place of its own; here its content counts alone."""
    if any(image.artifact_uri for image in request.images):
        named = pb2.CreateTrainingJobRequest()
        named.CopyFrom(request)
        for image in named.images:
            if image.artifact_uri:
                image.artifact_uri = content_of_upload(image.artifact_uri)
        request = named
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()


def _deadline(context: Context) -> float | None:
    left = context.time_remaining()
    return None if left is None else time.monotonic() + left
