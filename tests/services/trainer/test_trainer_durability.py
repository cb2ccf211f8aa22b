"""Kill −9 of the run, of the trainer, of both: what was done up to the last checkpoint is never done again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from likeness.errors import ModelLoading, ServiceUnavailable
from likeness.trainer_client import AsyncTrainerClient
from likeness.training import TrainingEvent, TrainingEventType, TrainingJob, TrainingState
from tests.services.trainer.conftest import (
    DEADLINE_SECONDS,
    RunFolder,
    RunningTrainer,
    plan,
    serving_trainer,
    settings_for,
    until,
)
from tests.support.services import FakeGenerator, running_generator
from tests.support.training_run import VARIABLE

_PROCESSES: list[subprocess.Popen[str]] = []


def is_alive(pid: int) -> bool:
    """Return whether a process runs: one that has ended but was not waited for doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_killed_run_goes_on_from_its_last_checkpoint(trainer: RunningTrainer) -> None:
    trainer.runs.allow(7)
    await trainer.client.create(plan(job_id="first"))
    first = await trainer.runs.reached(7)
    os.kill(first, signal.SIGKILL)
    trainer.runs.allow(100)
    job = await trainer.ended("first")
    assert (job.state, job.attempt, job.step) == (TrainingState.SUCCEEDED, 2, 12)
    done = trainer.runs.steps()
    assert [step for pid, step in done if pid == first] == list(range(1, 8))
    assert [step for pid, step in done if pid != first] == list(range(6, 13))
    assert trainer.generator.loras.files == [b"lora of first"]
    events: list[TrainingEvent] = [event async for event in trainer.client.watch("first")]
    lost = [event for event in events if event.type is TrainingEventType.INTERRUPTED]
    assert [event.state for event in lost] == [TrainingState.QUEUED]
    assert lost[0].error is not None and lost[0].error.reason == "INTERRUPTED"


async def test_a_run_that_hangs_is_killed_when_its_lease_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving_trainer(tmp_path, monkeypatch, lease_seconds=1.0) as trainer:
        trainer.runs.allow(7)
        await trainer.client.create(plan(job_id="first"))
        first = await trainer.runs.reached(7)
        os.kill(first, signal.SIGSTOP)
        trainer.runs.allow(100)
        job = await trainer.ended("first")
        assert (job.state, job.attempt) == (TrainingState.SUCCEEDED, 2)
        assert not is_alive(first)


async def test_a_run_without_room_is_tried_again_from_its_last_checkpoint(trainer: RunningTrainer) -> None:
    (trainer.runs.path / "no_room").touch()
    await trainer.client.create(plan(job_id="first"))
    job = await trainer.ended("first")
    assert (job.state, job.attempt) == (TrainingState.SUCCEEDED, 2)
    assert [step for _, step in trainer.runs.steps()] == [*range(1, 7), *range(6, 13)]
    reasons = [event.error.reason async for event in trainer.client.watch("first") if event.error is not None]
    assert reasons == ["INSUFFICIENT_RESOURCES"]


async def test_a_run_that_dies_again_and_again_without_a_checkpoint_fails(trainer: RunningTrainer) -> None:
    (trainer.runs.path / "crash_at").write_text("7")
    await trainer.client.create(plan(job_id="first"))
    job = await trainer.ended("first")
    # The first attempt made a checkpoint, at step 5; the next three made none.
    assert (job.state, job.attempt, job.checkpoint_step) == (TrainingState.FAILED, 3, 5)
    assert job.error is not None and job.error.reason == "INTERRUPTED"


async def test_a_stopped_trainer_stops_its_runs_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, monkeypatch) as generator:
        runs = RunFolder(tmp_path / "control")
        process, client = await start_trainer()
        async with client:
            runs.allow(7)
            await client.create(plan(job_id="first"))
            first = await runs.reached(7)
            watching = asyncio.create_task(collect(client, "first"))
            process.terminate()
            with pytest.raises(ServiceUnavailable):
                await watching
        assert await asyncio.to_thread(process.wait, DEADLINE_SECONDS) == 0
        assert not is_alive(first)
        runs.allow(100)
        job = await finish()
        assert (job.state, job.attempt) == (TrainingState.SUCCEEDED, 2)
        assert len(generator.loras.files) == 1


async def test_a_run_outlives_a_killed_trainer_and_the_next_one_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, monkeypatch) as generator:
        runs = RunFolder(tmp_path / "control")
        process, client = await start_trainer()
        async with client:
            runs.allow(7)
            await client.create(plan(job_id="first"))
            first = await runs.reached(7)
        process.kill()
        await asyncio.to_thread(process.wait)
        assert is_alive(first)
        runs.allow(100)
        job = await finish()
        assert (job.state, job.attempt) == (TrainingState.SUCCEEDED, 1)
        assert runs.steps() == [(first, step) for step in range(1, 13)]
        assert len(generator.loras.files) == 1


async def test_a_job_goes_on_when_trainer_and_run_were_both_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, monkeypatch, lease_seconds=1.0) as generator:
        runs = RunFolder(tmp_path / "control")
        process, client = await start_trainer()
        async with client:
            runs.allow(7)
            await client.create(plan(job_id="first"))
            first = await runs.reached(7)
        process.kill()
        os.kill(first, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        runs.allow(100)
        job = await finish()
        assert (job.state, job.attempt) == (TrainingState.SUCCEEDED, 2)
        assert [step for pid, step in runs.steps() if pid != first] == list(range(6, 13))
        assert len(generator.loras.files) == 1


async def test_no_run_goes_on_for_long_without_a_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(tmp_path, monkeypatch, supervision_seconds=1.0, lease_seconds=1.0):
        runs = RunFolder(tmp_path / "control")
        process, client = await start_trainer()
        async with client:
            runs.allow(7)
            await client.create(plan(job_id="first"))
            first = await runs.reached(7)
        process.kill()
        await asyncio.to_thread(process.wait)
        await until(lambda: not is_alive(first))
        runs.allow(100)
        job = await finish()
        assert (job.state, job.attempt) == (TrainingState.SUCCEEDED, 2)


@asynccontextmanager
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **values: Any) -> AsyncIterator[FakeGenerator]:
    """Serve a generator, and set up the environment for trainers that are processes."""
    generator = FakeGenerator()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "control"))
    async with running_generator(generator) as address:
        settings: Mapping[str, Any] = settings_for(tmp_path, address, **values)
        for name, value in settings.items():
            monkeypatch.setenv(f"LIKENESS_TRAINER_{name.upper()}", str(value))
        try:
            yield generator
        finally:
            # A test that fails must not leave a trainer behind.
            while _PROCESSES:
                _PROCESSES.pop().kill()


async def start_trainer() -> tuple[subprocess.Popen[str], AsyncTrainerClient]:
    """Start a trainer's process and return it with a client."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.trainer_process"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _PROCESSES.append(process)
    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    process.stdout.close()
    client = AsyncTrainerClient(line.rsplit(" ", 1)[1].strip())
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                await client.list()
                return process, client
            except ModelLoading:  # it still opens its database
                await asyncio.sleep(0.02)


async def collect(client: AsyncTrainerClient, job_id: str) -> list[TrainingEvent]:
    """Watch a job to its end."""
    return [event async for event in client.watch(job_id)]


async def finish() -> TrainingJob:
    """Start another trainer, and let it bring the job to its end."""
    process, client = await start_trainer()
    try:
        async with client, asyncio.timeout(DEADLINE_SECONDS):
            await collect(client, "first")
            return await client.get("first")
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, DEADLINE_SECONDS)
