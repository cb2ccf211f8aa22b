from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from core.qwen.checkpoint import WEIGHED, WeightsMissing, read_header, read_tensors
from core.qwen.loading import QwenImageModel
from core.qwen.loras.stack import LoraStack
from core.qwen.memory import container_bytes, estimate, host_bytes, measure
from core.qwen.offload import Offload
from core.qwen.precision import is_block_matrix, is_quantized
from core.qwen.preflight import LoadingChoices, LoadingPlan, plan_loading
from core.qwen.profile import PrecisionByDevice, load_profile
from core.qwen.step_caches import TaylorSeerCache
from core.runtime.profiles import ProfileError
from tests.support.checkpoint import checkpoint_profile, write_profile


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def plan(folder: Path, **choices: object) -> LoadingPlan:
    return plan_loading(
        checkpoint_profile(folder),
        weights_dir=folder,
        choices=LoadingChoices(**choices),  # type: ignore[arg-type]
    )


def test_a_plan_says_what_will_be_loaded_and_where(checkpoint: Path) -> None:
    made = plan(checkpoint)
    assert made.folder == checkpoint
    assert made.lora_files == {"fast": checkpoint / "fast_lora.safetensors"}
    assert (made.device, made.precision, made.offload, made.compiled) == (
        torch.device("cpu"),
        "float32",
        Offload.NONE,
        False,
    )


def test_everything_that_is_missing_is_named_at_once(copy: Path) -> None:
    (copy / "fast_lora.safetensors").unlink()
    with pytest.raises(WeightsMissing) as caught:
        plan(copy, device="cuda:63", guidance_device="cuda:62")
    shutil.rmtree(copy / "tokenizer")
    with pytest.raises(WeightsMissing) as worse:
        plan(copy, device="cuda:63")
    assert "'cuda:63' is not there" in str(caught.value)
    assert "fast_lora.safetensors" in str(caught.value)
    assert "'cuda:63' is not there" in str(worse.value)
    assert "tokenizer missing" in str(worse.value)


def test_hub_weights_are_not_fetched_for_a_machine_that_could_not_use_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing) as caught:
        plan_loading(load_profile("qwen"), weights_dir=tmp_path, choices=LoadingChoices(precision="float8"))
    assert str(caught.value) == (
        "precision float8 needs a CUDA device, and the device is cpu: take bfloat16 or float32"
    )


def test_a_profile_cannot_ask_a_cpu_for_float8(checkpoint: Path, tmp_path: Path) -> None:
    file = write_profile(checkpoint, tmp_path / "float8.toml")
    file.write_text(file.read_text(encoding="utf-8").replace('cpu = "float32"', 'cpu = "float8"'), encoding="utf-8")
    with pytest.raises(ProfileError, match="float8 needs a GPU"):
        load_profile(str(file))


def test_a_file_that_was_not_fetched_to_its_end_is_named(copy: Path) -> None:
    file = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(WeightsMissing, match=rf"{len(whole) - 1:,} bytes of {len(whole):,}"):
        plan(copy)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 64, b"\x10" + bytes(7) + b"{'not': json}   ", b"\x02" + bytes(7) + b"[]"],
    ids=["empty", "absurd length", "no JSON", "no object"],
)
def test_a_damaged_header_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsMissing, match=r"weights\.safetensors is damaged"):
        read_header(file)


def test_needs_are_those_of_the_loaded_model(checkpoint: Path, model: QwenImageModel) -> None:
    needs = measure(model.profile, checkpoint, "float32")
    transformer, text_encoder = model.pipeline.transformer, model.pipeline.text_encoder
    assert needs.transformer == sum(parameter.nbytes for parameter in transformer.parameters())
    assert needs.text_encoder == sum(parameter.nbytes for parameter in text_encoder.parameters())
    block = transformer.transformer_blocks[0]
    assert needs.block == sum(parameter.nbytes for parameter in block.parameters())
    stack = LoraStack.of(transformer)
    assert stack is not None
    rows = [buffer.nbytes for name, buffer in transformer.named_buffers() if name.endswith(("lora_down", "lora_up"))]
    assert needs.loras == sum(rows)


def test_half_precision_takes_half_and_float8_less(checkpoint: Path, model: QwenImageModel) -> None:
    full, half, float8 = (measure(model.profile, checkpoint, name) for name in ("float32", "bfloat16", "float8"))
    assert (half.transformer, half.text_encoder) == (full.transformer // 2, full.text_encoder // 2)
    assert half.transformer // 2 < float8.transformer < half.transformer
    assert float8.text_encoder == half.text_encoder


def test_a_cache_of_attention_is_counted(checkpoint: Path, model: QwenImageModel) -> None:
    modes = tuple(dataclasses.replace(mode, step_cache=TaylorSeerCache()) for mode in model.profile.modes)
    tensors = {component: read_tensors(checkpoint, component) for component in WEIGHED}
    without, with_cache = (
        estimate(profile, tensors, "float32", width=192, decoder_channels=1).activations
        for profile in (model.profile, dataclasses.replace(model.profile, modes=modes))
    )
    tokens = 102_400 // 256 + 256
    # Two branches, two blocks, the attention of every token, as it is and its difference.
    assert with_cache - without == 2 * 2 * 2 * tokens * 192 * 4


def test_a_cache_inside_the_blocks_does_not_go_with_compiling_them(checkpoint: Path) -> None:
    profile = checkpoint_profile(checkpoint)
    full, fast = profile.modes
    cached = dataclasses.replace(full, name="cached", step_cache=TaylorSeerCache())
    profile = dataclasses.replace(profile, modes=(full, fast, cached), compiled=True)
    with pytest.raises(WeightsMissing, match=r"mode 'cached' has the step cache taylor_seer.*leave compiled out"):
        plan_loading(profile, weights_dir=checkpoint, choices=LoadingChoices())
    assert plan_loading(profile, weights_dir=checkpoint, choices=LoadingChoices(compiled=False)).folder == checkpoint


def test_float8_takes_the_big_matrices_of_the_blocks_only() -> None:
    block = "transformer_blocks.7."
    assert is_quantized(f"{block}attn.to_q.weight", (3072, 3072))
    assert is_quantized(f"{block}img_mlp.net.0.proj.weight", (12288, 3072))
    assert not is_quantized(f"{block}img_mod.1.weight", (18432, 3072))
    # cuBLAS has no rowwise product of so long rows for so few of them as a prompt has.
    assert not is_quantized(f"{block}txt_mlp.net.2.weight", (3072, 12288))
    # Storing it in eight bits, as training may, needs no such product.
    assert is_block_matrix(f"{block}txt_mlp.net.2.weight", (3072, 12288))
    assert is_quantized(f"{block}img_mlp.net.2.weight", (3072, 12288))
    assert not is_quantized(f"{block}attn.norm_q.weight", (128,))
    assert not is_quantized(f"{block}attn.to_q.bias", (3072,))
    assert not is_quantized("proj_out.weight", (64, 3072))


def test_a_profile_of_another_pipeline_is_refused_with_the_reason(copy: Path) -> None:
    (copy / "model_index.json").write_text(json.dumps({"_class_name": "QwenImage21Pipeline"}), encoding="utf-8")
    with pytest.raises(WeightsMissing, match=r"QwenImage21Pipeline.*QwenImagePipeline.*do not share"):
        plan(copy)


def test_a_second_device_must_be_of_the_same_kind(checkpoint: Path) -> None:
    with pytest.raises(WeightsMissing, match="'meta' is not supported"):
        plan(checkpoint, guidance_device="meta")


def test_free_main_memory_is_known_on_linux() -> None:
    free = host_bytes()
    assert free is None or free > 2**20


def test_a_containers_cache_of_files_is_no_memory_that_is_gone(tmp_path: Path) -> None:
    assert container_bytes(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("9000\n")
    (tmp_path / "memory.stat").write_text("anon 1000\ninactive_file 7000\nactive_file 1000\n")
    assert container_bytes(tmp_path) is None
    (tmp_path / "memory.max").write_text("10000\n")
    assert container_bytes(tmp_path) == 8000


def test_precision_by_device_takes_float8_on_cuda() -> None:
    assert PrecisionByDevice(cpu="float32", cuda="float8").cuda == "float8"
