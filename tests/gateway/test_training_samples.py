"""Sample pictures of a training, as a client that follows it over REST looks at them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from core.runtime.artifacts import ArtifactStore
from tests.gateway.conftest import serving_gateway
from tests.gateway.test_bad_input import assert_problem
from tests.gateway.test_routes_training import BODY, events_of
from tests.services.trainer.conftest import DEADLINE_SECONDS, RunningTrainer, serving_trainer
from tests.support.object_store import URL, Bucket, running_bucket
from tests.support.services import picture

SAMPLE = b"\xff\xd8sample"
NAME = f"{hashlib.sha256(SAMPLE).hexdigest()}.jpg"
OTHER = "b" * 64


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with running_bucket(monkeypatch) as running:
        yield running


@pytest.fixture
async def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> AsyncIterator[RunningTrainer]:
    """A trainer whose pictures are in an object store."""
    async with serving_trainer(tmp_path, monkeypatch, artifacts_url=URL) as running:
        yield running


@pytest.fixture
async def http(trainer: RunningTrainer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway over the trainer and its store."""
    async with serving_gateway(trainer_address=trainer.address, artifacts_url=URL) as (client, _):
        yield client


async def test_a_client_that_follows_a_training_sees_its_samples(http: httpx.AsyncClient, bucket: Bucket) -> None:
    await http.post("/lora-training", json={**BODY, "job_id": "first"})
    events = events_of((await http.get("/lora-training/first", headers={"Accept": "text/event-stream"})).text)
    (scored,) = (document for _, name, document in events if name == "scored")
    (told,) = scored["samples"]
    job = (await http.get("/lora-training/first")).json()
    assert job["samples"] == [told]
    assert events[-1][2]["samples"] == [told]
    assert (await http.get("/lora-training")).json()["jobs"][0]["samples"] == [told]
    assert told["artifact_uri"].startswith("artifact://training/jobs/")
    url = told["url"]
    assert url == f"/lora-training/first/samples/{NAME}"
    seen = await http.get(url, headers={"Accept": "image/avif,image/webp,image/*,*/*;q=0.8"})
    assert (seen.status_code, seen.content, seen.headers["content-type"]) == (200, SAMPLE, "image/jpeg")
    assert seen.headers["cache-control"] == "private, no-cache"
    again = await http.get(url, headers={"If-None-Match": seen.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    bucket.status = 500
    assert_problem(await http.get(url), 503, "SERVICE_UNAVAILABLE", None)
    bucket.status = None
    async with asyncio.timeout(DEADLINE_SECONDS):
        # The run may still be about to end, and holds its folder until then.
        while (gone := await http.delete("/lora-training/first")).status_code == 409:
            await asyncio.sleep(0.02)
    assert gone.status_code == 204
    for headers in ({}, {"If-None-Match": seen.headers["etag"]}):
        assert_problem(await http.get(url, headers=headers), 404, "TRAINING_JOB_NOT_FOUND", "job_id")


async def test_nothing_but_samples_is_handed_out_and_to_their_tenant_alone(
    http: httpx.AsyncClient, trainer: RunningTrainer, bucket: Bucket
) -> None:
    theirs = {"X-Tenant-Id": "theirs"}
    made = await http.post("/lora-training", json={**BODY, "job_id": "first"}, headers=theirs)
    assert made.status_code == 202, made.text
    await http.get("/lora-training/first", headers={**theirs, "Accept": "text/event-stream"})
    assert (await http.get(f"/lora-training/first/samples/{NAME}", headers=theirs)).content == SAMPLE
    for headers in ({}, {"X-Tenant-Id": "others"}):
        answer = await http.get(f"/lora-training/first/samples/{NAME}", headers=headers)
        assert_problem(answer, 404, "TRAINING_JOB_NOT_FOUND", "job_id")
    (sample,) = (key for key in bucket.files if "/samples/" in key)
    bucket.files[sample.replace(NAME, f"{OTHER}.jpg")] = picture()
    elsewhere = ArtifactStore(URL).put("images", picture(), ".jpg").rpartition("/")[2]
    (photo, *_) = (key.rpartition("/")[2] for key in bucket.files if "/photos/" in key)
    names = (
        f"{OTHER}.jpg",  # there, but no sample that the job tells of
        elsewhere,
        photo,
        f"..%2Fphotos%2F{photo}",
        f"{NAME}%0A",
        NAME.upper(),
        NAME.removesuffix(".jpg"),
        NAME.replace(".jpg", ".png"),
        "..%2F..%2Fsecret.jpg",
    )
    for name in names:
        answer = await http.get(f"/lora-training/first/samples/{name}", headers=theirs)
        assert answer.status_code == 404, name
        assert answer.json()["reason"] in {"ARTIFACT_NOT_FOUND", "NOT_FOUND"}, name
    assert_problem(await http.get(f"/lora-training/A%20b/samples/{NAME}"), 400, "INVALID_REQUEST", "job_id")
