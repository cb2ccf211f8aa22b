from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers import QwenImageTransformer2DModel
from torch._dynamo.testing import CompileCounter

from core.qwen.loras.adapter import Adapter, LoraFormat, LowRankUpdate
from core.qwen.loras.stack import LoraLinear, LoraStack

WIDTHS = (4, 8, 24)
LAYERS = 2


@pytest.fixture
def transformer() -> QwenImageTransformer2DModel:
    torch.manual_seed(0)
    made = QwenImageTransformer2DModel(
        num_layers=LAYERS,
        num_attention_heads=2,
        attention_head_dim=16,
        joint_attention_dim=24,
        axes_dims_rope=(4, 6, 6),
    )
    return made.eval().requires_grad_(False)


@pytest.fixture
def stack(transformer: QwenImageTransformer2DModel) -> LoraStack:
    return LoraStack.install(transformer, widths=WIDTHS, dtype=torch.float32)


def adapter(
    stack: LoraStack, key: str, *, rank: int, targets: tuple[str, ...] = ("attn.to_q",), scale: float = 1.0
) -> Adapter:
    """Make a LoRA of random numbers for these layers of every block."""
    generator = torch.Generator().manual_seed(len(key) * 1000 + sum(map(ord, key)))
    updates = {
        name: LowRankUpdate(
            torch.randn(rank, inputs, generator=generator) / 4,
            torch.randn(outputs, rank, generator=generator) / 4,
            scale,
        )
        for name, (outputs, inputs) in stack.shapes.items()
        if name.endswith(targets)
    }
    return Adapter(key, LoraFormat.BARE, updates)


@torch.inference_mode()
def predict(transformer: QwenImageTransformer2DModel) -> torch.Tensor:
    """Run the transformer on fixed inputs."""
    generator = torch.Generator().manual_seed(1)
    result: torch.Tensor = transformer(
        hidden_states=torch.randn(1, 16, 64, generator=generator),
        encoder_hidden_states=torch.randn(1, 5, 24, generator=generator),
        timestep=torch.tensor([0.5]),
        img_shapes=[[(1, 4, 4)]],
        return_dict=False,
    )[0]
    return result


def merged(transformer: QwenImageTransformer2DModel, *parts: tuple[Adapter, float]) -> torch.Tensor:
    """Predict with the updates added to the weights themselves, and take them out again."""
    before = {name: layer.base.weight.clone() for name, layer in _layers(transformer)}
    for item, strength in parts:
        for name, update in item.updates.items():
            layer: Any = transformer.get_submodule(name)
            layer.base.weight += strength * update.scale * (update.up @ update.down)
    result = predict(transformer)
    for name, changed in _layers(transformer):
        changed.base.weight.copy_(before[name])
    return result


def _layers(transformer: QwenImageTransformer2DModel) -> Iterator[tuple[str, LoraLinear]]:
    stack = LoraStack.of(transformer)
    assert stack is not None
    return ((name, transformer.get_submodule(name)) for name in stack.shapes)


def test_every_linear_layer_has_room(transformer: QwenImageTransformer2DModel) -> None:
    linears = {name for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)}
    assert LoraStack.install(transformer, widths=WIDTHS, dtype=torch.float32).shapes.keys() == linears


def test_room_alone_changes_nothing(transformer: QwenImageTransformer2DModel) -> None:
    before = predict(transformer)
    LoraStack.install(transformer, widths=WIDTHS, dtype=torch.float32)
    assert torch.equal(predict(transformer), before)


def test_an_update_equals_the_merged_weights(transformer: QwenImageTransformer2DModel, stack: LoraStack) -> None:
    everywhere = tuple(stack.shapes)
    item = adapter(stack, "all", rank=3, targets=everywhere, scale=0.25)
    expected = merged(transformer, (item, -0.5))
    stack.apply([(item, -0.5)])
    assert torch.allclose(predict(transformer), expected, atol=1e-4)


def test_several_add_up(transformer: QwenImageTransformer2DModel, stack: LoraStack) -> None:
    first = adapter(stack, "first", rank=3)
    second = adapter(stack, "second", rank=5, targets=("attn.to_q", "img_mlp.net.2"), scale=0.5)
    expected = merged(transformer, (first, 1.0), (second, 0.7))
    stack.apply([(first, 1.0), (second, 0.7)])
    assert torch.allclose(predict(transformer), expected, atol=1e-4)


def test_what_acted_before_leaves_no_trace(transformer: QwenImageTransformer2DModel, stack: LoraStack) -> None:
    base = predict(transformer)
    small = adapter(stack, "small", rank=2)
    large = adapter(stack, "large", rank=8, targets=("attn.to_q", "attn.to_v", "txt_mlp.net.0.proj"))
    stack.apply([(small, 1.0)])
    alone = predict(transformer)
    assert not torch.equal(alone, base)
    for parts in ([(large, 2.0)], [(large, 1.0), (small, 3.0)], []):
        stack.apply(parts)
        predict(transformer)
        stack.apply([(small, 1.0)])
        assert torch.equal(predict(transformer), alone)
    stack.apply([])
    assert torch.equal(predict(transformer), base)


def test_another_strength_of_the_same_lora_acts(transformer: QwenImageTransformer2DModel, stack: LoraStack) -> None:
    item = adapter(stack, "item", rank=2)
    stack.apply([(item, 1.0)])
    strong = predict(transformer)
    stack.apply([(item, 0.5)])
    assert torch.allclose(predict(transformer), merged_without_rows(transformer, stack, item, 0.5), atol=1e-4)
    stack.apply([(item, 1.0)])
    assert torch.equal(predict(transformer), strong)


def merged_without_rows(
    transformer: QwenImageTransformer2DModel, stack: LoraStack, item: Adapter, strength: float
) -> torch.Tensor:
    stack.apply([])
    result = merged(transformer, (item, strength))
    stack.apply([(item, strength)])
    return result


def test_an_interrupted_change_is_made_good_by_the_next(
    transformer: QwenImageTransformer2DModel, stack: LoraStack
) -> None:
    good = adapter(stack, "good", rank=2)
    stack.apply([(good, 1.0)])
    expected = predict(transformer)
    broken = Adapter("broken", LoraFormat.BARE, {**adapter(stack, "broken", rank=3).updates, "proj_out": LowRankUpdate(
        torch.zeros(3, 999), torch.zeros(999, 3), 1.0
    )})  # fmt: skip
    with pytest.raises(RuntimeError):
        stack.apply([(broken, 1.0)])
    stack.apply([(good, 1.0)])
    assert torch.equal(predict(transformer), expected)


def test_more_rank_than_there_are_rows_is_refused(stack: LoraStack) -> None:
    with pytest.raises(ValueError, match="25; there are 24"):
        stack.apply([(adapter(stack, "a", rank=20), 1.0), (adapter(stack, "b", rank=5), 1.0)])
    with pytest.raises(ValueError, match="rank 25"):
        stack.keep("mode", adapter(stack, "c", rank=25))


def test_thirty_switches_add_no_tensors_and_leave_the_base_as_it_was(
    transformer: QwenImageTransformer2DModel, stack: LoraStack
) -> None:
    weights = {name: parameter.clone() for name, parameter in transformer.named_parameters()}
    base = predict(transformer)

    def cycle(number: int) -> None:
        item = adapter(stack, f"number {number}", rank=1 + number % 8, targets=("attn.to_k", "img_mlp.net.2"))
        stack.apply([(item, 1.0)])
        predict(transformer)

    cycle(0)
    stack.apply([])
    tensors = count_tensors()
    for number in range(30):
        cycle(number)
    stack.apply([])
    assert count_tensors() == tensors
    assert torch.equal(predict(transformer), base)
    assert all(torch.equal(parameter, weights[name]) for name, parameter in transformer.named_parameters())


def count_tensors() -> tuple[int, int]:
    """Return how many tensors live, and their bytes."""
    gc.collect()
    tensors = [item for item in gc.get_objects() if type(item) in (torch.Tensor, torch.nn.Parameter)]
    return len(tensors), sum(tensor.nbytes for tensor in tensors)


def test_a_compiled_transformer_is_not_compiled_again_for_another_lora(
    transformer: QwenImageTransformer2DModel, stack: LoraStack
) -> None:
    torch.compiler.reset()
    compiled = CompileCounter()
    transformer.compile_repeated_blocks(backend=compiled, fullgraph=True)
    predict(transformer)
    assert compiled.frame_count == 1  # one graph for all blocks
    for width in WIDTHS:
        stack.apply([(adapter(stack, "warm-up", rank=width), 1.0)])
        predict(transformer)
    assert compiled.frame_count == 1 + len(WIDTHS)
    loras = [
        (adapter(stack, "one", rank=3), 1.0),
        (adapter(stack, "two", rank=8, targets=("attn.to_q", "attn.add_v_proj", "txt_mod.1")), 0.5),
        (adapter(stack, "three", rank=13, targets=("img_mlp.net.0.proj",), scale=2.0), -1.0),
    ]
    with torch.compiler.set_stance("fail_on_recompile"):
        pictures = []
        for acting in ([], loras[:1], loras[1:2], loras[2:], loras, loras[:2], []):
            stack.apply(acting)
            pictures.append(predict(transformer))
    assert compiled.frame_count == 1 + len(WIDTHS)
    assert torch.equal(pictures[0], pictures[-1])
    assert all(not torch.equal(first, second) for first, second in itertools.pairwise(pictures))
    torch.compiler.reset()
