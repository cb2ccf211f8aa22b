from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from likeness.generator.v1.generator_service_pb2 import GenerateRequest
from likeness.generator.v1.generator_service_pb2_grpc import GeneratorServiceStub
from tests.support.checkpoint import write_profile

ROOT = Path(__file__).parents[3]
Start = Callable[..., AbstractAsyncContextManager[asyncio.subprocess.Process]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start the generator as its own process, with the given settings in the environment."""

    @asynccontextmanager
    async def start(**settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LIKENESS_")}
        environment |= {f"LIKENESS_GENERATOR_{key.upper()}": value for key, value in settings.items()}
        environment |= {"LIKENESS_GENERATOR_PORT": "0", "LIKENESS_ARTIFACTS_URL": str(tmp_path / "artifacts")}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.generator",
            cwd=ROOT,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    return start


async def test_process_serves_and_ends_on_sigterm(start: Start, checkpoint: Path, tmp_path: Path) -> None:
    profile = write_profile(checkpoint, tmp_path / "test.toml")
    async with start(profile_file=str(profile), threads="2") as process:
        assert process.stdout is not None
        address = (await process.stdout.readline()).decode().split()[-1]
        async with grpc.aio.insecure_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            generator: Any = GeneratorServiceStub(channel)
            async for state in health.Watch(health_pb2.HealthCheckRequest()):
                if state.status == health_pb2.HealthCheckResponse.SERVING:
                    break
            request = GenerateRequest(prompt="a man", mode="fast", seed=1)
            events = [event async for event in generator.Generate(request)]
            assert events[-1].HasField("finished")
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        assert b"a man" not in errors


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"weights_dir": "/nowhere"}, "/nowhere/miniature"),
        ({"threads": "many"}, "threads"),
    ],
)
async def test_process_that_cannot_work_ends_and_says_why(start: Start, settings: dict[str, str], told: str) -> None:
    async with start(**settings) as process:
        output, errors = await process.communicate()
    assert process.returncode not in (None, 0)
    assert told in (output + errors).decode()
