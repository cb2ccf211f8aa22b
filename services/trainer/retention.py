"""What goes by itself: jobs past their time, photos that no job took, and files that belong to nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from core.runtime.telemetry import log
from likeness.errors import Conflict, DeadlineExceeded, ModelLoading, QueueFull, ServiceUnavailable
from services.trainer.cleanup import JobRemover
from services.trainer.forget_store import ForgetStore
from services.trainer.job_store import JobStore
from services.trainer.lora_removal import LoraRemoval
from services.trainer.records import JobRecord, published_loras
from services.trainer.settings import TrainerSettings

_AWAY = (ServiceUnavailable, ModelLoading, QueueFull, DeadlineExceeded)
_SWEEP_SECONDS = 60.0
_DAY_SECONDS = 86_400.0

_logger = logging.getLogger("likeness.trainer")


class Retention:
    """Sweeps every minute; for files of no job once a day. For one thread."""

    def __init__(
        self, jobs: JobStore, deletions: ForgetStore, remover: JobRemover, loras: LoraRemoval, settings: TrainerSettings
    ) -> None:
        """Remove jobs by ``remover``, and their LoRAs by ``loras`` where the settings say so."""
        self._jobs = jobs
        self._deletions = deletions
        self._remover = remover
        self._loras = loras
        self._settings = settings
        self._swept_at = float("-inf")
        self._cleared_at = float("-inf")

    def look(self, now: float) -> None:
        """Sweep when it is time. Blocking.

        Args:
            now: seconds of the epoch.

        Raises:
            SQLAlchemyError: the database is away.
        """
        if now - self._swept_at > _SWEEP_SECONDS:
            self._swept_at = now
            self._deletions.take_before(now - _DAY_SECONDS)
            for sweep in (self._sweep_uploads, self._sweep_jobs):
                _carefully(sweep, now)
        if now - self._cleared_at > _DAY_SECONDS:
            self._cleared_at = now
            _carefully(self._sweep_orphans, now)

    def _sweep_uploads(self, now: float) -> None:
        self._remover.remove_uploads(self._jobs.take_uploads_before(now - _DAY_SECONDS))

    def _sweep_orphans(self, now: float) -> None:
        # The photos of a job that is being created are there before it is.
        if orphans := self._remover.remove_orphans(now - _DAY_SECONDS):
            log(_logger, logging.WARNING, "files of no job were removed", jobs=orphans)

    def _sweep_jobs(self, now: float) -> None:
        if not self._settings.retention_days:
            return
        past = now - self._settings.retention_days * _DAY_SECONDS
        for record in self._jobs.ended_before(past):
            try:
                self._remove(record)
            except Conflict:  # its run has not let go of its folder: the next sweep takes it
                continue
            except _AWAY as error:  # the generator is away, and each job would wait for it
                log(_logger, logging.WARNING, "jobs past their retention stay", why=error.message)
                return
            except SQLAlchemyError:
                raise
            except Exception as error:
                log(_logger, logging.ERROR, "a job past its retention stays", exc_info=error, uid=record.uid)

    def _remove(self, record: JobRecord) -> None:
        for lora in published_loras(record.message) if self._settings.retention_loras else ():
            self._loras.remove(record.tenant_id, lora.lora_id, lora.version)
        self._remover.remove(record)
        log(_logger, logging.INFO, "a job is past its retention", uid=record.uid, tenant=record.tenant_id)


def _carefully(sweep: Callable[[float], None], now: float) -> None:
    """Sweep; a store that fails must not keep the other sweeps, or runs, from being looked after."""
    try:
        sweep(now)
    except SQLAlchemyError:
        raise
    except Exception as error:
        log(_logger, logging.ERROR, "what is past its time could not be removed", exc_info=error)
