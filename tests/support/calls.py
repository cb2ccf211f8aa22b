"""Calls to a generator's stub, and what came of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from likeness.errors import LikenessError, from_rpc_error
from likeness.generator.v1 import generator_service_pb2_grpc as rpc

PATIENCE = 10.0


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield rpc.GeneratorServiceStub(channel)


async def failure(call: Any) -> LikenessError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "read"):
            await rest(call)
        else:
            await call
    return from_rpc_error(caught.value)


async def rest(call: Any) -> list[str]:
    """Read a stream to its end; return the names of its events."""
    events = []
    while (event := await call.read()) is not grpc.aio.EOF:
        events.append(event.WhichOneof("event"))
    return events


async def reach(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE)
