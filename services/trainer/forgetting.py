"""Forgetting characters: their jobs are stopped and removed, then their LoRAs; step by step, at each look."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from core.runtime.telemetry import log
from likeness.errors import Conflict, LikenessError
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.attempt_store import AttemptStore
from services.trainer.cleanup import JobRemover
from services.trainer.forget_store import ForgetStore, Forgetting
from services.trainer.job_store import JobStore
from services.trainer.launcher import Launcher, Run, RunState
from services.trainer.lora_removal import LoraRemoval
from services.trainer.records import JobRecord, State

_RETRY_SECONDS = 10.0

_logger = logging.getLogger("likeness.trainer")


class Forgetter:
    """Carries on with the deletions of `ForgetStore`. For the thread that calls the launcher."""

    def __init__(
        self,
        store: ForgetStore,
        jobs: JobStore,
        attempts: AttemptStore,
        launcher: Launcher,
        remover: JobRemover,
        loras: LoraRemoval,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Stop runs by ``launcher``, remove jobs by ``remover`` and LoRAs by ``loras``."""
        self._store = store
        self._jobs = jobs
        self._attempts = attempts
        self._launcher = launcher
        self._remover = remover
        self._loras = loras
        self._clock = clock
        self._tried_at: dict[tuple[str, str], float] = {}

    def look(self) -> None:
        """Go on with every deletion as far as it goes now. Blocking.

        Raises:
            SQLAlchemyError: the database is away.
        """
        for forgetting in self._store.pending():
            key = forgetting.tenant_id, forgetting.character_id
            if forgetting.error and self._clock() - self._tried_at.get(key, float("-inf")) < _RETRY_SECONDS:
                continue
            self._tried_at[key] = self._clock()
            try:
                self._go_on(forgetting)
            except SQLAlchemyError:
                raise
            except LikenessError as error:
                self._store.note_error(forgetting, error.message)
                log(_logger, logging.WARNING, "a character is not forgotten yet", tenant=key[0], why=error.message)
                return  # a generator that does not answer takes its time: runs want to be looked after meanwhile
            except Exception as error:
                # The store's and the system's own words name paths and buckets: they are for the log.
                self._store.note_error(forgetting, "its files could not be removed; the trainer's log tells more")
                log(_logger, logging.ERROR, "a character's files stay", exc_info=error, tenant=key[0])

    def _go_on(self, forgetting: Forgetting) -> None:
        tenant_id, character_id = forgetting.tenant_id, forgetting.character_id
        records = self._jobs.of_character(tenant_id, character_id)
        forgetting = self._store.note_jobs(forgetting, [record.message.job_id for record in records])
        for record in records:
            if not record.ended:
                self._stop(record)
        for record in self._jobs.of_character(tenant_id, character_id):
            if record.ended:
                self._remove(record)
        if self._jobs.of_character(tenant_id, character_id):
            return  # the next look finds their runs gone
        versions = self._loras.forget(tenant_id, character_id)
        self._store.finish(forgetting, versions)
        self._tried_at.pop((tenant_id, character_id), None)
        log(_logger, logging.INFO, "a character is forgotten", tenant=tenant_id, jobs=len(forgetting.job_ids))

    def _stop(self, record: JobRecord) -> None:
        """End a job's run at once: nothing of what it would save is wanted."""
        told = self._jobs.cancel(record.tenant_id, record.message.job_id)
        run = Run(told.uid, told.attempt)
        # A run that publishes is left to end by itself: the generator may have taken its file already.
        if told.ended or told.message.state == State.STATE_PUBLISHING:
            return
        # One that another trainer has started is told by its heartbeat.
        if self._launcher.state(run) is not RunState.UNKNOWN:
            self._launcher.kill(run)
            error = pb2.JobError(reason="CANCELLED", message="its character is deleted")
            self._attempts.release(told.uid, told.attempt, error, max_failures=0, retry_seconds=0.0)

    def _remove(self, record: JobRecord) -> None:
        try:
            self._remover.remove(record)
        except Conflict:
            log(_logger, logging.INFO, "a job's run has not let go of its folder yet", uid=record.uid)
