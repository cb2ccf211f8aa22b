"""Keeping an attempt's lease, from a thread beside the run: no run goes on that nobody would see hang."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import sqlalchemy.exc

from core.runtime.telemetry import log
from services.trainer.attempt_store import AttemptStore, LeaseLost

_BEATS_PER_LEASE = 4

_logger = logging.getLogger("likeness.trainer")


class LeaseKeeper:
    """Renews a lease until it is closed; tells when the run shall stop, and when it must not touch anything more."""

    def __init__(
        self,
        store: AttemptStore,
        uid: str,
        attempt: int,
        *,
        lease_seconds: float,
        on_cancel: Callable[[], None],
        on_alone: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Renew the lease of ``attempt``.

        Args:
            store: the database.
            uid: the job.
            attempt: its attempt.
            lease_seconds: how long a lease is; it is renewed four times as often.
            on_cancel: called when the job was told to stop.
            on_alone: called when no trainer has been there for too long.
            on_lost: called when the lease is lost, or could not be renewed before its end.
        """
        self._store = store
        self._run = uid, attempt
        self._lease_seconds = lease_seconds
        self._on_cancel = on_cancel
        self._on_alone = on_alone
        self._on_lost = on_lost
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def start(self) -> None:
        """Renew the lease now, and go on in a thread. Raises LeaseLost."""
        self._store.heartbeat(*self._run)
        self._thread.start()

    def close(self) -> None:
        """Renew it no more."""
        self._closed.set()
        self._thread.join()

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._closed.wait(self._lease_seconds / _BEATS_PER_LEASE):
            try:
                beat = self._store.heartbeat(*self._run)
            except LeaseLost:
                if not self._closed.is_set():
                    self._on_lost()
                return
            except sqlalchemy.exc.SQLAlchemyError as error:
                log(_logger, logging.WARNING, "the lease could not be renewed", error=type(error).__name__)
                if time.monotonic() - renewed > self._lease_seconds:
                    self._on_lost()
                    return
                continue
            renewed = time.monotonic()
            if beat.cancel_requested:
                self._on_cancel()
            elif not beat.supervised:
                self._on_alone()
