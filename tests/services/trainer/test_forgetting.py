"""Forgetting: what belonged to a character is nowhere afterwards, whatever its jobs were doing, whoever is killed."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from core.runtime.artifacts import ArtifactStore
from likeness.calls import CallOptions
from likeness.errors import Conflict, InvalidRequest, ServiceUnavailable, TrainingJobNotFound
from likeness.metadata import CallMetadata
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from likeness.training import CharacterDeletion, TrainingState
from services.trainer.attempt_store import AttemptStore, LeaseRules
from services.trainer.cleanup import JobRemover
from services.trainer.database import Database
from services.trainer.forget_store import ForgetStore
from services.trainer.forgetting import Forgetter
from services.trainer.job_store import JobStore
from services.trainer.launcher import Run, RunState
from services.trainer.lora_removal import LoraRemoval
from services.trainer.records import State
from tests.services.trainer.conftest import (
    DEADLINE_SECONDS,
    RULES,
    Clock,
    RunningTrainer,
    new_job,
    plan,
    serving_trainer,
    until,
)
from tests.services.trainer.test_trainer_durability import is_alive

OTHER = CallOptions(CallMetadata.new(tenant_id="other"))


def files(trainer: RunningTrainer) -> list[Path]:
    """Return everything below the trainer's folder but the database itself, and what steers the test's runs."""
    root = trainer.settings.work_dir.parent
    return sorted(
        path
        for folder in (root / "artifacts", root / "runs")
        for path in folder.rglob("*")
        if path not in (root / "artifacts" / "training", root / "artifacts" / "training" / "jobs")
    )


async def test_a_character_goes_as_a_whole_and_no_other_with_it(trainer: RunningTrainer) -> None:
    await trainer.client.create(plan(job_id="theirs"), OTHER)
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for event in trainer.client.watch("theirs", options=OTHER):
            assert event.state is not TrainingState.FAILED
    kept = files(trainer)
    await trainer.client.create(plan(job_id="ended"))
    await trainer.ended("ended")
    done = len(trainer.runs.steps())
    trainer.runs.allow(7)
    await trainer.client.create(plan(job_id="running"))
    steps = await until(lambda: (late := trainer.runs.steps()[done:]) and late[-1][1] == 7 and late)
    await trainer.client.create(plan(job_id="waiting"))
    kept_job = await trainer.client.create(plan(job_id="kept", character_id="bob"))
    assert len(files(trainer)) > len(kept)
    deletion = await trainer.client.delete_character("anna")
    assert deletion == CharacterDeletion(("ended", "running", "waiting"), (1,))
    assert not is_alive(steps[-1][0])
    assert [job.job_id for job in (await trainer.client.list()).jobs] == [kept_job.job_id]
    assert trainer.generator.loras.loras == {}
    assert list(trainer.generator.loras.tenants["other"]) == ["anna"]
    assert (await trainer.client.get("theirs", OTHER)).lora is not None
    assert (await trainer.client.delete_character("bob")).job_ids == ("kept",)
    assert files(trainer) == kept
    assert await trainer.client.delete_character("anna") == CharacterDeletion((), ())


async def test_nothing_of_a_photo_stays_in_the_databases_files(trainer: RunningTrainer) -> None:
    root = trainer.settings.work_dir.parent

    def mentions() -> list[str]:
        """Return the database's files in which a thumbnail or the character's name is."""
        words = b"\xff\xd8thumb", b"annabelle"
        return [path.name for path in root.glob("trainer.db*") for word in words if word in path.read_bytes()]

    await trainer.client.create(plan(job_id="first", character_id="annabelle"))
    await trainer.ended("first")
    assert mentions()
    await trainer.client.delete_character("annabelle")
    assert not mentions()


async def test_photos_that_were_uploaded_for_it_go_when_a_job_takes_them(trainer: RunningTrainer) -> None:
    trainer.runs.allow(0)
    photos = plan().images
    uris = [await trainer.client.upload(bytes(data)) for data in photos]  # type: ignore[arg-type]
    twin = await trainer.client.upload(bytes(photos[0]))  # type: ignore[arg-type]
    assert twin not in uris
    await trainer.client.create(plan(job_id="first", images=uris))
    store = ArtifactStore(trainer.settings.artifacts_url)
    assert store.list("training/uploads") == (twin,)
    await trainer.client.delete_character("anna")
    assert store.list("training/jobs") == ()


async def test_it_waits_for_a_generator_that_is_away_and_new_jobs_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_trainer(tmp_path, monkeypatch) as trainer:
        await trainer.client.create(plan(job_id="first"))
        await trainer.ended("first")
        trainer.generator.loras.error = ServiceUnavailable("the generator is away")
        with pytest.raises(ServiceUnavailable, match="tried again by itself: the generator is away"):
            await trainer.client.delete_character("anna")
        assert not files(trainer)
        with pytest.raises(Conflict) as told:
            await trainer.client.create(plan(job_id="second"))
        assert told.value.field == "character_id"
        assert not files(trainer)
        await trainer.client.create(plan(job_id="third"), OTHER)
        trainer.generator.loras.error = None
        assert (await trainer.client.delete_character("anna")).lora_versions == (1,)
        await trainer.client.create(plan(job_id="second"))


async def test_two_calls_at_once_wait_for_the_same_deletion(trainer: RunningTrainer) -> None:
    trainer.runs.allow(7)
    await trainer.client.create(plan(job_id="first"))
    await trainer.runs.reached(7)
    answers = await asyncio.gather(*(trainer.client.delete_character("anna") for _ in range(3)))
    assert CharacterDeletion(("first",), ()) in answers
    assert (await trainer.client.list()).jobs == ()


@pytest.mark.parametrize("character_id", ["", "../x", "A b", "a" * 65])
async def test_a_bad_name_is_refused(trainer: RunningTrainer, character_id: str) -> None:
    with pytest.raises(InvalidRequest) as told:
        await trainer.client.delete_character(character_id)
    assert told.value.field == "character_id"


class OtherTrainersRun:
    """A launcher of a trainer that has not started the runs it sees."""

    def state(self, run: Run) -> RunState:
        """Nothing is known."""
        return RunState.UNKNOWN

    def start(self, run: Run) -> None:
        """No run is started."""
        raise AssertionError

    def kill(self, run: Run) -> None:
        """No run can be killed."""
        raise AssertionError

    def kill_all(self) -> None:
        """There is none."""

    def close(self, seconds: float) -> None:
        """There is none."""


class House:
    """Stores and a forgetter, looked at step by step."""

    def __init__(self, database: Database, folder: Path, clock: Clock) -> None:
        """Open them; there is no generator."""
        self.jobs = JobStore(database, RULES, capacity=10, clock=clock)
        self.attempts = AttemptStore(database, RULES, LeaseRules(10, 10, 60), clock=clock)
        self.artifacts = ArtifactStore(str(folder / "artifacts"))
        self.work_dir = folder / "runs"
        self.remover = JobRemover(database, self.jobs, self.artifacts, self.work_dir)
        self.store = ForgetStore(database, clock=clock)
        self.forgotten: list[tuple[str, str]] = []
        house = self

        class Loras(LoraRemoval):
            def forget(self, tenant_id: str, lora_id: str) -> tuple[int, ...]:
                house.forgotten.append((tenant_id, lora_id))
                return (1,)

        self.forgetter = Forgetter(
            self.store, self.jobs, self.attempts, OtherTrainersRun(), self.remover, Loras(""), clock=clock
        )


@pytest.fixture
def house(database: Database, tmp_path: Path, clock: Clock) -> House:
    """Stores over each kind of database."""
    return House(database, tmp_path, clock)


def test_a_run_of_another_trainer_is_told_and_waited_for(house: House) -> None:
    house.jobs.create(new_job())
    claimed = house.attempts.claim(1)
    assert claimed is not None
    house.store.begin("default", "anna")
    house.forgetter.look()
    assert house.attempts.heartbeat(claimed.uid, 1).cancel_requested
    house.forgetter.look()
    assert not house.forgotten
    house.attempts.release(claimed.uid, 1, pb2.JobError(), max_failures=0, retry_seconds=0)
    house.forgetter.look()
    told = house.store.get("default", "anna")
    assert told is not None
    assert (told.done, told.job_ids, told.lora_versions) == (True, ("job-1",), (1,))
    with pytest.raises(TrainingJobNotFound):
        house.jobs.get("default", "job-1")


def test_a_run_that_publishes_ends_by_itself_before_its_job_goes(house: House) -> None:
    house.jobs.create(new_job())
    claimed = house.attempts.claim(1)
    assert claimed is not None

    def publishes(message: pb2.TrainingJob) -> None:
        message.state = State.STATE_PUBLISHING

    house.attempts.update(claimed.uid, 1, publishes)
    house.store.begin("default", "anna")
    house.forgetter.look()
    assert house.jobs.get("default", "job-1").message.state == State.STATE_PUBLISHING

    def succeeds(message: pb2.TrainingJob) -> None:
        message.state = State.STATE_SUCCEEDED

    house.attempts.update(claimed.uid, 1, succeeds)
    house.forgetter.look()
    assert house.forgotten == [("default", "anna")]


def test_a_folder_that_a_run_still_holds_stays_until_it_lets_go(house: House) -> None:
    house.jobs.create(new_job())
    house.jobs.cancel("default", "job-1")
    folder = house.work_dir / f"{1:032x}"
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        house.store.begin("default", "anna")
        house.forgetter.look()
        assert folder.exists() and not house.forgotten
        with pytest.raises(Conflict):
            house.remover.remove(house.jobs.get("default", "job-1"))
    house.forgetter.look()
    assert not folder.exists()
    assert house.forgotten == [("default", "anna")]


def test_a_deletion_that_nobody_asked_after_is_taken_by_time(house: House, clock: Clock) -> None:
    house.store.begin("default", "anna")
    house.forgetter.look()
    house.store.take_before(clock.now)
    assert house.store.get("default", "anna") is not None
    house.store.take_before(clock.now + 1)
    assert house.store.get("default", "anna") is None


def test_files_of_no_job_go_once_they_are_old(house: House) -> None:
    house.jobs.create(new_job())
    made: dict[int, tuple[Path, Callable[[], bool]]] = {}
    for number in (1, 2):
        uid = f"{number:032x}"
        uri = house.artifacts.put(f"training/jobs/{uid}/photos", b"%d" % number, ".photo")
        folder = house.work_dir / uid
        folder.mkdir(parents=True)
        (folder / "photo").touch()
        made[number] = folder, lambda uri=uri: house.artifacts.exists(uri)  # type: ignore[misc]
    (house.work_dir / "notes").mkdir()
    written = os.stat(made[2][0]).st_mtime
    assert house.remover.remove_orphans(written - 60) == 0
    assert house.remover.remove_orphans(written + 60) == 1
    assert [(folder.exists(), there()) for folder, there in made.values()] == [(True, True), (False, False)]
    assert (house.work_dir / "notes").exists()


async def test_an_ended_job_goes_by_itself_and_its_lora_where_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.trainer.retention._SWEEP_SECONDS", 0.0)
    second = 1 / 86_400
    async with serving_trainer(tmp_path, monkeypatch, retention_days=second, retention_loras=True) as trainer:
        await trainer.client.create(plan(job_id="first"))
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (await trainer.client.list()).jobs:
                await asyncio.sleep(0.02)
        assert not files(trainer)
        assert trainer.generator.loras.files == [b"lora of first"]
        assert trainer.generator.loras.loras == {}
