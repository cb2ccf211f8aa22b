from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from core.qwen.loading import QwenImageModel, WeightsMissing, find_weights, load_model
from core.qwen.profile import LoraSource, Profile, WeightsSource, load_profile
from tests.support.checkpoint import checkpoint_profile


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def test_half_precision_files_are_loaded_in_full_precision_on_a_cpu(model: QwenImageModel) -> None:
    for part in (model.pipeline.transformer, model.pipeline.text_encoder, model.pipeline.vae, model.decoder):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.float32}
    assert model.description.precision == "float32"
    assert model.description.device == "cpu"


def test_revision_of_a_folder_changes_with_its_contents(copy: Path) -> None:
    profile = checkpoint_profile(copy)
    first = load_model(profile, weights_dir=copy).description.revision
    assert first.startswith("sha256:")
    assert load_model(profile, weights_dir=copy).description.revision == first
    config = copy / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("0.02", "0.03"), encoding="utf-8")
    assert load_model(profile, weights_dir=copy).description.revision != first


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"miniature.*model_index.json is missing"):
        load_model(load_profile("miniature"), weights_dir=tmp_path)


@pytest.mark.parametrize(
    "part", ["tokenizer", "scheduler", "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"]
)
def test_a_missing_part_is_named(copy: Path, part: str) -> None:
    target = copy / part
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    with pytest.raises(WeightsMissing, match=part.split("/", maxsplit=1)[0]):
        find_weights(checkpoint_profile(copy), weights_dir=copy)


def test_a_missing_shard_is_named(copy: Path) -> None:
    index = copy / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"proj_out.bias": "part-00002-of-00002.safetensors"}}), encoding="utf-8")
    with pytest.raises(WeightsMissing, match="part-00002-of-00002"):
        find_weights(checkpoint_profile(copy), weights_dir=copy)


def test_a_folder_of_another_pipeline_is_refused(copy: Path) -> None:
    (copy / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}), encoding="utf-8")
    with pytest.raises(WeightsMissing, match="FluxPipeline"):
        find_weights(checkpoint_profile(copy), weights_dir=copy)


def test_a_modes_lora_that_is_not_there_is_named(copy: Path) -> None:
    (copy / "fast_lora.safetensors").unlink()
    with pytest.raises(WeightsMissing, match=r"'fast'.*fast_lora.safetensors"):
        load_model(checkpoint_profile(copy), weights_dir=copy)


def test_hub_weights_that_are_not_cached_say_how_to_fetch_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    profile = load_profile("qwen")
    with pytest.raises(WeightsMissing, match=f"hf download Qwen/Qwen-Image-2512 --revision {profile.weights.revision}"):
        find_weights(profile, weights_dir=tmp_path, offline=True)


def test_a_modes_lora_from_the_hub_says_how_to_fetch_it(copy: Path) -> None:
    source = LoraSource(repository="likeness/none", revision="0" * 40, file="few_steps.safetensors")
    profile = _with_lora(checkpoint_profile(copy), source)
    with pytest.raises(WeightsMissing, match=r"hf download likeness/none few_steps.safetensors"):
        load_model(profile, weights_dir=copy, offline=True)


@pytest.mark.parametrize("device", ["cuda:63", "tpu", "meta"])
def test_a_device_that_is_not_there_is_refused_before_loading(tmp_path: Path, device: str) -> None:
    with pytest.raises(WeightsMissing, match=device):
        load_model(load_profile("miniature"), weights_dir=tmp_path, device=device)


def test_a_relative_folder_is_inside_the_weights_folder(copy: Path) -> None:
    profile = dataclasses.replace(checkpoint_profile(copy), weights=WeightsSource(name="n", folder=copy.name))
    assert find_weights(profile, weights_dir=copy.parent) == copy


def test_links_that_a_copy_has_lost_are_named_with_the_way_out(copy: Path) -> None:
    profile = checkpoint_profile(copy)
    shared = copy.parent / "shared.json"
    config = copy / "vae" / "config.json"
    shared.write_bytes(config.read_bytes())
    config.unlink()
    config.symlink_to("../../shared.json")
    assert find_weights(profile, weights_dir=copy) == copy
    shared.unlink()
    with pytest.raises(WeightsMissing, match=r"vae/config\.json → \.\./\.\./shared\.json\. Put copies"):
        find_weights(profile, weights_dir=copy)
    config.unlink()
    config.write_text("../../shared.json", encoding="utf-8")
    tensors = copy / "vae" / "diffusion_pytorch_model.safetensors"
    tensors.write_text("../../shared.safetensors", encoding="utf-8")
    with pytest.raises(WeightsMissing, match=r"shared\.json and 1 more\..*core\.symlinks"):
        find_weights(profile, weights_dir=copy)


def _with_lora(profile: Profile, source: LoraSource) -> Profile:
    full, fast = profile.modes
    return dataclasses.replace(profile, modes=(full, dataclasses.replace(fast, lora=source)))
