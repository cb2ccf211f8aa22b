"""What was encoded is found again only by the weights that encoded it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from core.runtime.cancellation import CancelToken
from core.training.base import BaseSource
from core.training.cache import EncodingCache
from tests.core.training.conftest import MakeSpec


def test_another_encoder_makes_its_own_entries(make_spec: MakeSpec, tmp_path: Path) -> None:
    source = BaseSource.find(make_spec())
    changed = dataclasses.replace(source, folder=tmp_path / "changed")
    shutil.copytree(source.folder, changed.folder)
    file = next((changed.folder / "text_encoder").glob("*.safetensors"))
    weights = {name: tensor * 1.5 for name, tensor in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})

    def encode(base: BaseSource) -> torch.Tensor:
        cache = EncodingCache(tmp_path / "cache", base)
        encoded = cache.encode([], ["a woman"], token=CancelToken(), progress=lambda done, total: None)
        return encoded.texts["a woman"].states

    first, other = encode(source), encode(changed)
    assert not torch.equal(first, other)
    assert torch.equal(encode(source), first)
    assert len(list((tmp_path / "cache/text").iterdir())) == 2
