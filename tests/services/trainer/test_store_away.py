"""The trainer while the object store is away: calls are told so, and runs go on when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from likeness.channel import ChannelOptions
from likeness.errors import ServiceUnavailable
from likeness.trainer_client import AsyncTrainerClient
from likeness.training import TrainingEventType, TrainingState
from tests.services.trainer.conftest import photo, plan, serving_trainer
from tests.support.object_store import URL, Bucket, running_bucket


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with running_bucket(monkeypatch) as running:
        yield running


async def test_a_store_that_is_away_is_unavailable_and_keeps_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Bucket
) -> None:
    bucket.status = 500
    once = ChannelOptions(attempts=1)
    async with (
        serving_trainer(tmp_path, monkeypatch, artifacts_url=URL) as trainer,
        AsyncTrainerClient(trainer.address, channel_options=once) as client,
    ):
        for call in (client.upload(photo()), client.create(plan(job_id="first"))):
            with pytest.raises(ServiceUnavailable) as caught:
                await call
            assert caught.value.retry_after_seconds
        assert (await client.list()).jobs == ()


async def test_a_run_is_tried_again_when_the_store_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Bucket
) -> None:
    async with serving_trainer(tmp_path, monkeypatch, artifacts_url=URL) as trainer:
        trainer.runs.allow(7)
        await trainer.client.create(plan(job_id="first"))
        await trainer.runs.reached(7)
        # Each request is repeated twice: this is one sample that can't be kept.
        bucket.failing_puts = 3
        trainer.runs.allow(100)
        job = await trainer.ended("first")
        assert (job.state, job.attempt, len(job.samples)) == (TrainingState.SUCCEEDED, 2, 1)
        lost = [event async for event in trainer.client.watch("first") if event.type is TrainingEventType.INTERRUPTED]
        assert [event.error.reason for event in lost if event.error] == ["SERVICE_UNAVAILABLE"]
