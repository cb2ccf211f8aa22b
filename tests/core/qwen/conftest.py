from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.qwen.loading import QwenImageModel, load_model
from tests.support.checkpoint import build_checkpoint, checkpoint_profile


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> QwenImageModel:
    return load_model(checkpoint_profile(checkpoint), weights_dir=checkpoint.parent)
