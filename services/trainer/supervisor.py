"""Begins attempts, watches those under way, and clears away what is past its time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from core.runtime.telemetry import log
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.attempt_store import AttemptStore
from services.trainer.forgetting import Forgetter
from services.trainer.launcher import Launcher, LaunchError, Run, RunState
from services.trainer.records import JobRecord
from services.trainer.retention import Retention
from services.trainer.settings import TrainerSettings

_BEATS_PER_SUPERVISION = 4

_logger = logging.getLogger("likeness.trainer")


class RunSupervisor:
    """One look after the other, by `look`. Several trainers may look at one database."""

    def __init__(
        self,
        attempts: AttemptStore,
        launcher: Launcher,
        forgetter: Forgetter,
        retention: Retention,
        settings: TrainerSettings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start runs by ``launcher``; have ``forgetter`` and ``retention`` remove what is to go."""
        self._attempts = attempts
        self._launcher = launcher
        self._forgetter = forgetter
        self._retention = retention
        self._settings = settings
        self._clock = clock
        self._supervised_at = float("-inf")
        self._looked_at = clock()

    def look(self) -> None:
        """Look at everything once. Blocking; one thread at a time.

        Raises:
            SQLAlchemyError: the database is away. When that lasts as long as a lease, no run can have renewed its own:
                all are killed, since one that was stopped within a transaction may be what keeps the database busy.
        """
        try:
            self._look(self._clock())
        except SQLAlchemyError:
            if self._clock() - self._looked_at > self._settings.lease_seconds:
                self._launcher.kill_all()
            raise
        self._looked_at = self._clock()

    def _look(self, now: float) -> None:
        if now - self._supervised_at > self._settings.supervision_seconds / _BEATS_PER_SUPERVISION:
            self._attempts.supervise()
            self._supervised_at = now
        for record in self._attempts.running():
            self._check(record)
        self._forgetter.look()
        while (claimed := self._attempts.claim(self._settings.max_running)) is not None:
            self._start(claimed)
        self._retention.look(now)

    def _check(self, record: JobRecord) -> None:
        run = Run(record.uid, record.attempt)
        state = self._launcher.state(run)
        if state is RunState.ENDED:
            self._release(record, "the run ended without a result")
        elif state is RunState.STOPPED:
            self._release(record, "the run was told to stop", counts=False)
        elif state is RunState.PENDING and record.cancel_requested_at is None:
            self._attempts.wait_on(record)
        elif state is RunState.PENDING or self._took_too_long_to_cancel(record):
            self._launcher.kill(run)
            self._release(record, "the run was cancelled")
        elif self._attempts.expired(record):
            self._launcher.kill(run)
            self._release(record, "the run gave no sign of life")

    def _took_too_long_to_cancel(self, record: JobRecord) -> bool:
        told = record.cancel_requested_at
        return told is not None and self._clock() - told > self._settings.cancel_seconds

    def _start(self, record: JobRecord) -> None:
        log(_logger, logging.INFO, "a run begins", uid=record.uid, attempt=record.attempt, tenant=record.tenant_id)
        try:
            self._launcher.start(Run(record.uid, record.attempt))
        except LaunchError as error:
            self._release(record, str(error), reason="LAUNCH_FAILED")

    def _release(self, record: JobRecord, message: str, *, reason: str = "INTERRUPTED", counts: bool = True) -> None:
        released = self._attempts.release(
            record.uid,
            record.attempt,
            pb2.JobError(reason=reason, message=message),
            max_failures=self._settings.max_failures if counts else 0,
            retry_seconds=self._settings.retry_seconds,
        )
        if released:
            log(_logger, logging.WARNING, "a run is lost", uid=record.uid, attempt=record.attempt, why=message)
