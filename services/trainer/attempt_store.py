"""Attempts at jobs: who begins one, who holds one, and what it tells. The attempt's number fences: of a job that was
begun anew, an older attempt can change nothing any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from likeness.errors import Cancelled
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.changes import ChangeRules, apply_change
from services.trainer.database import DATASETS, JOBS, SUPERVISION, TENANTS, Database
from services.trainer.records import ENDED, JobRecord, State, lock, record_of

Clock = Callable[[], float]
Change = Callable[[pb2.TrainingJob], pb2.TrainingEvent | None]
"""Changes a job's message, and returns the event that tells of it."""

_RUNNING = JOBS.c.lease_expires_at.is_not(None)
_CANDIDATES = 1000


class LeaseLost(Exception):
    """The attempt holds its job no longer: it must end without touching anything."""


@dataclass(frozen=True)
class Heartbeat:
    """What an attempt learns when it renews its lease."""

    cancel_requested: bool
    supervised: bool
    """Whether a trainer was there lately; without one nobody would see the attempt hang."""


@dataclass(frozen=True)
class LeaseRules:
    """How long things may be silent, in seconds."""

    lease_seconds: float
    """How long an attempt holds its job after a heartbeat."""
    launch_seconds: float
    """How long an attempt may take from its launch to its first heartbeat."""
    supervision_seconds: float
    """How long an attempt goes on without a trainer."""


class AttemptStore:
    """All methods block; they are safe in any thread and process over one database."""

    def __init__(self, database: Database, rules: ChangeRules, leases: LeaseRules, *, clock: Clock = time.time) -> None:
        """Work on the jobs of ``database``."""
        self._database = database
        self._rules = rules
        self._leases = leases
        self._clock = clock

    def supervise(self) -> None:
        """Tell all attempts that a trainer is there."""
        with self._database.write() as connection:
            connection.execute(SUPERVISION.update().values(seen_at=self._clock()))

    def claim(self, max_running: int) -> JobRecord | None:
        """Begin the next attempt, when fewer than ``max_running`` are under way; None when nothing is to be done.

        The tenant with the fewest running jobs comes first, of those the one that was served longest ago; within a
        tenant the oldest job.
        """
        with self._database.write() as connection:
            # The row serialises claims: two trainers must not both find the last place free.
            connection.execute(sa.select(SUPERVISION.c.id).with_for_update())
            now = self._clock()
            counts = sa.select(JOBS.c.tenant_id, sa.func.count()).where(_RUNNING).group_by(JOBS.c.tenant_id)
            running = {tenant: count for tenant, count in connection.execute(counts)}
            if sum(running.values()) >= max_running:
                return None
            times = sa.select(TENANTS.c.tenant_id, TENANTS.c.served_at)
            served = {tenant: served_at for tenant, served_at in connection.execute(times)}
            waiting = (JOBS.c.state == State.STATE_QUEUED) & ~_RUNNING & (JOBS.c.not_before <= now)
            rows = connection.execute(
                sa.select(JOBS.c.uid, JOBS.c.tenant_id, JOBS.c.created_at)
                .where(waiting)
                .order_by(JOBS.c.created_at)
                .limit(_CANDIDATES)
            ).all()
            if not rows:
                return None
            chosen = min(
                rows, key=lambda row: (running.get(row.tenant_id, 0), served.get(row.tenant_id, 0.0), row.created_at)
            )
            connection.execute(TENANTS.delete().where(TENANTS.c.tenant_id == chosen.tenant_id))
            connection.execute(TENANTS.insert().values(tenant_id=chosen.tenant_id, served_at=now))
            record = lock(connection, JOBS.c.uid == chosen.uid)
            assert record is not None
            message = _copy(record.message)
            message.attempt = record.attempt + 1
            apply_change(
                connection, record, message, None, now, self._rules,
                attempt=message.attempt, lease_expires_at=now + self._leases.launch_seconds,
            )  # fmt: skip
            return lock(connection, JOBS.c.uid == record.uid)

    def running(self) -> list[JobRecord]:
        """Return the jobs that an attempt holds, or held when its lease ended."""
        with self._database.read() as connection:
            return list(map(record_of, connection.execute(sa.select(JOBS).where(_RUNNING))))

    def read(self, uid: str) -> JobRecord | None:
        """Return a job; None when there is none."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(JOBS).where(JOBS.c.uid == uid)).first()
        return None if row is None else record_of(row)

    def expired(self, record: JobRecord) -> bool:
        """Return whether the lease of a job's attempt has ended."""
        return record.lease_expires_at is not None and record.lease_expires_at < self._clock()

    def wait_on(self, record: JobRecord) -> None:
        """Prolong the launch of an attempt that still waits for its place in the cluster."""
        with self._database.write() as connection:
            held = JOBS.c.uid == record.uid, JOBS.c.attempt == record.attempt, _RUNNING
            until = self._clock() + self._leases.launch_seconds
            connection.execute(JOBS.update().where(*held).values(lease_expires_at=until))

    def heartbeat(self, uid: str, attempt: int) -> Heartbeat:
        """Renew the lease of an attempt. Raises LeaseLost."""
        with self._database.write() as connection:
            now = self._clock()
            held = JOBS.c.uid == uid, JOBS.c.attempt == attempt, _RUNNING
            until = now + self._leases.lease_seconds
            if not connection.execute(JOBS.update().where(*held).values(lease_expires_at=until)).rowcount:
                raise LeaseLost
            cancel = connection.execute(sa.select(JOBS.c.cancel_requested_at).where(*held)).scalar_one()
            seen = connection.execute(sa.select(SUPERVISION.c.seen_at)).scalar_one()
        return Heartbeat(cancel is not None, now - seen < self._leases.supervision_seconds)

    def update(self, uid: str, attempt: int, change: Change) -> pb2.TrainingJob:
        """Change a job as its attempt; return its new message. Raises LeaseLost."""
        with self._database.write() as connection:
            record = self._held(connection, uid, attempt)
            message = _copy(record.message)
            event = change(message)
            # Steps alone prove nothing: a run that dies between two checkpoints makes the same ones again and again.
            columns = {"failures": 0} if message.checkpoint_step > record.message.checkpoint_step else {}
            return apply_change(connection, record, message, event, self._clock(), self._rules, **columns)

    def keep_dataset(self, uid: str, attempt: int, dataset: pb2.TrainingJob) -> None:
        """Keep what became of the photos: a message of which only ``dataset`` is set. Raises LeaseLost."""
        with self._database.write() as connection:
            self._held(connection, uid, attempt)
            connection.execute(DATASETS.delete().where(DATASETS.c.uid == uid))
            connection.execute(DATASETS.insert().values(uid=uid, dataset=dataset.SerializeToString()))

    def begin_publishing(self, uid: str, attempt: int, sha256: str) -> str | None:
        """Note which file is about to be handed to the registry.

        Returns:
            The SHA-256 that was noted before: that file may be in the registry already. None the first time.

        Raises:
            LeaseLost: the attempt holds its job no longer.
            Cancelled: the job was told to stop, which the attempt may not have heard yet.
        """
        with self._database.write() as connection:
            record = self._held(connection, uid, attempt)
            if record.cancel_requested_at is not None:
                raise Cancelled("the job was cancelled")
            connection.execute(JOBS.update().where(JOBS.c.uid == record.uid).values(publish_sha256=sha256))
            return record.publish_sha256

    def release(self, uid: str, attempt: int, error: pb2.JobError, *, max_failures: int, retry_seconds: float) -> bool:
        """Give up an attempt that was lost; return whether it held its job.

        The job waits for its next attempt; it is cancelled when that was asked for, and fails when ``max_failures``
        attempts in a row have made no checkpoint.

        Args:
            uid: the job.
            attempt: the attempt; another one is left alone.
            error: why it was lost.
            max_failures: attempts without progress after which the job fails; 0 when this one does not count.
            retry_seconds: wait before the next attempt, times the failures.
        """
        with self._database.write() as connection:
            try:
                record = self._held(connection, uid, attempt)
            except LeaseLost:
                return False
            message = _copy(record.message)
            failures = record.failures + (1 if max_failures else 0)
            event = pb2.TrainingEvent(type=pb2.TrainingEvent.TYPE_STATE_CHANGED)
            if record.cancel_requested_at is not None:
                message.state = State.STATE_CANCELLED
            elif max_failures and failures >= max_failures:
                message.state = State.STATE_FAILED
                message.error.CopyFrom(error)
                event.error.CopyFrom(error)
            else:
                message.state = State.STATE_QUEUED
                event = pb2.TrainingEvent(type=pb2.TrainingEvent.TYPE_INTERRUPTED, error=error)
            now = self._clock()
            apply_change(
                connection, record, message, event, now, self._rules,
                failures=failures, lease_expires_at=None, not_before=now + retry_seconds * failures,
            )  # fmt: skip
            return True

    def _held(self, connection: sa.Connection, uid: str, attempt: int) -> JobRecord:
        record = lock(connection, JOBS.c.uid == uid)
        if record is None or record.attempt != attempt or record.lease_expires_at is None:
            raise LeaseLost
        if record.message.state in ENDED:
            raise LeaseLost
        return record


def _copy(message: pb2.TrainingJob) -> pb2.TrainingJob:
    copy = pb2.TrainingJob()
    copy.CopyFrom(message)
    return copy
