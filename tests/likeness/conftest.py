"""A client over real gRPC services that have no model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from likeness.client import AsyncClient
from tests.support.services import FakeFaceSwap, FakeGenerator, running_faceswap, running_generator


@dataclass
class Deployment:
    """Both services, their addresses, and a client."""

    client: AsyncClient
    generator: FakeGenerator
    faceswap: FakeFaceSwap
    generator_address: str
    faceswap_address: str


@pytest.fixture
async def deployment() -> AsyncIterator[Deployment]:
    """Both services and a client."""
    generator, faceswap = FakeGenerator(), FakeFaceSwap()
    async with (
        running_generator(generator) as first,
        running_faceswap(faceswap) as second,
        AsyncClient(first, second) as client,
    ):
        yield Deployment(client, generator, faceswap, first, second)
