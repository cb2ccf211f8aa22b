"""Jobs from their creation to a registered LoRA, over gRPC, with runs in processes of their own."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from core.runtime.artifacts import ArtifactStore
from likeness.calls import CallOptions
from likeness.errors import (
    Conflict,
    ImageUnreadable,
    InvalidRequest,
    LikenessError,
    PhotosUnusable,
    TrainingJobNotFound,
)
from likeness.metadata import CallMetadata
from likeness.training import TrainingEventType, TrainingSettings, TrainingState
from services.trainer.job_store import JobStore, NewJob
from services.trainer.records import JobRecord
from tests.services.trainer.conftest import DEADLINE_SECONDS, PHOTOS, RunningTrainer, photo, plan, serving_trainer


async def test_a_job_becomes_a_lora_that_the_generator_has(trainer: RunningTrainer) -> None:
    made = await trainer.client.create(plan(job_id="first", class_word="woman"))
    assert (made.state, made.image_count, made.class_word) == (TrainingState.QUEUED, 5, "woman")
    job = await trainer.ended("first")
    assert job.state is TrainingState.SUCCEEDED, job.error
    assert job.lora is not None
    assert (job.lora.lora_id, job.lora.version, job.lora.step) == ("anna", 1, 12)
    assert trainer.generator.loras.files == [b"lora of first"]
    assert trainer.generator.loras.loras["anna"][0].trigger_word == "ohwx"
    assert (job.step, job.total_steps, job.checkpoint_step, job.attempt) == (12, 12, 12, 1)
    assert [item.thumbnail for item in job.dataset] == [b"\xff\xd8thumb"] * 5
    assert job.checkpoints[0].identity == pytest.approx(0.6)
    sample = job.samples[0]
    assert sample.artifact_uri.startswith("artifact://training/jobs/")
    assert sample.url == f"/lora-training/first/samples/{sample.artifact_uri.rpartition('/')[2]}"
    assert job.manifest == {"base_model": "likeness/fake"}
    assert job.start_time is not None and job.end_time is not None


async def test_a_watch_tells_every_event_once_and_goes_on_after_a_number(trainer: RunningTrainer) -> None:
    await trainer.client.create(plan(job_id="first"))
    events = [event async for event in trainer.client.watch("first")]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    states = [event.state for event in events if event.type is TrainingEventType.STATE_CHANGED]
    assert states == [
        TrainingState.QUEUED,
        TrainingState.VALIDATING,
        TrainingState.CACHING,
        TrainingState.TRAINING,
        TrainingState.EVALUATING,
        TrainingState.PUBLISHING,
        TrainingState.SUCCEEDED,
    ]
    assert {TrainingEventType.PROGRESS, TrainingEventType.CHECKPOINT, TrainingEventType.SCORED} <= {
        event.type for event in events
    }
    late = [event async for event in trainer.client.watch("first", after_sequence=events[-3].sequence)]
    assert late == events[-2:]
    assert [event async for event in trainer.client.watch("first", after_sequence=len(events))] == []


async def test_a_repeated_request_is_the_same_job_and_another_body_a_conflict(trainer: RunningTrainer) -> None:
    trainer.runs.allow(0)
    first = await trainer.client.create(plan(job_id="first"))
    again = await trainer.client.create(plan(job_id="first"))
    assert again.create_time == first.create_time
    with pytest.raises(Conflict) as told:
        await trainer.client.create(plan(job_id="first", trigger_word="other"))
    assert told.value.field == "job_id"
    key = CallOptions(CallMetadata.new(idempotency_key="k"))
    one = await trainer.client.create(plan(), key)
    assert (await trainer.client.create(plan(), key)).job_id == one.job_id
    with pytest.raises(Conflict) as told:
        await trainer.client.create(plan(character_id="bob"), key)
    assert told.value.field == "idempotency-key"


async def test_a_job_is_its_tenants_alone(trainer: RunningTrainer) -> None:
    trainer.runs.allow(0)
    await trainer.client.create(plan(job_id="first"))
    other = CallOptions(CallMetadata.new(tenant_id="other"))
    for call in (trainer.client.get("first", other), trainer.client.cancel("first", other)):
        with pytest.raises(TrainingJobNotFound):
            await call
    assert (await trainer.client.list(options=other)).jobs == ()
    await trainer.client.create(plan(job_id="first", trigger_word="theirs"), other)
    assert (await trainer.client.get("first")).trigger_word == "ohwx"


async def test_a_cancelled_run_stops_and_keeps_its_last_checkpoint(trainer: RunningTrainer) -> None:
    trainer.runs.allow(7)
    await trainer.client.create(plan(job_id="first"))
    await trainer.runs.reached(7)
    told = await trainer.client.cancel("first")
    assert told.cancel_requested
    job = await trainer.ended("first")
    assert (job.state, job.checkpoint_step) == (TrainingState.CANCELLED, 5)
    assert list(trainer.settings.work_dir.glob("*/checkpoint.json"))
    assert (await trainer.client.cancel("first")).state is TrainingState.CANCELLED
    assert not trainer.generator.loras.files


async def test_a_run_hears_of_its_cancelling_when_it_tells_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its next heartbeat would be in a quarter of an hour.
    async with serving_trainer(tmp_path, monkeypatch, lease_seconds=3600.0) as trainer:
        trainer.runs.allow(4)
        await trainer.client.create(plan(job_id="first"))
        await trainer.runs.reached(4)
        await trainer.client.cancel("first")
        trainer.runs.allow(12)
        assert (await trainer.ended("first")).state is TrainingState.CANCELLED
        # Step 5 makes a checkpoint, which is always told.
        assert max(step for _, step in trainer.runs.steps()) <= 6
        assert trainer.generator.loras.files == []


async def test_photos_that_go_up_again_are_the_same_request(
    trainer: RunningTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likeness.trainer_client.INLINE_BYTES", 0)
    trainer.runs.allow(0)
    made = await trainer.client.create(plan(job_id="first"))
    assert (await trainer.client.create(plan(job_id="first"))).create_time == made.create_time
    store = ArtifactStore(trainer.settings.artifacts_url)
    assert store.list("training/uploads") == ()
    with pytest.raises(Conflict):
        await trainer.client.create(plan(job_id="first", images=PHOTOS[:4]))


async def test_a_call_that_ends_while_its_job_is_made_takes_no_photo_away(
    trainer: RunningTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, made, told = JobStore.create, threading.Event(), threading.Event()

    def slow(store: JobStore, job: NewJob) -> tuple[JobRecord, bool]:
        found = create(store, job)
        made.set()
        told.wait(DEADLINE_SECONDS)
        return found

    monkeypatch.setattr(JobStore, "create", slow)
    call = asyncio.create_task(trainer.client.create(plan(job_id="first")))
    await asyncio.to_thread(made.wait, DEADLINE_SECONDS)
    call.cancel()
    await asyncio.wait([call])
    told.set()
    job = await trainer.ended("first")
    assert job.state is TrainingState.SUCCEEDED, job.error


async def test_a_waiting_job_is_cancelled_at_once(trainer: RunningTrainer) -> None:
    trainer.runs.allow(0)
    await trainer.client.create(plan(job_id="first"))
    await trainer.in_state("first", TrainingState.TRAINING)
    second = await trainer.client.create(plan(job_id="second"))
    assert (second.state, second.queue_position) == (TrainingState.QUEUED, 0)
    assert (await trainer.client.cancel("second")).state is TrainingState.CANCELLED


async def test_a_deleted_job_leaves_nothing_but_its_lora(trainer: RunningTrainer) -> None:
    trainer.runs.allow(0)
    await trainer.client.create(plan(job_id="first"))
    with pytest.raises(Conflict):
        await trainer.client.delete("first")
    trainer.runs.allow(100)
    await trainer.ended("first")
    store = trainer.settings.work_dir.parent / "artifacts"
    assert list(store.rglob("*.photo")) and list(store.rglob("*.jpg"))
    await trainer.client.delete("first")
    assert not [path for path in store.rglob("*") if path.is_file()]
    assert not list(trainer.settings.work_dir.iterdir())
    assert "anna" in trainer.generator.loras.loras
    with pytest.raises(TrainingJobNotFound):
        await trainer.client.get("first")


async def test_deleting_takes_the_lora_along_when_asked(trainer: RunningTrainer) -> None:
    await trainer.client.create(plan(job_id="first"))
    await trainer.ended("first")
    await trainer.client.delete("first", delete_lora=True)
    assert not trainer.generator.loras.loras


async def test_photos_that_can_not_be_trained_on_fail_the_job_with_their_reason(trainer: RunningTrainer) -> None:
    (trainer.runs.path / "refuse").touch()
    await trainer.client.create(plan(job_id="first"))
    job = await trainer.ended("first")
    assert job.state is TrainingState.FAILED
    assert job.error is not None
    assert (job.error.reason, job.error.field) == (PhotosUnusable.reason, "images")
    assert job.attempt == 1


async def test_jobs_are_listed_by_pages_and_character(trainer: RunningTrainer) -> None:
    trainer.runs.allow(0)
    for number, character in enumerate(("anna", "bob", "anna")):
        await trainer.client.create(plan(job_id=f"job-{number}", character_id=character))
    page = await trainer.client.list(page_size=2)
    assert [job.job_id for job in page.jobs] == ["job-2", "job-1"]
    rest = await trainer.client.list(page_size=2, page_token=page.next_page_token)
    assert ([job.job_id for job in rest.jobs], rest.next_page_token) == (["job-0"], "")
    anna = await trainer.client.list(character_id="anna")
    assert [job.job_id for job in anna.jobs] == ["job-2", "job-0"]
    with pytest.raises(InvalidRequest) as told:
        await trainer.client.list(page_token="nonsense")
    assert told.value.field == "page_token"


async def test_a_damaged_photo_is_refused_before_the_job_is_made(trainer: RunningTrainer) -> None:
    with pytest.raises(ImageUnreadable) as told:
        await trainer.client.create(plan(images=(*PHOTOS[:3], photo(9)[:60])))
    assert told.value.field == "images[3]"
    assert (await trainer.client.list()).jobs == ()
    store = trainer.settings.work_dir.parent / "artifacts"
    assert not [path for path in store.rglob("*") if path.is_file()]


BAD_INPUT: list[tuple[dict[str, Any], str]] = [
    ({"images": PHOTOS[:1]}, "images"),
    ({"images": PHOTOS * 21}, "images"),
    ({"trigger_word": " "}, "trigger_word"),
    ({"trigger_word": ""}, "trigger_word"),
    ({"character_id": "../x"}, "character_id"),
    ({"job_id": "A b"}, "job_id"),
    ({"captions": ("one",)}, "captions"),
    ({"settings": TrainingSettings(rank=0)}, "settings.rank"),
    ({"settings": TrainingSettings(rank=1000)}, "settings.rank"),
    ({"settings": TrainingSettings(rank=0)}, "settings.rank"),
    ({"settings": TrainingSettings(steps=0)}, "settings.steps"),
    ({"settings": TrainingSettings(learning_rate=float("nan"))}, "settings.learning_rate"),
    ({"settings": TrainingSettings(resolution=500)}, "settings.resolution"),
    ({"settings": TrainingSettings(overrides={"dataset": {"nonsense": 1}})}, "settings.overrides.dataset.nonsense"),
    (
        {"settings": TrainingSettings(overrides={"hyperparameters": {"rank": 8}})},
        "settings.overrides.hyperparameters.rank",
    ),
    ({"webhook_url": "https://example.com/"}, "webhook_secret"),
    ({"webhook_url": "https://127.0.0.1/", "webhook_secret": "whsec_" + "A" * 32}, "webhook_url"),
    ({"webhook_url": "http://2130706433/", "webhook_secret": "whsec_" + "A" * 32}, "webhook_url"),
    ({"webhook_secret": "whsec_" + "A" * 32}, "webhook_secret"),
    ({"images": (), "image_urls": ("http://127.0.0.1/a.png",) * 4}, "image_urls[0]"),
]


async def test_bad_input_names_its_field_and_makes_no_job(trainer: RunningTrainer) -> None:
    for fields, field in BAD_INPUT:
        with pytest.raises(LikenessError) as told:
            await trainer.client.create(plan(**fields))
        assert told.value.field == field, (fields, told.value)
    assert (await trainer.client.list()).jobs == ()


async def test_many_large_photos_are_uploaded_one_by_one(
    trainer: RunningTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likeness.trainer_client.INLINE_BYTES", 100)
    trainer.runs.allow(0)
    job = await trainer.client.create(plan(job_id="first"))
    assert job.image_count == 5
    store = ArtifactStore(trainer.settings.artifacts_url)
    assert (len(store.list("training/jobs")), store.list("training/uploads")) == (5, ())
