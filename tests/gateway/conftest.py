"""A real gateway over real gRPC services that have no model."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from gateway.server import GatewayServer
from gateway.settings import GatewaySettings
from tests.support.services import FakeFaceSwap, FakeGenerator, picture, running_faceswap, running_generator

REFERENCE = "data:image/png;base64," + base64.b64encode(picture((240, 200, 180))).decode()


@dataclass
class House:
    """A gateway, the services behind it, and an HTTP client."""

    http: httpx.AsyncClient
    generator: FakeGenerator
    faceswap: FakeFaceSwap
    server: GatewayServer


@asynccontextmanager
async def serving_gateway(**settings: Any) -> AsyncIterator[tuple[httpx.AsyncClient, GatewayServer]]:
    """Serve a gateway on a free port, over an artifact store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = GatewayServer(GatewaySettings(port=0, **{"artifacts_url": folder, **settings}))
        async with server.running() as url, httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
            yield http, server


@asynccontextmanager
async def serving_house(**settings: Any) -> AsyncIterator[House]:
    """Serve a gateway with both services."""
    generator, faceswap = FakeGenerator(), FakeFaceSwap()
    async with AsyncExitStack() as stack:
        generator_address = await stack.enter_async_context(running_generator(generator))
        faceswap_address = await stack.enter_async_context(running_faceswap(faceswap))
        http, server = await stack.enter_async_context(
            serving_gateway(generator_address=generator_address, faceswap_address=faceswap_address, **settings)
        )
        yield House(http, generator, faceswap, server)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """A gateway with both services, as they are by default."""
    async with serving_house() as served:
        yield served


def portrait(**fields: Any) -> dict[str, Any]:
    """Return the body of a composition."""
    return {"prompt": "a professional woman in a modern office", "reference_image": REFERENCE, **fields}
