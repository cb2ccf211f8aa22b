"""Services that are down, full, loading or slow, and clients that go away."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading

import httpx
import pytest

from likeness.errors import DeadlineTooShort, Internal, LikenessError, NoFace, NonFiniteResult, QueueFull
from tests.gateway.conftest import House, portrait, serving_gateway, serving_house
from tests.gateway.test_bad_input import assert_problem
from tests.support.services import (
    FakeFaceSwap,
    FakeGenerator,
    running_faceswap,
    running_generator,
    unused_address,
)

WAIT_SECONDS = 10


async def test_a_service_that_is_down_is_503_with_a_time_to_try_again() -> None:
    addresses = {"generator_address": unused_address(), "faceswap_address": unused_address()}
    async with serving_gateway(**addresses) as (http, _):
        answer = await http.post("/qwen-image-2512", json={"prompt": "p"})
        document = assert_problem(answer, 503, "SERVICE_UNAVAILABLE", None)
        assert "generator" in document["detail"]
        assert addresses["generator_address"] not in answer.text
        assert int(answer.headers["retry-after"]) >= 1
        answer = await http.post("/qwen-faceswap", json=portrait())
        assert "faceswap" in assert_problem(answer, 503, "SERVICE_UNAVAILABLE", None)["detail"]


async def test_a_service_that_loads_is_503_until_it_has_loaded() -> None:
    generator, faceswap, loaded = FakeGenerator(), FakeFaceSwap(), threading.Event()
    loading = running_generator(generator, load=lambda: loaded.wait(WAIT_SECONDS), wait_until_loaded=False)
    async with (
        loading as address,
        running_faceswap(faceswap) as faceswap_address,
        serving_gateway(generator_address=address, faceswap_address=faceswap_address) as (http, _),
    ):
        try:
            answer = await http.post("/qwen-image-2512", json={"prompt": "p"})
            assert_problem(answer, 503, "MODEL_LOADING", None)
            assert "retry-after" in answer.headers
            ready = await http.get("/readyz")
            assert ready.status_code == 503
            assert ready.json()["services"]["likeness.generator.v1.GeneratorService"] == "NOT_SERVING"
        finally:
            loaded.set()


async def test_a_full_queue_is_503_also_for_a_stream_of_events(house: House) -> None:
    house.generator.error = QueueFull("16 pieces of work wait", retry_after_seconds=12.3)
    for accept in ("application/json", "image/png", "text/event-stream"):
        answer = await house.http.post("/qwen-image-2512", json={"prompt": "p"}, headers={"Accept": accept})
        document = assert_problem(answer, 503, "QUEUE_FULL", None)
        assert document["retry_after_seconds"] == 12.3
        assert answer.headers["retry-after"] == "13"


@pytest.mark.parametrize(
    ("error", "status"),
    [(DeadlineTooShort("it would take 40 s"), 504), (NonFiniteResult("NaN"), 500), (Internal("a fault"), 500)],
)
async def test_other_refusals_keep_their_status(house: House, error: LikenessError, status: int) -> None:
    house.generator.error = error
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "p"})
    assert_problem(answer, status, error.reason, None)


@pytest.mark.parametrize("by_header", [True, False])
async def test_a_deadline_that_passes_ends_the_work(house: House, by_header: bool) -> None:
    house.generator.gate = asyncio.Event()
    body = {"prompt": "p"} if by_header else {"prompt": "p", "timeout_seconds": 0.3}
    headers = {"X-Timeout-Seconds": "0.3"} if by_header else {}
    answer = await house.http.post("/qwen-image-2512", json=body, headers=headers)
    assert_problem(answer, 504, "DEADLINE_EXCEEDED", None)
    await asyncio.wait_for(house.generator.cancelled.wait(), WAIT_SECONDS)


async def disconnect_when(house: House, path: str, waiting: asyncio.Event, headers: dict[str, str]) -> None:
    """Send a request, and go away once a service works on it."""
    async with httpx.AsyncClient(base_url=house.http.base_url, trust_env=False) as leaving:
        request = asyncio.create_task(leaving.post(path, json=portrait(), headers=headers))
        await asyncio.wait_for(waiting.wait(), WAIT_SECONDS)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request


@pytest.mark.parametrize("accept", ["application/json", "image/png", "text/event-stream"])
async def test_a_client_that_goes_away_while_it_draws_stops_the_drawing(house: House, accept: str) -> None:
    house.generator.gate = asyncio.Event()
    await disconnect_when(house, "/qwen-faceswap", house.generator.waiting, {"Accept": accept})
    await asyncio.wait_for(house.generator.cancelled.wait(), WAIT_SECONDS)
    assert not house.faceswap.swaps


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_client_that_goes_away_while_it_swaps_stops_the_swap(house: House, accept: str) -> None:
    house.faceswap.gate = asyncio.Event()
    await disconnect_when(house, "/qwen-faceswap", house.faceswap.waiting, {"Accept": accept})
    await asyncio.wait_for(house.faceswap.cancelled.wait(), WAIT_SECONDS)


async def test_an_upload_that_breaks_off_is_told_in_one_line(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reader, writer = await asyncio.open_connection(house.http.base_url.host, house.http.base_url.port)
    writer.write(
        b"POST /faceswap HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    writer.close()
    records = await calls_logged(caplog, 1)
    assert "499" in records[0] and "CANCELLED" in records[0]
    assert not [record for record in caplog.records if record.exc_info or record.levelno > logging.INFO]


async def test_a_stream_that_ends_with_an_error_is_logged_with_its_reason(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    house.faceswap.error = NoFace("no face", field="reference_image")
    answer = await house.http.post("/qwen-faceswap", json=portrait(), headers={"Accept": "text/event-stream"})
    assert "NO_FACE" in answer.text
    assert any("NO_FACE" in line for line in await calls_logged(caplog, 1))


async def calls_logged(caplog: pytest.LogCaptureFixture, count: int) -> list[str]:
    """Return the fields of the gateway's first lines, once there are so many."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            lines = [str(vars(record)) for record in caplog.records if record.name == "likeness.calls"]
            lines = [line for line in lines if "'service': 'gateway'" in line]
            if len(lines) >= count:
                return lines
            await asyncio.sleep(0)


async def test_nothing_of_the_inside_is_told_of_an_unexpected_fault(house: House) -> None:
    house.generator.error = RuntimeError("a path: /srv/secret")  # type: ignore[assignment]
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "p"})
    assert_problem(answer, 500, "INTERNAL", None)
    assert "secret" not in answer.text


async def test_a_fault_of_the_gateway_itself_is_a_problem_document(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.composition.draw", lambda *arguments: 1 / 0)
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "p"})
    assert_problem(answer, 500, "INTERNAL", None)


async def test_a_shutdown_waits_for_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving_house() as house:
        house.generator.gate = gate = asyncio.Event()
        drain = house.server.lifecycle.drain

        def drain_and_go_on() -> None:
            drain()
            gate.set()

        monkeypatch.setattr(house.server.lifecycle, "drain", drain_and_go_on)
        request = asyncio.create_task(house.http.post("/qwen-image-2512", json={"prompt": "p"}))
        await asyncio.wait_for(house.generator.waiting.wait(), WAIT_SECONDS)
        house.server.should_exit = True
        assert (await request).status_code == 200


async def test_a_shutdown_ends_what_runs_for_too_long() -> None:
    async with serving_house(drain_seconds=0.1) as house:
        house.generator.gate = asyncio.Event()
        events = {"Accept": "text/event-stream"}
        stream = asyncio.create_task(house.http.post("/qwen-image-2512", json={"prompt": "p"}, headers=events))
        plain = asyncio.create_task(house.http.post("/qwen-image-2512", json={"prompt": "p"}))
        async with asyncio.timeout(WAIT_SECONDS):
            await house.generator.waiters.acquire()
            await house.generator.waiters.acquire()
        house.server.should_exit = True
        assert "event: error" in (await stream).text
        assert "SERVICE_UNAVAILABLE" in (await stream).text
        assert_problem(await plain, 503, "SERVICE_UNAVAILABLE", None)


async def test_a_deadline_that_passes_while_a_url_is_fetched_is_the_requests_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it never answers
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        body = portrait(reference_image=f"http://{host}/me.png")
        hosts = {"fetch_private_hosts": [host], "fetch_http_hosts": [host]}
        async with serving_house(**hosts) as house:
            answer = await house.http.post("/qwen-faceswap", json=body | {"timeout_seconds": 0.3})
            assert_problem(answer, 504, "DEADLINE_EXCEEDED", "reference_image")
            assert not house.faceswap.detections
        async with serving_house(**hosts, fetch_timeout_seconds=0.2) as house:
            answer = await house.http.post("/qwen-faceswap", json=body)
            assert_problem(answer, 422, "FETCH_FAILED", "reference_image")
