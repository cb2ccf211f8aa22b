"""What is removed goes whole, whoever else removes it, whatever fails on the way."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from core.runtime.artifacts import ArtifactStore
from core.runtime.fetch import SafeFetcher
from core.runtime.fetch_policy import FetchPolicy
from likeness.calls import CallOptions
from likeness.errors import Conflict, ServiceUnavailable
from likeness.metadata import CallMetadata
from services.trainer.cleanup import JobRemover
from services.trainer.database import Database
from services.trainer.engine import TrainerEngine, TrainerWorker
from services.trainer.job_store import JobStore
from services.trainer.photos import PhotoIntake, ReceivedPhoto
from services.trainer.records import JobRecord
from tests.services.trainer.conftest import (
    DEADLINE_SECONDS,
    PHOTOS,
    RULES,
    Clock,
    RunningTrainer,
    new_job,
    plan,
    serving_trainer,
    until,
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database: what is removed here is files."""
    made = Database(f"sqlite:///{tmp_path}/trainer.db")
    made.create_tables()
    yield made
    made.close()


@pytest.fixture
def jobs(database: Database, clock: Clock) -> JobStore:
    """Jobs in an empty database."""
    return JobStore(database, RULES, capacity=100, clock=clock)


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    """An empty artifact store."""
    return ArtifactStore(str(tmp_path / "artifacts"))


@pytest.fixture
def remover(database: Database, jobs: JobStore, artifacts: ArtifactStore, tmp_path: Path) -> JobRemover:
    """What removes jobs; runs' folders are in ``runs``."""
    return JobRemover(database, jobs, artifacts, tmp_path / "runs")


@pytest.mark.parametrize("has_run", [True, False])
def test_callers_that_remove_a_job_at_once_do_not_trip_over_each_other(
    jobs: JobStore, remover: JobRemover, tmp_path: Path, has_run: bool
) -> None:
    faults: list[Exception] = []

    def remove(record: JobRecord, together: threading.Barrier) -> None:
        together.wait()
        try:
            remover.remove(record)
        except Conflict:  # another one holds the folder
            pass
        except Exception as error:
            faults.append(error)

    for number in range(20):
        jobs.create(new_job(number))
        record = jobs.cancel("default", f"job-{number}")
        folder = tmp_path / "runs" / record.uid
        for index in range(5):
            (folder / f"cache-{index}").mkdir(parents=True)
        if has_run:
            (folder / "lock").touch()
        together = threading.Barrier(4)
        threads = [threading.Thread(target=remove, args=(record, together)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not folder.exists()
    assert not faults


def broken_folder(trainer: RunningTrainer) -> Path:
    """Make the folder of the store's only job one that can't be listed; return the link that does it."""
    (folder,) = (Path(trainer.settings.artifacts_url) / "training" / "jobs").iterdir()
    link = folder / "loop"
    link.symlink_to(link)
    return link


async def test_a_store_that_fails_is_told_and_keeps_no_run_from_starting(trainer: RunningTrainer) -> None:
    trainer.runs.allow(0)
    await trainer.client.create(plan(job_id="first", character_id="bob"))
    link = broken_folder(trainer)
    with pytest.raises(ServiceUnavailable, match="could not be removed") as told:
        await trainer.client.delete_character("bob", CallOptions(CallMetadata.new(), DEADLINE_SECONDS))
    assert str(link.parent) not in told.value.message
    trainer.runs.allow(100)
    await trainer.client.create(plan(job_id="second"))
    assert (await trainer.ended("second")).lora is not None
    link.unlink()
    assert (await trainer.client.delete_character("bob")).job_ids == ("first",)


async def test_a_job_that_cannot_be_removed_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving_trainer(tmp_path, monkeypatch) as trainer:
        await trainer.client.create(plan(job_id="first"))
        await trainer.ended("first")
        link = broken_folder(trainer)
        await trainer.client.create(plan(job_id="second"))
        await trainer.ended("second")
    monkeypatch.setattr("services.trainer.retention._SWEEP_SECONDS", 0.0)
    async with serving_trainer(tmp_path, monkeypatch, retention_days=1 / 86_400) as trainer:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while [job.job_id for job in (await trainer.client.list()).jobs] != ["first"]:
                await asyncio.sleep(0.02)
            link.unlink()
            while (await trainer.client.list()).jobs:
                await asyncio.sleep(0.02)


async def test_a_trainer_that_stops_does_not_try_for_ever_to_remove_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, tries, tried = JobRemover.remove, list[str](), asyncio.Event()
    loop = asyncio.get_running_loop()

    def counted(remover: JobRemover, record: JobRecord) -> None:
        tries.append(record.uid)
        loop.call_soon_threadsafe(tried.set)
        remove(remover, record)

    begin, workers = TrainerWorker.begin, list[TrainerWorker]()

    def noted(worker: TrainerWorker, engine: TrainerEngine) -> None:
        workers.append(worker)
        begin(worker, engine)

    monkeypatch.setattr(JobRemover, "remove", counted)
    monkeypatch.setattr(TrainerWorker, "begin", noted)
    async with serving_trainer(tmp_path, monkeypatch, poll_seconds=60.0) as trainer:
        await trainer.client.create(plan(job_id="first"))
        await trainer.client.cancel("first")
        record = JobStore(Database(trainer.settings.database_url), RULES, capacity=1).get("default", "first")
        folder = trainer.settings.work_dir / record.uid
        folder.mkdir(parents=True)
        with (folder / "lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            deleting = asyncio.create_task(trainer.client.delete("first"))
            await tried.wait()
            workers[0].leaving.set()
            with pytest.raises(Conflict):
                await deleting
    assert len(tries) <= 2


async def test_an_upload_that_was_never_noted_goes_once_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArtifactStore(str(tmp_path / "artifacts"))
    old, new = (store.put(f"training/uploads/{name}", b"a photo", ".photo") for name in ("old", "new"))
    file = tmp_path / "artifacts" / old.removeprefix("artifact://")
    os.utime(file, (file.stat().st_mtime - 2 * 86_400,) * 2)
    async with serving_trainer(tmp_path, monkeypatch) as trainer:
        await until(lambda: not store.exists(old))
        kept = await trainer.client.upload(PHOTOS[0])
        assert set(store.list("training/uploads")) == {new, kept}


async def sent() -> AsyncIterator[ReceivedPhoto]:
    """Yield photos as they come with a request."""
    for number, data in enumerate(PHOTOS):
        yield ReceivedPhoto(f"images[{number}]", f"images[{number}]", data, "")


@pytest.mark.parametrize("call", ["keep", "spool"])
async def test_a_call_that_ends_while_a_photo_is_written_leaves_none(
    artifacts: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    writes, goes_on = threading.Event(), threading.Event()
    put, write_bytes = ArtifactStore.put, Path.write_bytes

    def wait(data: bytes) -> None:
        if data == PHOTOS[1]:
            writes.set()
            goes_on.wait(DEADLINE_SECONDS)

    def slow_put(store: ArtifactStore, prefix: str, data: bytes, suffix: str = "") -> str:
        wait(data)
        return put(store, prefix, data, suffix)

    def slow_write(path: Path, data: bytes) -> int:
        wait(data)
        return write_bytes(path, data)

    monkeypatch.setattr(ArtifactStore, "put", slow_put)
    monkeypatch.setattr(Path, "write_bytes", slow_write)
    fetcher = SafeFetcher(FetchPolicy())
    intake = PhotoIntake(artifacts, fetcher, fetch_timeout_seconds=1.0)
    folder = tmp_path / "runs" / "f"
    work = intake.keep("f", sent()) if call == "keep" else intake.spool(folder, sent())
    calling = asyncio.ensure_future(work)
    await asyncio.to_thread(writes.wait, DEADLINE_SECONDS)
    calling.cancel()
    asyncio.get_running_loop().call_soon(goes_on.set)
    with pytest.raises(asyncio.CancelledError):
        await calling
    files = set(tmp_path.rglob("*.photo"))
    await asyncio.get_running_loop().shutdown_default_executor()
    assert set(tmp_path.rglob("*.photo")) == files
    assert len(files) == (0 if call == "keep" else 2)
    await fetcher.aclose()
