from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio
import torch

from core.qwen.loading import QwenImageModel, load_model
from core.runtime.artifacts import ArtifactStore
from core.runtime.server import running_service
from services.editor.engine import EditorEngine
from services.editor.service import make_spec
from services.editor.settings import EditorSettings
from tests.support.checkpoint import build_edit_checkpoint, edit_profile
from tests.support.editor import RunningEditor


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors are too small here for two threads, which only wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def edit_model(tmp_path_factory: pytest.TempPathFactory) -> QwenImageModel:
    folder = build_edit_checkpoint(tmp_path_factory.mktemp("edit_checkpoint"))
    return load_model(edit_profile(folder), weights_dir=folder.parent)


@pytest.fixture
def settings(tmp_path: Path) -> EditorSettings:
    return EditorSettings.load(
        port=0, threads=1, queue_capacity=2, artifacts_url=str(tmp_path / "artifacts"), max_lora_bytes=4 * 2**20
    )


@pytest_asyncio.fixture
async def editor(settings: EditorSettings, edit_model: QwenImageModel) -> AsyncIterator[RunningEditor]:
    """The service on a real port, over a model that the session's tests share."""
    spec = make_spec(settings)
    worker = spec.worker
    assert worker is not None
    library = settings.make_library(edit_model, ArtifactStore(settings.artifacts_url))
    spec = dataclasses.replace(spec, load=lambda: EditorEngine(edit_model, worker, library))
    async with running_service(spec, settings) as address, grpc.aio.insecure_channel(address) as channel:
        yield RunningEditor(channel, worker, edit_model, library)
