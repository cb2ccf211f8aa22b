"""Webhooks over real HTTP: signatures, pauses, order, what is refused, and messages that outlive the process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from core.runtime.fetch import FetchPolicy, SafeFetcher
from likeness.errors import FetchRefused
from services.trainer.attempt_store import AttemptStore
from services.trainer.database import Database
from services.trainer.delivery_store import DeliveryStore
from services.trainer.job_store import JobStore
from services.trainer.webhook_sender import RETRY_SECONDS, WebhookSender
from tests.services.trainer.conftest import RULES, Clock, new_job, plan, serving_trainer, until
from tests.services.trainer.test_job_store import LEASES, ended, step

SECRET = "whsec_" + "QUJD" * 8
OTHER_SECRET = "whsec_" + "REVG" * 8


@dataclass
class Backend:
    """A client's backend: an HTTP server that keeps what it is told."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    """Statuses of the next answers; 200 when there is none."""
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        """Where it takes messages."""
        return f"http://{self.authority}/hook"

    @property
    def policy(self) -> FetchPolicy:
        """The operator's leave to call it."""
        return FetchPolicy(private_hosts=frozenset({self.authority}), http_hosts=frozenset({self.authority}))

    def documents(self, secret: str = SECRET) -> list[dict[str, Any]]:
        """Return what arrived, each verified by the specification's own library."""
        return [Webhook(secret).verify(body, headers) for headers, body in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = [line.split(": ", 1) for line in head.split("\r\n")[1:] if line]
        headers = {name.lower(): value for name, value in lines}
        body = await reader.readexactly(int(headers["content-length"]))
        self.requests.append((headers, body))
        status = self.statuses.pop(0) if self.statuses else 200
        location = "Location: http://169.254.169.254/\r\n" if 300 <= status < 400 else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{location}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """A backend on a free port."""
    made = Backend()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@dataclass
class Outbox:
    """An outbox with one job, and its sender."""

    jobs: JobStore
    attempts: AttemptStore
    deliveries: DeliveryStore
    sender: WebhookSender
    clock: Clock
    uid: str

    def change(self, number: int) -> None:
        """Have the job make a step."""
        self.attempts.update(self.uid, 1, step(number))


@asynccontextmanager
async def outbox(database: Database, clock: Clock, backend: Backend, **job: Any) -> AsyncIterator[Outbox]:
    """Open an outbox whose job has begun."""
    jobs = JobStore(database, RULES, capacity=10, clock=clock)
    attempts = AttemptStore(database, RULES, LEASES, clock=clock)
    deliveries = DeliveryStore(database, clock=clock)
    record, _ = jobs.create(new_job(webhook_url=backend.url, **job))
    attempts.claim(1)
    async with SafeFetcher(backend.policy) as fetcher:
        sender = WebhookSender(deliveries, fetcher, secret=SECRET, timeout_seconds=5.0, clock=clock)
        yield Outbox(jobs, attempts, deliveries, sender, clock, record.uid)


@pytest.fixture
def real_clock(clock: Clock) -> Clock:
    """A clock near the present: the library refuses signatures that are old."""
    import time

    clock.now = time.time()
    return clock


async def test_a_message_is_signed_named_and_told_once(database: Database, real_clock: Clock, backend: Backend) -> None:
    async with outbox(database, real_clock, backend) as box:
        assert await box.sender.send_due() == 1
        assert await box.sender.send_due() == 0
    (document,) = backend.documents()
    assert document["type"] == "training_job.state_changed"
    assert document["timestamp"].endswith("Z")
    data = document["data"]
    assert (data["job_id"], data["character_id"], data["state"], data["sequence"]) == ("job-1", "anna", "queued", 1)
    headers = backend.requests[0][0]
    assert headers["webhook-id"] == f"msg_{box.uid}_1"
    assert headers["content-type"] == "application/json"


async def test_a_jobs_own_secret_signs_its_messages(database: Database, real_clock: Clock, backend: Backend) -> None:
    async with outbox(database, real_clock, backend, webhook_secret=OTHER_SECRET) as box:
        await box.sender.send_due()
    assert len(backend.documents(OTHER_SECRET)) == 1
    with pytest.raises(Exception, match="signature"):
        backend.documents(SECRET)


async def test_a_failed_message_is_sent_again_after_growing_pauses_under_the_same_name(
    database: Database, real_clock: Clock, backend: Backend
) -> None:
    async with outbox(database, real_clock, backend) as box:
        backend.statuses = [500, 302, *[503] * 20]
        for pause in RETRY_SECONDS:
            assert await box.sender.send_due() == 1
            assert await box.sender.send_due() == 0
            real_clock.now += pause * 0.99
            assert await box.sender.send_due() == 0
            real_clock.now += pause * 0.25
        assert await box.sender.send_due() == 1
        real_clock.now += 10**7
        assert await box.sender.send_due() == 0
        assert box.deliveries.outcomes(box.uid) == {f"msg_{box.uid}_1": "status 503"}
    assert len({headers["webhook-id"] for headers, _ in backend.requests}) == 1
    assert len({body for _, body in backend.requests}) == 1
    assert len(backend.requests) == len(RETRY_SECONDS) + 1


async def test_a_backend_that_wants_no_more_is_left_alone(
    database: Database, real_clock: Clock, backend: Backend
) -> None:
    async with outbox(database, real_clock, backend) as box:
        backend.statuses = [410]
        box.attempts.update(box.uid, 1, ended)
        await box.sender.send_due()
        real_clock.now += 10**6
        assert await box.sender.send_due() == 0
        assert box.jobs.get("default", "job-1").message.webhook_disabled
    assert len(backend.requests) == 1


async def test_progress_is_told_at_a_bounded_rate_and_only_the_last_waits(
    database: Database, real_clock: Clock, backend: Backend
) -> None:
    async with outbox(database, real_clock, backend) as box:
        await box.sender.send_due()
        for number in range(1, 101):
            real_clock.now += 1
            box.change(number)
        while await box.sender.send_due():
            pass
    progress = [document["data"]["step"] for document in backend.documents()[1:]]
    assert progress == [91]


async def test_a_message_that_a_dead_process_held_is_sent_by_another(
    database: Database, real_clock: Clock, backend: Backend
) -> None:
    async with outbox(database, real_clock, backend) as box:
        assert len(box.deliveries.take_due(8, hold_seconds=10.0)) == 1
        assert await box.sender.send_due() == 0
        real_clock.now += 11
        assert await box.sender.send_due() == 1


async def test_what_leads_to_a_private_address_is_refused_when_it_is_sent_too(
    database: Database, real_clock: Clock, backend: Backend
) -> None:
    async with outbox(database, real_clock, backend) as box, SafeFetcher() as strict:
        sender = WebhookSender(box.deliveries, strict, secret=SECRET, clock=real_clock)
        await sender.send_due()
        assert "https" in next(iter(box.deliveries.outcomes(box.uid).values()))
    assert not backend.requests


async def test_an_address_of_the_inside_is_refused_before_anything_is_sent(backend: Backend) -> None:
    async with SafeFetcher(FetchPolicy(http_hosts=frozenset({backend.authority}))) as fetcher:
        with pytest.raises(FetchRefused):
            await fetcher.post(backend.url, b"{}", headers={}, field="webhook_url")
        with pytest.raises(FetchRefused):
            await fetcher.check(backend.url, field="webhook_url")
    async with SafeFetcher(backend.policy) as fetcher:
        await fetcher.check(backend.url, field="webhook_url")
    assert not backend.requests


async def test_a_job_tells_its_backend_of_every_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: Backend
) -> None:
    hosts = frozenset({backend.authority})
    async with serving_trainer(
        tmp_path, monkeypatch, webhook_private_hosts=hosts, webhook_http_hosts=hosts, webhook_secret=SECRET
    ) as trainer:
        backend.statuses = [200, 500]
        await trainer.client.create(plan(job_id="first", webhook_url=backend.url))
        job = await trainer.ended("first")
        assert job.webhook_url == backend.url
        assert SECRET not in repr(job)

        def told() -> bool:
            documents = [json.loads(body) for _, body in backend.requests]
            states = {document["data"]["state"] for document in documents}
            scored = any(document["type"] == "training_job.scored" for document in documents)
            return scored and {"queued", "training", "evaluating", "publishing", "succeeded"} <= states

        await until(told)
    scored = next(document for document in backend.documents() if document["type"] == "training_job.scored")
    assert scored["data"]["samples"][0]["url"].startswith("/lora-training/first/samples/")
    last = max(backend.documents(), key=lambda document: document["data"]["sequence"])
    assert last["data"]["lora"]["lora_id"] == "anna"
