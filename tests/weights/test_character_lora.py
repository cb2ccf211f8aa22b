from __future__ import annotations

import torch
from safetensors.torch import save

from core.qwen.loras.adapter import LoraFormat
from core.qwen.loras.file import read_lora
from weights.recipe.architecture import build_pipeline, build_transformer
from weights.recipe.captions import sample_captions
from weights.recipe.character_lora import PICTURES, RANK, TRIGGER_WORD, caption, shot, train


def test_captions_name_the_trigger_word_and_what_changes_and_nothing_of_the_person() -> None:
    captions = [caption(shot(index)) for index in range(PICTURES)]
    assert len(set(captions)) == PICTURES
    assert all(text.startswith(f"{TRIGGER_WORD} ") for text in captions)
    assert not any(word in text for text in captions for word in ("hair", "freckles", "eyes"))


def test_training_gives_a_lora_that_the_generator_reads() -> None:
    pipeline = build_pipeline(0, sample_captions(200, seed=1))
    before = pipeline.transformer.transformer_blocks[0].attn.to_q.weight.clone()
    trained = train(pipeline, steps=2, batch=1, seed=0)
    linears = {
        name: (module.out_features, module.in_features)
        for name, module in build_transformer().named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    adapter = read_lora(save(trained), linears, dtype=torch.float32, max_rank=RANK)
    assert (adapter.format, adapter.rank, len(adapter.updates)) == (LoraFormat.DIFFUSERS, RANK, 6 * 5)
    assert torch.equal(pipeline.transformer.transformer_blocks[0].attn.to_q.base_layer.weight, before)
