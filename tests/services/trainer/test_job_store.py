"""Jobs in SQLite and in PostgreSQL: names, turns, leases, and what an old attempt may do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError

from likeness.errors import Cancelled, Conflict, QueueFull, TrainingJobNotFound
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.attempt_store import AttemptStore, LeaseLost, LeaseRules
from services.trainer.database import Database, DatabaseError
from services.trainer.job_store import JobStore, NewJob
from services.trainer.records import JobRecord, State
from tests.services.trainer.conftest import RULES, Clock, new_job

LEASES = LeaseRules(lease_seconds=10.0, launch_seconds=60.0, supervision_seconds=30.0)
ERROR = pb2.JobError(reason="INTERRUPTED", message="lost")


class Stores:
    """Both stores over one database and one clock."""

    def __init__(self, database: Database, clock: Clock, capacity: int = 100) -> None:
        """Open them."""
        self.clock = clock
        self.jobs = JobStore(database, RULES, capacity=capacity, clock=clock)
        self.attempts = AttemptStore(database, RULES, LEASES, clock=clock)

    def create(self, job: NewJob) -> JobRecord:
        """Keep a job, a second after the one before."""
        self.clock.now += 1
        return self.jobs.create(job)[0]

    def begin(self, max_running: int = 1) -> JobRecord:
        """Begin the next attempt, which must be there."""
        self.clock.now += 1
        record = self.attempts.claim(max_running)
        assert record is not None
        return record


@pytest.fixture
def stores(database: Database, clock: Clock) -> Stores:
    """Stores over an empty database."""
    return Stores(database, clock)


def step(number: int, checkpoint: int = 0) -> Any:
    def change(message: pb2.TrainingJob) -> pb2.TrainingEvent:
        message.step = number
        message.checkpoint_step = checkpoint
        return pb2.TrainingEvent(type=pb2.TrainingEvent.TYPE_PROGRESS)

    return change


def test_tenants_take_turns_and_within_one_the_oldest_job_goes_first(stores: Stores) -> None:
    for number in (1, 2, 3):
        stores.create(new_job(number, tenant="busy"))
    stores.create(new_job(4, tenant="late"))
    order = []
    for _ in range(4):
        record = stores.begin()
        order.append(record.message.job_id)
        assert stores.attempts.claim(1) is None
        stores.attempts.update(record.uid, record.attempt, ended)
    assert order == ["job-1", "job-4", "job-2", "job-3"]


def test_a_tenant_that_runs_nothing_goes_before_one_that_does(stores: Stores) -> None:
    for number in (1, 2):
        stores.create(new_job(number, tenant="busy"))
    stores.create(new_job(3, tenant="late"))
    assert [stores.begin(3).message.job_id for _ in range(3)] == ["job-1", "job-3", "job-2"]


def ended(message: pb2.TrainingJob) -> pb2.TrainingEvent:
    message.state = State.STATE_SUCCEEDED
    return pb2.TrainingEvent(type=pb2.TrainingEvent.TYPE_STATE_CHANGED)


def test_claims_at_once_begin_each_job_once(stores: Stores) -> None:
    for number in range(1, 7):
        stores.create(new_job(number))
    with ThreadPoolExecutor(6) as pool:
        claimed = [record for record in pool.map(lambda _: stores.attempts.claim(3), range(6)) if record]
    assert len(claimed) == len({record.uid for record in claimed}) == 3


def test_creations_at_once_make_one_job(stores: Stores) -> None:
    jobs = [NewJob(**{**vars(new_job(1)), "uid": f"{number:032x}"}) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(stores.jobs.create, jobs))
    assert len({record.uid for record, _ in results}) == 1
    assert sum(created for _, created in results) == 1


def test_a_heartbeat_keeps_the_lease_and_silence_ends_it(stores: Stores) -> None:
    stores.create(new_job())
    record = stores.begin()
    stores.clock.now += 59
    assert not stores.attempts.expired(stores.attempts.running()[0])
    stores.attempts.heartbeat(record.uid, record.attempt)
    stores.clock.now += 9
    assert not stores.attempts.expired(stores.attempts.running()[0])
    stores.clock.now += 2
    assert stores.attempts.expired(stores.attempts.running()[0])


def test_an_attempt_learns_of_a_cancel_and_of_a_trainer_that_is_gone(stores: Stores) -> None:
    stores.create(new_job())
    record = stores.begin()
    assert not stores.attempts.heartbeat(record.uid, 1).supervised
    stores.attempts.supervise()
    beat = stores.attempts.heartbeat(record.uid, 1)
    assert (beat.supervised, beat.cancel_requested) == (True, False)
    stores.jobs.cancel("default", "job-1")
    stores.clock.now += 31
    beat = stores.attempts.heartbeat(record.uid, 1)
    assert (beat.supervised, beat.cancel_requested) == (False, True)


def test_an_old_attempt_can_change_nothing(stores: Stores) -> None:
    stores.create(new_job())
    old = stores.begin()
    assert stores.attempts.release(old.uid, 1, ERROR, max_failures=3, retry_seconds=0)
    new = stores.begin()
    assert new.attempt == 2
    for call in (
        lambda: stores.attempts.heartbeat(old.uid, 1),
        lambda: stores.attempts.update(old.uid, 1, step(1)),
        lambda: stores.attempts.begin_publishing(old.uid, 1, "a" * 64),
        lambda: stores.attempts.keep_dataset(old.uid, 1, pb2.TrainingJob()),
    ):
        with pytest.raises(LeaseLost):
            call()
    assert not stores.attempts.release(old.uid, 1, ERROR, max_failures=3, retry_seconds=0)
    stores.attempts.update(new.uid, 2, step(1))


def test_lost_attempts_wait_longer_each_time_and_a_checkpoint_makes_them_forgotten(stores: Stores) -> None:
    stores.create(new_job())
    for attempt in (1, 2):
        record = stores.begin()
        stores.attempts.update(record.uid, attempt, step(3))
        stores.attempts.release(record.uid, attempt, ERROR, max_failures=3, retry_seconds=10)
        assert stores.attempts.claim(1) is None
        stores.clock.now += 10 * attempt
    record = stores.begin()
    stores.attempts.update(record.uid, 3, step(5, checkpoint=5))
    stores.attempts.release(record.uid, 3, ERROR, max_failures=3, retry_seconds=0)
    assert stores.jobs.get("default", "job-1").message.state == State.STATE_QUEUED
    for attempt in (4, 5):
        stores.begin()
        stores.attempts.release(record.uid, attempt, ERROR, max_failures=3, retry_seconds=0)
    kept = stores.jobs.get("default", "job-1")
    assert (kept.message.state, kept.message.error.reason) == (State.STATE_FAILED, "INTERRUPTED")


def test_a_lost_attempt_of_a_cancelled_job_ends_it(stores: Stores) -> None:
    stores.create(new_job())
    record = stores.begin()
    stores.jobs.cancel("default", "job-1")
    stores.attempts.release(record.uid, 1, ERROR, max_failures=3, retry_seconds=0)
    assert stores.jobs.get("default", "job-1").message.state == State.STATE_CANCELLED


def test_the_file_that_was_to_be_published_is_remembered(stores: Stores) -> None:
    stores.create(new_job())
    record = stores.begin()
    assert stores.attempts.begin_publishing(record.uid, 1, "a" * 64) is None
    assert stores.attempts.begin_publishing(record.uid, 1, "b" * 64) == "a" * 64


def test_a_job_that_was_told_to_stop_is_not_published(stores: Stores) -> None:
    stores.create(new_job())
    record = stores.begin()
    assert not stores.attempts.update(record.uid, 1, step(1)).cancel_requested
    stores.jobs.cancel(record.tenant_id, record.message.job_id)
    assert stores.attempts.update(record.uid, 1, step(2)).cancel_requested
    with pytest.raises(Cancelled):
        stores.attempts.begin_publishing(record.uid, 1, "a" * 64)


def test_events_are_numbered_without_gaps(stores: Stores) -> None:
    stores.create(new_job())
    record = stores.begin()
    for number in range(1, 6):
        stores.attempts.update(record.uid, 1, step(number))
    events = stores.jobs.events(record.uid, 0)
    assert [event.sequence for event in events] == list(range(1, 7))
    assert [event.step for event in events] == [0, 1, 2, 3, 4, 5]
    assert [event.sequence for event in stores.jobs.events(record.uid, 4)] == [5, 6]


def test_a_full_queue_refuses_and_says_when_to_come_back(database: Database, clock: Clock) -> None:
    stores = Stores(database, clock, capacity=1)
    stores.create(new_job(1))
    with pytest.raises(QueueFull) as told:
        stores.create(new_job(2))
    assert told.value.retry_after_seconds
    assert stores.create(new_job(1)).message.job_id == "job-1"


def test_a_name_or_key_that_was_used_for_another_request_is_a_conflict(stores: Stores) -> None:
    stores.create(NewJob(**{**vars(new_job(1)), "idempotency_key": "k"}))
    with pytest.raises(Conflict):
        stores.create(NewJob(**{**vars(new_job(2)), "request": new_job(1).request}))
    with pytest.raises(Conflict):
        stores.create(NewJob(**{**vars(new_job(3)), "idempotency_key": "k"}))
    assert stores.create(NewJob(**{**vars(new_job(4)), "idempotency_key": "k", "tenant_id": "other"}))


def test_only_an_ended_job_is_deleted_with_its_events(stores: Stores) -> None:
    record = stores.create(new_job())
    with pytest.raises(Conflict):
        stores.jobs.delete(record)
    stores.jobs.cancel("default", "job-1")
    stores.jobs.delete(record)
    assert stores.jobs.events(record.uid, 0) == []
    with pytest.raises(TrainingJobNotFound):
        stores.jobs.get("default", "job-1")


def test_the_time_of_a_step_is_that_of_the_last_jobs_that_went_well(stores: Stores) -> None:
    assert stores.jobs.recent_seconds_per_step() is None
    stores.create(new_job())
    record = stores.begin()

    def start(message: pb2.TrainingJob) -> None:
        message.total_steps = 10
        message.start_time.FromSeconds(int(stores.clock.now))

    stores.attempts.update(record.uid, 1, start)
    stores.clock.now = int(stores.clock.now) + 50
    stores.attempts.update(record.uid, 1, ended)
    assert stores.jobs.recent_seconds_per_step() == pytest.approx(5.0)


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "mysql://host/db", "sqlite:///:memory:"])
def test_a_database_that_can_not_be_used_is_told(url: str) -> None:
    with pytest.raises(DatabaseError, match="database_url"):
        Database(url)


def test_what_a_call_names_is_in_no_error_of_the_database(database: Database, clock: Clock) -> None:
    store = JobStore(database, RULES, capacity=10, clock=clock)
    database.drop_tables()
    with pytest.raises(SQLAlchemyError) as told:
        store.create(new_job(job_id="annabelle-1"))
    assert "SELECT" in str(told.value)
    assert "annabelle-1" not in str(told.value)
