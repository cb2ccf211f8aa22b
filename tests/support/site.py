"""HTTP servers of every temper."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from core.runtime.fetch import FetchPolicy

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


def ok(body: bytes = b"picture", headers: str = "") -> Answer:
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)

    return answer


def raw(data: bytes) -> Answer:
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return answer


def redirect(location: str, status: int = 302) -> Answer:
    return raw(f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())


async def endless(head: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x" * 65536)
        await writer.drain()


async def silent(head: str, writer: asyncio.StreamWriter) -> None:
    await writer.wait_closed()


class Site:
    """An HTTP server with an answer by path; keeps the heads of the requests."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.answers = answers
        self.heads: list[str] = []
        self.connections = 0
        self.open = 0
        self.all_closed = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.all_closed.clear()
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            await self.answers[head.split(" ")[1]](head, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open -= 1
            if not self.open:
                self.all_closed.set()

    @property
    def authority(self) -> str:
        return f"localhost:{self.port}"

    def url(self, path: str = "/a", scheme: str = "http") -> str:
        return f"{scheme}://{self.authority}{path}"

    def policy(self) -> FetchPolicy:
        return FetchPolicy(private_hosts=frozenset({self.authority}), http_hosts=frozenset({self.authority}))


@asynccontextmanager
async def site(answers: dict[str, Answer], context: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    made = Site(answers)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
