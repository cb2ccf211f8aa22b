"""Jobs as clients create, look at, cancel and delete them."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from likeness.errors import Conflict, InvalidRequest, QueueFull, TrainingJobNotFound
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.changes import ChangeRules, apply_change
from services.trainer.database import DATASETS, EVENTS, JOBS, UPLOADS, Database
from services.trainer.forget_store import check_not_forgotten
from services.trainer.records import JobRecord, State, StoredPhoto, lock, photos_json, record_of

Clock = Callable[[], float]
_RETRY_SECONDS = 60.0
_KEYS_A_QUERY = 500


@dataclass(frozen=True)
class NewJob:
    """A job to be kept."""

    uid: str
    tenant_id: str
    request: pb2.CreateTrainingJobRequest
    """Without its photos; ``job_id`` may be empty."""
    request_sha256: str
    """Of the whole request, photos included."""
    photos: tuple[StoredPhoto, ...]
    class_word: str
    idempotency_key: str = ""


class JobStore:
    """All methods block; they are safe in any thread and process over one database."""

    def __init__(self, database: Database, rules: ChangeRules, *, capacity: int, clock: Clock = time.time) -> None:
        """Keep jobs in ``database``; at most ``capacity`` of them may wait."""
        self._database = database
        self._rules = rules
        self._capacity = capacity
        self._clock = clock

    def find(self, tenant_id: str, job_id: str, idempotency_key: str, request_sha256: str) -> JobRecord | None:
        """Return the job that an equal request has made; None when there is none.

        Raises:
            Conflict: another request used the name or the key.
            QueueFull: there is none, and as many jobs wait as may.
        """
        with self._database.read() as connection:
            return self._find(connection, tenant_id, job_id, idempotency_key, request_sha256)

    def create(self, job: NewJob) -> tuple[JobRecord, bool]:
        """Keep a job and queue it; return it, and whether it is new.

        Raises:
            Conflict, QueueFull: as `find`.
            Conflict: its character is being forgotten.
        """
        request = job.request
        try:
            with self._database.write() as connection:
                found = self._find(connection, job.tenant_id, request.job_id, job.idempotency_key, job.request_sha256)
                if found is not None:
                    return found, False
                check_not_forgotten(connection, job.tenant_id, request.character_id)
                return self._insert(connection, job), True
        except IntegrityError:  # another one was faster
            found = self.find(job.tenant_id, request.job_id, job.idempotency_key, job.request_sha256)
            if found is None:
                raise
            return found, False

    def get(self, tenant_id: str, job_id: str) -> JobRecord:
        """Return a job. Raises TrainingJobNotFound."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(JOBS).where(*_named(tenant_id, job_id))).first()
        if row is None:
            raise _not_found(job_id)
        return record_of(row)

    def queue_position(self, record: JobRecord) -> int:
        """Return how many jobs wait that were created before one."""
        waits = (JOBS.c.state == State.STATE_QUEUED) & (JOBS.c.created_at < record.created_at)
        with self._database.read() as connection:
            return connection.execute(sa.select(sa.func.count()).where(waits)).scalar_one()

    def dataset(self, uid: str) -> pb2.TrainingJob:
        """Return a message of which only ``dataset`` is set: empty until the photos have been checked."""
        with self._database.read() as connection:
            kept = connection.execute(sa.select(DATASETS.c.dataset).where(DATASETS.c.uid == uid)).scalar()
        return pb2.TrainingJob() if kept is None else pb2.TrainingJob.FromString(kept)

    def list_jobs(
        self, tenant_id: str, page_size: int, token: str, character_id: str
    ) -> tuple[Sequence[JobRecord], str]:
        """Return a page of jobs, the newest first, and the token of the next. Raises InvalidRequest for a bad token."""
        query = sa.select(JOBS).where(JOBS.c.tenant_id == tenant_id)
        if character_id:
            query = query.where(JOBS.c.character_id == character_id)
        if token:
            query = query.where(sa.tuple_(JOBS.c.created_at, JOBS.c.uid) < sa.tuple_(*_position(token)))
        query = query.order_by(JOBS.c.created_at.desc(), JOBS.c.uid.desc()).limit(page_size + 1)
        with self._database.read() as connection:
            records = list(map(record_of, connection.execute(query)))
        page = records[:page_size]
        more = len(records) > page_size
        return page, f"{page[-1].created_at!r}_{page[-1].uid}" if more else ""

    def of_character(self, tenant_id: str, character_id: str) -> list[JobRecord]:
        """Return all jobs of a tenant's character, the oldest first."""
        query = sa.select(JOBS).where(JOBS.c.tenant_id == tenant_id, JOBS.c.character_id == character_id)
        with self._database.read() as connection:
            return list(map(record_of, connection.execute(query.order_by(JOBS.c.created_at, JOBS.c.uid))))

    def known(self, uids: Iterable[str]) -> set[str]:
        """Return which of these keys are those of jobs."""
        wanted = list(uids)
        found: set[str] = set()
        with self._database.read() as connection:
            for begin in range(0, len(wanted), _KEYS_A_QUERY):
                query = sa.select(JOBS.c.uid).where(JOBS.c.uid.in_(wanted[begin : begin + _KEYS_A_QUERY]))
                found.update(connection.execute(query).scalars())
        return found

    def events(self, uid: str, after: int, limit: int = 500) -> list[pb2.TrainingEvent]:
        """Return a job's events after a number, in order."""
        query = sa.select(EVENTS.c.event).where(EVENTS.c.uid == uid, EVENTS.c.sequence > after)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(EVENTS.c.sequence).limit(limit)).scalars().all()
        return [pb2.TrainingEvent.FromString(row) for row in rows]

    def cancel(self, tenant_id: str, job_id: str) -> JobRecord:
        """Tell a job to stop; one that no attempt holds ends at once. Raises TrainingJobNotFound."""
        with self._database.write() as connection:
            record = lock(connection, *_named(tenant_id, job_id))
            if record is None:
                raise _not_found(job_id)
            if not record.ended and record.cancel_requested_at is None:
                message = pb2.TrainingJob()
                message.CopyFrom(record.message)
                message.cancel_requested = True
                event = None
                if record.lease_expires_at is None:
                    message.state = State.STATE_CANCELLED
                    event = pb2.TrainingEvent(type=pb2.TrainingEvent.TYPE_STATE_CHANGED)
                now = self._clock()
                apply_change(connection, record, message, event, now, self._rules, cancel_requested_at=now)
        return self.get(tenant_id, job_id)

    def delete(self, record: JobRecord) -> None:
        """Remove an ended job with its events and messages. Raises Conflict while it has not ended."""
        with self._database.write() as connection:
            now = lock(connection, JOBS.c.uid == record.uid)
            if now is not None and not now.ended:
                raise Conflict(
                    f"job {record.message.job_id!r} has not ended: cancel it, and wait until it has", field="job_id"
                )
            connection.execute(JOBS.delete().where(JOBS.c.uid == record.uid))

    def ended_before(self, moment: float, limit: int = 100) -> list[JobRecord]:
        """Return jobs that ended before a moment, the oldest first."""
        query = sa.select(JOBS).where(JOBS.c.ended_at < moment).order_by(JOBS.c.ended_at).limit(limit)
        with self._database.read() as connection:
            return list(map(record_of, connection.execute(query)))

    def recent_seconds_per_step(self, count: int = 5) -> float | None:
        """Return the median time of the last jobs that went well, by their steps; None when there is none.

        Checks, caching, evaluation and publishing count too.
        """
        query = sa.select(JOBS.c.message).where(JOBS.c.state == State.STATE_SUCCEEDED)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(JOBS.c.ended_at.desc()).limit(count)).scalars().all()
        jobs = map(pb2.TrainingJob.FromString, rows)
        seconds = [
            (job.end_time.ToMilliseconds() - job.start_time.ToMilliseconds()) / 1000 / job.total_steps
            for job in jobs
            if job.total_steps
        ]
        return statistics.median(seconds) if seconds else None

    def keep_upload(self, uri: str) -> None:
        """Note that a photo was uploaded now."""
        with self._database.write() as connection:
            connection.execute(UPLOADS.delete().where(UPLOADS.c.uri == uri))
            connection.execute(UPLOADS.insert().values(uri=uri, created_at=self._clock()))

    def take_uploads(self, uris: Iterable[str]) -> list[str]:
        """Forget those of the photos that were uploaded, and return them."""
        with self._database.write() as connection:
            named = UPLOADS.c.uri.in_(set(uris))
            found = list(connection.execute(sa.select(UPLOADS.c.uri).where(named)).scalars())
            connection.execute(UPLOADS.delete().where(named))
        return found

    def take_uploads_before(self, moment: float, limit: int = 100) -> list[str]:
        """Forget photos that were uploaded before a moment, and return their URIs."""
        with self._database.write() as connection:
            query = sa.select(UPLOADS.c.uri).where(UPLOADS.c.created_at < moment).limit(limit)
            uris = list(connection.execute(query).scalars())
            connection.execute(UPLOADS.delete().where(UPLOADS.c.uri.in_(uris)))
        return uris

    def _find(
        self, connection: sa.Connection, tenant_id: str, job_id: str, idempotency_key: str, request_sha256: str
    ) -> JobRecord | None:
        named = []
        if job_id:
            named.append(("job_id", job_id, JOBS.c.job_id == job_id))
        if idempotency_key:
            named.append(("idempotency-key", idempotency_key, JOBS.c.idempotency_key == idempotency_key))
        for field, value, condition in named:
            row = connection.execute(sa.select(JOBS).where(JOBS.c.tenant_id == tenant_id, condition)).first()
            if row is None:
                continue
            record = record_of(row)
            if record.request_sha256 != request_sha256:
                raise Conflict(f"{field}: {value!r} was used for another request: take another one", field=field)
            return record
        waiting = sa.select(sa.func.count()).where(JOBS.c.state == State.STATE_QUEUED)
        if connection.execute(waiting).scalar_one() >= self._capacity:
            raise QueueFull(
                f"{self._capacity} jobs wait already; come back later",
                retry_after_seconds=_RETRY_SECONDS,
                capacity=str(self._capacity),
            )
        return None

    def _insert(self, connection: sa.Connection, job: NewJob) -> JobRecord:
        now = self._clock()
        request = job.request
        message = pb2.TrainingJob(
            job_id=request.job_id or f"job-{uuid.uuid4().hex[:16]}",
            character_id=request.character_id,
            state=State.STATE_QUEUED,
            trigger_word=request.trigger_word.strip(),
            class_word=job.class_word,
            image_count=len(job.photos),
            settings=request.settings,
            webhook_url=request.webhook_url,
        )
        message.create_time.FromMilliseconds(round(now * 1000))
        connection.execute(
            JOBS.insert().values(
                uid=job.uid,
                tenant_id=job.tenant_id,
                job_id=message.job_id,
                character_id=message.character_id,
                idempotency_key=job.idempotency_key or None,
                request_sha256=job.request_sha256,
                created_at=now,
                state=message.state,
                attempt=0,
                failures=0,
                not_before=now,
                request=request.SerializeToString(),
                photos=photos_json(job.photos),
                message=message.SerializeToString(),
                progress_sent_at=0.0,
            )
        )
        record = lock(connection, JOBS.c.uid == job.uid)
        assert record is not None
        event = pb2.TrainingEvent(type=pb2.TrainingEvent.TYPE_STATE_CHANGED)
        apply_change(connection, record, message, event, now, self._rules)
        kept = lock(connection, JOBS.c.uid == job.uid)
        assert kept is not None
        return kept


def _named(tenant_id: str, job_id: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return JOBS.c.tenant_id == tenant_id, JOBS.c.job_id == job_id


def _not_found(job_id: str) -> TrainingJobNotFound:
    return TrainingJobNotFound(f"there is no training job {job_id!r}", field="job_id")


def _position(token: str) -> tuple[float, str]:
    created_at, _, uid = token.partition("_")
    try:
        if not uid.isalnum():
            raise ValueError
        return float(created_at), uid
    except ValueError:
        raise InvalidRequest("page_token: not a token of an answer", field="page_token") from None
