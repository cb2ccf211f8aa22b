from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio
import torch

from core.qwen.loading import QwenImageModel, load_model
from core.runtime.artifacts import ArtifactStore
from core.runtime.server import running_service
from services.generator.engine import GeneratorEngine
from services.generator.service import make_spec
from services.generator.settings import GeneratorSettings
from tests.support.checkpoint import build_checkpoint, checkpoint_profile, write_profile
from tests.support.generator import RunningGenerator
from tests.support.registry import Registry


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> QwenImageModel:
    torch.set_num_threads(2)
    return load_model(checkpoint_profile(checkpoint), weights_dir=checkpoint.parent)


@pytest.fixture
def settings(checkpoint: Path, tmp_path: Path) -> GeneratorSettings:
    return GeneratorSettings.load(
        port=0,
        profile_file=write_profile(checkpoint, tmp_path / "test.toml"),
        threads=2,
        queue_capacity=2,
        artifacts_url=str(tmp_path / "artifacts"),
        max_lora_bytes=4 * 2**20,
    )


@pytest_asyncio.fixture
async def generator(settings: GeneratorSettings, model: QwenImageModel) -> AsyncIterator[RunningGenerator]:
    """The service on a real port, over a model that the session's tests share."""
    spec = make_spec(settings)
    worker = spec.worker
    assert worker is not None
    library = settings.make_library(model, ArtifactStore(settings.artifacts_url))
    spec = dataclasses.replace(spec, load=lambda: GeneratorEngine(model, worker, library))
    async with running_service(spec, settings) as address, grpc.aio.insecure_channel(address) as channel:
        yield RunningGenerator(channel, worker, model, library)


@pytest.fixture
def registry(generator: RunningGenerator) -> Registry:
    return Registry(generator)
