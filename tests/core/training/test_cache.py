"""What was encoded is found again only by the weights that encoded it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.runtime.cancellation import CancelToken
from core.training.base import BaseSource
from core.training.cache import EncodingCache
from core.training.dataset import Sample
from tests.core.training.conftest import MakeSpec


@pytest.mark.parametrize("part", ["text_encoder", "vae"])
def test_another_encoder_makes_its_own_entries(make_spec: MakeSpec, tmp_path: Path, part: str) -> None:
    source = BaseSource.find(make_spec())
    changed = dataclasses.replace(source, folder=tmp_path / "changed")
    shutil.copytree(source.folder, changed.folder)
    file = next((changed.folder / part).glob("*.safetensors"))
    weights = {name: tensor * 1.5 for name, tensor in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    pixels = np.full((160, 160, 3), 90, np.uint8)
    sample = Sample(pixels=pixels, caption="a woman", face=(0.2, 0.2, 0.8, 0.8), side=160)

    def encode(base: BaseSource) -> torch.Tensor:
        cache = EncodingCache(tmp_path / "cache", base)
        encoded = cache.encode([sample], ["a woman"], token=CancelToken(), progress=lambda done, total: None)
        return encoded.latents[sample.digest] if part == "vae" else encoded.texts["a woman"].states

    first, other = encode(source), encode(changed)
    assert not torch.equal(first, other)
    assert torch.equal(encode(source), first)
    kinds = {"text_encoder": ("text", "latents"), "vae": ("latents", "text")}[part]
    assert [len(list((tmp_path / "cache" / kind).iterdir())) for kind in kinds] == [2, 1]
