from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from core.qwen.loras.adapter import Adapter, LoraFormat, LoraRejected
from core.qwen.loras.file import read_lora

Weights = dict[str, torch.Tensor]

QUERY, OUT, UP = (
    "transformer_blocks.0.attn.to_q",
    "transformer_blocks.0.attn.to_out.0",
    "transformer_blocks.11.img_mlp.net.0.proj",
)
SHAPES = {
    QUERY: (12, 12),
    OUT: (12, 12),
    UP: (48, 12),
    "transformer_blocks.0.attn.add_k_proj": (12, 12),
    "transformer_blocks.0.txt_mod.1": (72, 12),
    "time_text_embed.timestep_embedder.linear_1": (12, 8),
    "proj_out": (4, 12),
}
RANK = 4


def matrices(names: tuple[str, ...] = tuple(SHAPES), rank: int = RANK) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The down and up matrices of a LoRA, by module."""
    generator = torch.Generator().manual_seed(5)
    return {
        name: (
            torch.randn(rank, SHAPES[name][1], generator=generator),
            torch.randn(SHAPES[name][0], rank, generator=generator),
        )
        for name in names
    }


def written(prefix: str, down: str, up: str, *, alpha: float | None = None, underscores: bool = False) -> Weights:
    """Write the matrices as a tool would name them."""
    weights: Weights = {}
    for name, (first, second) in matrices().items():
        stem = prefix + (name.replace(".", "_") if underscores else name)
        weights[f"{stem}.{down}.weight"] = first
        weights[f"{stem}.{up}.weight"] = second
        if alpha is not None:
            weights[f"{stem}.alpha"] = torch.tensor(alpha)
    return weights


def read(weights: Weights, *, metadata: dict[str, str] | None = None, max_rank: int = 16) -> Adapter:
    return read_lora(save(weights, metadata), SHAPES, dtype=torch.float32, max_rank=max_rank)


def refused(weights: Weights, pattern: str, **options: int) -> None:
    with pytest.raises(LoraRejected, match=pattern):
        read(weights, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", [None, 8.0, 1.0])
@pytest.mark.parametrize(
    ("prefix", "down", "up", "underscores", "expected"),
    [
        ("transformer.", "lora_A", "lora_B", False, LoraFormat.DIFFUSERS),
        ("transformer.", "lora.down", "lora.up", False, LoraFormat.DIFFUSERS),
        ("diffusion_model.", "lora_A", "lora_B", False, LoraFormat.COMFYUI),
        ("diffusion_model.", "lora_down", "lora_up", False, LoraFormat.COMFYUI),
        ("model.diffusion_model.", "lora_A", "lora_B", False, LoraFormat.COMFYUI),
        ("model.diffusion_model.", "lora_down", "lora_up", False, LoraFormat.COMFYUI),
        ("lora_unet_", "lora_down", "lora_up", True, LoraFormat.KOHYA),
        ("", "lora_down", "lora_up", False, LoraFormat.BARE),
        ("", "lora_A", "lora_B", False, LoraFormat.BARE),
        ("", "lora_A.default", "lora_B.default", False, LoraFormat.DIFFSYNTH),
        ("base_model.model.", "lora_A", "lora_B", False, LoraFormat.PEFT),
    ],
)
def test_every_key_format_gives_the_same_update_with_alpha_over_rank(
    prefix: str, down: str, up: str, underscores: bool, expected: LoraFormat, alpha: float | None
) -> None:
    adapter = read(written(prefix, down, up, alpha=alpha, underscores=underscores))
    assert (adapter.format, adapter.rank) == (expected, RANK)
    assert adapter.updates.keys() == SHAPES.keys()
    for name, (first, second) in matrices().items():
        update = adapter.updates[name]
        assert torch.equal(update.down, first)
        assert torch.equal(update.up, second)
        assert update.scale == (1.0 if alpha is None else alpha / RANK)


def test_alpha_that_peft_notes_in_the_metadata_is_applied() -> None:
    noted = {"transformer.lora_alpha": 2, "transformer.alpha_pattern": {"attn.to_q": 8}, "transformer.r": RANK}
    adapter = read(written("transformer.", "lora_A", "lora_B"), metadata={"lora_adapter_metadata": json.dumps(noted)})
    assert adapter.updates[QUERY].scale == 8 / RANK
    assert adapter.updates[OUT].scale == 2 / RANK
    noted["transformer.use_rslora"] = True
    adapter = read(written("transformer.", "lora_A", "lora_B"), metadata={"lora_adapter_metadata": json.dumps(noted)})
    assert adapter.updates[OUT].scale == 2 / math.sqrt(RANK)


@pytest.mark.parametrize("noted", ["[1]", '{"transformer.lora_alpha": "high"}', "{", '{"transformer.use_dora": true}'])
def test_metadata_that_cannot_be_followed_is_refused(noted: str) -> None:
    with pytest.raises(LoraRejected, match="lora_adapter_metadata"):
        read(written("transformer.", "lora_A", "lora_B"), metadata={"lora_adapter_metadata": noted})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_take_the_models_number_format(dtype: torch.dtype) -> None:
    adapter = read({key: tensor.to(dtype) for key, tensor in written("", "lora_A", "lora_B").items()})
    assert adapter.updates[QUERY].down.dtype == torch.float32


@pytest.mark.parametrize(
    "key",
    [
        f"transformer.{QUERY}.hada_w1_a",
        f"transformer.{QUERY}.lokr_w1",
        f"transformer.{QUERY}.diff_b",
        f"transformer.{QUERY}.lora_B.bias",
        f"transformer.{QUERY}.lora_mid.weight",
        "some_buffer",
    ],
)
def test_keys_of_no_known_form_are_named(key: str) -> None:
    refused({**written("transformer.", "lora_A", "lora_B"), key: torch.ones(2, 2)}, re.escape(key))


@pytest.mark.parametrize("name", ["dora_scale", "lora_magnitude_vector", "lora_magnitude_vector.weight"])
def test_dora_is_refused(name: str) -> None:
    key = f"transformer.{QUERY}.{name}"
    refused({**written("transformer.", "lora_A", "lora_B"), key: torch.ones(12)}, f"DoRA.*{re.escape(key)}")


@pytest.mark.parametrize(
    "key",
    [
        "text_encoder.model.layers.0.self_attn.q_proj.lora_A.weight",
        "lora_te_model_layers_0_mlp_up_proj.lora_down.weight",
        "lora_te1_text_model_layers_0.alpha",
        "text_encoders.qwen25_7b.layers.0.lora_A.weight",
    ],
)
def test_text_encoder_keys_are_named(key: str) -> None:
    refused({**written("", "lora_A", "lora_B"), key: torch.ones(2, 2)}, f"text encoder.*{re.escape(key)}")


@pytest.mark.parametrize(
    "stem",
    ["transformer.transformer_blocks.60.attn.to_q", "transformer.blocks.0.attn.to_q", "lora_unet_single_blocks_3"],
)
def test_modules_that_the_model_lacks_are_named(stem: str) -> None:
    weights = {f"{stem}.lora_A.weight": torch.ones(4, 12), f"{stem}.lora_B.weight": torch.ones(12, 4)}
    refused(weights, f"no such modules: {re.escape(stem)}")


def test_many_wrong_keys_are_counted_not_listed() -> None:
    refused({f"wrong_{number}": torch.ones(1) for number in range(400)}, "wrong_0, .* and 395 more$")


def test_a_module_named_twice_is_refused() -> None:
    weights = written("transformer.", "lora_A", "lora_B")
    weights |= {f"{QUERY}.lora_A.weight": torch.ones(4, 12)}
    refused(weights, "twice")


def test_mixed_formats_are_refused() -> None:
    weights = written("transformer.", "lora_A", "lora_B")
    first, second = weights.pop(f"transformer.{QUERY}.lora_A.weight"), weights.pop(f"transformer.{QUERY}.lora_B.weight")
    weights |= {f"{QUERY}.lora_down.weight": first, f"{QUERY}.lora_up.weight": second}
    refused(weights, "mixes key formats")


@pytest.mark.parametrize("part", ["lora_A.weight", "lora_B.weight"])
def test_half_a_module_is_refused(part: str) -> None:
    weights = written("transformer.", "lora_A", "lora_B")
    del weights[f"transformer.{QUERY}.{part}"]
    refused(weights, f"no counterpart.*{re.escape(QUERY)}")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", ["lora_A.weight", "lora_B.weight"])
def test_numbers_that_are_not_finite_are_refused(value: float, part: str) -> None:
    weights = written("transformer.", "lora_A", "lora_B")
    weights[f"transformer.{QUERY}.{part}"][1, 1] = value
    refused(weights, f"not finite: transformer.{re.escape(QUERY)}.{re.escape(part)}")


def test_numbers_beyond_the_models_format_are_refused() -> None:
    weights = {key: tensor.double() for key, tensor in written("", "lora_A", "lora_B").items()}
    weights[f"{QUERY}.lora_A.weight"][0, 0] = 1e300
    refused(weights, "not finite")


@pytest.mark.parametrize("alpha", [math.nan, math.inf, 0.0])
def test_an_alpha_that_is_no_scale_is_refused(alpha: float) -> None:
    refused(written("", "lora_down", "lora_up", alpha=alpha), "alpha")


def test_an_alpha_of_several_numbers_is_refused() -> None:
    weights = written("", "lora_down", "lora_up", alpha=1.0)
    refused(weights | {f"{QUERY}.alpha": torch.ones(3)}, "not a single number")


@pytest.mark.parametrize(
    ("down", "up"),
    [((4, 16), (12, 4)), ((4, 12), (16, 4)), ((4, 12, 1), (12, 4)), ((4, 12), (12, 4, 1, 1)), ((4,), (12,))],
)
def test_shapes_that_do_not_fit_are_refused(down: tuple[int, ...], up: tuple[int, ...]) -> None:
    weights = {f"{QUERY}.lora_A.weight": torch.ones(down), f"{QUERY}.lora_B.weight": torch.ones(up)}
    refused(weights, f"does not fit the model: {re.escape(QUERY)} takes rank×12 and 12×rank")


@pytest.mark.parametrize(("down", "up"), [((4, 12), (12, 8)), ((0, 12), (12, 0))])
def test_ranks_that_disagree_or_are_zero_are_refused(down: tuple[int, ...], up: tuple[int, ...]) -> None:
    refused({f"{QUERY}.lora_A.weight": torch.ones(down), f"{QUERY}.lora_B.weight": torch.ones(up)}, "ranks disagree")


def test_a_rank_above_the_limit_is_refused() -> None:
    refused(written("", "lora_A", "lora_B"), "rank 4; at most 3", max_rank=3)


def test_whole_numbers_are_refused() -> None:
    weights = {key: tensor.to(torch.int8) for key, tensor in written("", "lora_A", "lora_B").items()}
    refused(weights, "number format torch.int8")


@pytest.mark.parametrize("weights", [{}, {f"{QUERY}.alpha": torch.tensor(1.0)}], ids=["nothing", "alpha alone"])
def test_an_empty_file_is_refused(weights: Weights) -> None:
    refused(weights, "no weights|mixes|counterpart")


def test_a_lora_that_changes_nothing_is_refused() -> None:
    weights = written("", "lora_A", "lora_B")
    refused({key: torch.zeros_like(value) if "lora_B" in key else value for key, value in weights.items()}, "nothing")


def test_a_pickle_is_refused_without_being_read() -> None:
    for legacy in (False, True):
        buffer = io.BytesIO()
        torch.save(written("", "lora_A", "lora_B"), buffer, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(LoraRejected, match=r"pickle.*convert it to safetensors"):
            read_lora(buffer.getvalue(), SHAPES, dtype=torch.float32, max_rank=16)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_file_that_is_cut_off_is_refused(keep: int, tmp_path: Path) -> None:
    data = save(written("", "lora_A", "lora_B"))[:keep]
    (tmp_path / "lora.safetensors").write_bytes(data)
    for source in (data, tmp_path / "lora.safetensors"):
        with pytest.raises(LoraRejected, match="damaged or cut off"):
            read_lora(source, SHAPES, dtype=torch.float32, max_rank=16)


@pytest.mark.parametrize("data", [b"\xff" * 64, b"GIF89a" + bytes(64), (2**62).to_bytes(8, "little") + b"{}"])
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(LoraRejected, match="no safetensors file"):
        read_lora(data, SHAPES, dtype=torch.float32, max_rank=16)


def test_a_file_gives_what_its_bytes_give(tmp_path: Path) -> None:
    weights = written("diffusion_model.", "lora_A", "lora_B", alpha=2)
    save_file(weights, tmp_path / "lora.safetensors")
    first = read_lora(tmp_path / "lora.safetensors", SHAPES, dtype=torch.bfloat16, max_rank=16)
    second = read_lora(save(weights), SHAPES, dtype=torch.bfloat16, max_rank=16)
    assert first.key == second.key
    assert all(torch.equal(first.updates[name].down, second.updates[name].down) for name in SHAPES)
