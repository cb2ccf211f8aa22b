"""Publishing further checkpoints of a job that has ended."""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path

import pytest

from core.runtime.cancellation import CancelToken
from likeness.errors import ArtifactNotFound, Conflict, InvalidRequest, ServiceUnavailable, TrainingJobNotFound
from services.trainer.forget_store import ForgetStore
from services.trainer.job_store import JobStore
from services.trainer.publication import CheckpointPublisher
from services.trainer.run_folder import FolderHeld
from tests.services.trainer.conftest import RULES, RunningTrainer, plan


@pytest.fixture
async def ended(trainer: RunningTrainer) -> RunningTrainer:
    """A trainer with the job ``first``, which has scored its checkpoints of steps 5, 10 and 12."""
    (trainer.runs.path / "score_all").touch()
    await trainer.client.create(plan(job_id="first"))
    await trainer.ended("first")
    return trainer


def folder_of(trainer: RunningTrainer) -> Path:
    """Return the folder of the only job."""
    (folder,) = trainer.settings.work_dir.iterdir()
    return folder


def publisher_of(trainer: RunningTrainer) -> CheckpointPublisher:
    """Return a publisher beside the trainer's own."""
    settings = trainer.settings
    database = settings.open_database()
    jobs, deletions = JobStore(database, RULES, capacity=1), ForgetStore(database)
    return CheckpointPublisher(
        database, RULES, jobs, deletions, work_dir=settings.work_dir, generator_address=settings.generator_address
    )


async def test_a_further_checkpoint_becomes_the_next_version_and_goes_with_its_job(ended: RunningTrainer) -> None:
    lora = await ended.client.publish("first", 5)
    assert (lora.lora_id, lora.version, lora.step) == ("anna", 2, 5)
    kept = ended.generator.loras.loras["anna"][1]
    assert (kept.trigger_word, kept.sha256) == ("ohwx", lora.sha256)
    assert ended.generator.loras.files[-1] == b"lora of first at 5"
    job = await ended.client.get("first")
    assert job.lora is not None
    assert (job.lora.version, job.lora.step, job.further_loras) == (1, 12, (lora,))
    await ended.client.delete("first", delete_lora=True)
    assert not ended.generator.loras.loras


async def test_a_checkpoint_is_published_once_whatever_is_repeated(ended: RunningTrainer) -> None:
    with (folder_of(ended) / "lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        publisher = publisher_of(ended)
        (record,) = publisher._jobs.of_character("default", "anna")
        with pytest.raises(FolderHeld):
            await asyncio.to_thread(publisher.publish, record, 5, CancelToken())
        waiting = asyncio.create_task(ended.client.publish("first", 5))
        # Other calls go through meanwhile, so this one has had its turn: it waits for whoever works there.
        await ended.client.get("first")
        await ended.client.get("first")
        assert not waiting.done()
    assert (await waiting).version == 2
    answers = await asyncio.gather(*(ended.client.publish("first", 5) for _ in range(3)))
    assert {lora.version for lora in answers} == {2}
    assert (await ended.client.publish("first", 12)).version == 1
    assert len((await ended.client.get("first")).further_loras) == 1


async def test_a_cancelled_jobs_last_checkpoint_can_be_published_though_it_was_not_scored(
    trainer: RunningTrainer,
) -> None:
    trainer.runs.allow(7)
    await trainer.client.create(plan(job_id="first"))
    await trainer.runs.reached(7)
    with pytest.raises(Conflict, match="has not ended"):
        await trainer.client.publish("first", 5)
    await trainer.client.cancel("first")
    assert (await trainer.ended("first")).checkpoint_step == 5
    with pytest.raises(InvalidRequest, match="choose one of 5"):
        await trainer.client.publish("first", 7)
    assert (await trainer.client.publish("first", 5)).version == 1


async def test_what_can_not_be_published_is_told(ended: RunningTrainer) -> None:
    with pytest.raises(InvalidRequest, match="choose one of 5, 10, 12"):
        await ended.client.publish("first", 7)
    with pytest.raises(InvalidRequest) as told:
        await ended.client.publish("first", 0)
    assert told.value.field == "step"
    with pytest.raises(TrainingJobNotFound):
        await ended.client.publish("second", 5)
    (folder_of(ended) / "loras/000010.safetensors").unlink()
    with pytest.raises(ArtifactNotFound, match="step 10"):
        await ended.client.publish("first", 10)
    ended.generator.loras.error = ServiceUnavailable("away")
    with pytest.raises(ServiceUnavailable):
        await ended.client.publish("first", 5)
    assert (await ended.client.get("first")).further_loras == ()
