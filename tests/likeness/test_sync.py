from __future__ import annotations

import asyncio

import pytest

import likeness
from likeness.errors import QueueFull
from likeness.results import GenerationEvent
from tests.likeness.conftest import Deployment
from tests.support.services import picture


async def test_the_blocking_client_does_the_same(deployment: Deployment) -> None:
    def work() -> None:
        told: list[GenerationEvent] = []
        with likeness.Client(deployment.generator_address, deployment.faceswap_address) as client:
            assert client.generate("p", seed=3, on_progress=told.append).pictures[0].seed == 3
            assert client.swap(picture(), picture()).engine == "mesh"
            assert len(client.detect_faces(picture()).faces) == 1
            assert set(client.health().values()) == {"SERVING"}
            deployment.generator.error = QueueFull("full")
            with pytest.raises(QueueFull):
                client.generate("p")
        client.close()
        assert told

    await asyncio.to_thread(work)
