from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from core.qwen.loading import QwenImageModel, load_model
from tests.support.checkpoint import build_edit_checkpoint, edit_profile


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors are too small here for two threads, which only wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def edit_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_edit_checkpoint(tmp_path_factory.mktemp("edit_checkpoint"))


@pytest.fixture(scope="session")
def edit_model(edit_checkpoint: Path) -> QwenImageModel:
    return load_model(edit_profile(edit_checkpoint), weights_dir=edit_checkpoint.parent)
