from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from gateway.http_protocol import MAX_HEAD_BYTES, BoundedHeadProtocol
from tests.gateway.conftest import House

WAIT_SECONDS = 10
ENDLESS_BYTES = 20 * 2**20
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


async def connect(house: House) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the gateway."""
    return await asyncio.open_connection(house.http.base_url.host, house.http.base_url.port)


@pytest.mark.parametrize("line", [b"X: " + b"a" * 1000, b"Ab: c\r\n" * 100], ids=["one header", "many headers"])
async def test_headers_without_end_are_refused(house: House, line: bytes) -> None:
    reader, writer = await connect(house)
    writer.write(GET)
    sent = 0
    async with asyncio.timeout(WAIT_SECONDS):
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof() and sent < ENDLESS_BYTES:
                writer.write(line)
                await writer.drain()
                sent += len(line)
    assert sent < ENDLESS_BYTES
    writer.close()


async def test_a_body_and_the_begin_of_the_next_head_are_no_large_head(house: House) -> None:
    reader, writer = await connect(house)
    body = b'{"prompt": "' + b"p" * 2 * MAX_HEAD_BYTES + b'"}'
    writer.write(
        b"POST /qwen-image-2512 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode() + body + GET
    )  # fmt: skip
    await writer.drain()
    writer.write(b"Connection: close\r\n\r\n")
    async with asyncio.timeout(WAIT_SECONDS):
        answers = await reader.read()
    assert answers.startswith(b"HTTP/1.1 400")
    assert b"prompt: must be at most 4000 characters" in answers
    assert b"HTTP/1.1 200 OK" in answers
    writer.close()


async def test_headers_that_do_not_arrive_end_the_connection(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedHeadProtocol, "head_seconds", 0.1)
    for begin in (b"", GET):
        reader, writer = await connect(house)
        writer.write(begin)
        async with asyncio.timeout(WAIT_SECONDS):
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()


async def test_work_may_take_longer_than_headers(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedHeadProtocol, "head_seconds", 0.1)
    house.generator.gate = asyncio.Event()
    request = asyncio.create_task(house.http.post("/qwen-image-2512", json={"prompt": "p"}))
    await asyncio.wait_for(house.generator.waiting.wait(), WAIT_SECONDS)
    asyncio.get_running_loop().call_later(0.3, house.generator.gate.set)
    assert (await request).status_code == 200


async def test_a_connection_serves_many_requests_that_come_at_once(house: House) -> None:
    reader, writer = await connect(house)
    writer.write((GET + b"\r\n") * 20 + GET + b"Connection: close\r\n\r\n")
    async with asyncio.timeout(WAIT_SECONDS):
        assert (await reader.read()).count(b"HTTP/1.1 200 OK") == 21
    writer.close()


async def test_a_large_head_within_the_bounds_is_read(house: House) -> None:
    answer: httpx.Response = await house.http.get("/healthz", headers={"X-Large": "a" * (MAX_HEAD_BYTES // 2)})
    assert answer.status_code == 200
