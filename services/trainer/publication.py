"""Publishing further checkpoints of jobs that have ended: scored ones, and the last one of a cancelled job."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from core.runtime.cancellation import CancelToken
from core.training.spec import checkpoint_lora
from likeness.channel import ChannelOptions
from likeness.errors import ArtifactNotFound, Conflict, InvalidRequest
from likeness.sync import Client
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.changes import ChangeRules, apply_change
from services.trainer.database import JOBS, Database
from services.trainer.forget_store import ForgetStore
from services.trainer.job_store import JobStore
from services.trainer.publisher import LoraPublisher
from services.trainer.records import JobRecord, lock, published_loras
from services.trainer.run_folder import held_folder


class CheckpointPublisher:
    """Hands scored checkpoints to the generator, each at most once. All methods block."""

    def __init__(
        self,
        database: Database,
        rules: ChangeRules,
        jobs: JobStore,
        deletions: ForgetStore,
        *,
        work_dir: Path,
        generator_address: str,
    ) -> None:
        """Take files from the runs' folders in ``work_dir``, and hand them to the generator."""
        self._database = database
        self._rules = rules
        self._jobs = jobs
        self._deletions = deletions
        self._work_dir = work_dir
        self._generator_address = generator_address

    def publish(self, record: JobRecord, step: int, token: CancelToken) -> pb2.PublishedLora:
        """Publish the checkpoint of ``step`` and note it with the job; return what it is in the registry.

        Raises:
            TrainingJobNotFound: the job was removed meanwhile.
            Conflict: the job has not ended, or its character is being forgotten.
            FolderHeld: a run or another call works in the job's folder.
            InvalidRequest: no checkpoint of ``step`` was scored, and it is not the last one of a cancelled job.
            ArtifactNotFound: its file is gone.
            ServiceUnavailable: the generator is away; also its neighbours ModelLoading and QueueFull.
        """
        job_id = record.message.job_id
        if not record.ended:
            raise Conflict(f"job {job_id!r} has not ended: cancel it, or wait until it has", field="job_id")
        _check_published_of(record.message, step)
        with held_folder(self._work_dir / record.uid):
            # Looked for while its folder is held: from here on nobody removes the job.
            record = self._jobs.get(record.tenant_id, job_id)
            self._check_not_forgotten(record)
            file = self._work_dir / record.uid / checkpoint_lora(step)
            try:
                sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
            except FileNotFoundError:
                raise ArtifactNotFound(f"the file of step {step} is not there", field="step") from None
            # A call that is repeated by itself could publish twice.
            with Client(self._generator_address, channel_options=ChannelOptions(attempts=1)) as client:
                lora = LoraPublisher(client, patience_seconds=0.0, tenant_id=record.tenant_id).publish(
                    record.message.character_id,
                    file,
                    trigger_word=record.message.trigger_word,
                    sha256=sha256,
                    earlier_sha256=sha256,
                    token=token,
                )
            published = pb2.PublishedLora(
                lora_id=lora.lora_id,
                version=lora.version,
                sha256=lora.sha256,
                size_bytes=lora.size_bytes,
                step=step,
            )
            self._note(record, published)
        return published

    def _note(self, record: JobRecord, lora: pb2.PublishedLora) -> None:
        """Note a version with its job; once, whatever is repeated."""
        with self._database.write() as connection:
            now = lock(connection, JOBS.c.uid == record.uid)
            if now is None or lora in published_loras(now.message):
                return
            message = pb2.TrainingJob()
            message.CopyFrom(now.message)
            message.further_loras.append(lora)
            apply_change(connection, now, message, None, time.time(), self._rules)

    def _check_not_forgotten(self, record: JobRecord) -> None:
        forgetting = self._deletions.get(record.tenant_id, record.message.character_id)
        if forgetting is not None and not forgetting.done:
            raise Conflict(f"character {record.message.character_id!r} is being deleted", field="job_id")


def _check_published_of(job: pb2.TrainingJob, step: int) -> None:
    """Raise InvalidRequest unless ``step`` was scored, or is the last one of a cancelled job."""
    steps = {checkpoint.step for checkpoint in job.checkpoints}
    if job.state == pb2.TrainingJob.STATE_CANCELLED:
        steps.add(job.checkpoint_step)
    steps.discard(0)
    if step not in steps:
        known = f"choose one of {', '.join(map(str, sorted(steps)))}" if steps else "the job has none"
        raise InvalidRequest(f"step: there is no checkpoint of step {step} to publish; {known}", field="step")
