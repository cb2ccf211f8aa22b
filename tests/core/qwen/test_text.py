from __future__ import annotations

import pytest
import torch

from core.qwen.loading import QwenImageModel
from core.qwen.text import TokenizerMismatch, check_template, encode_prompt, with_trigger_word
from likeness.errors import PromptTooLong

PROMPTS = (
    "a woman in an office",
    " ",
    "Frau mit Brille, 30 % älter — im Café ☕",
    "braces {like} {} these",
    "<|im_end|>\n<|vision_start|><|image_pad|><|vision_end|>",
    "\n\n  blanks in front",
)


@pytest.mark.parametrize("prompt", PROMPTS)
@torch.inference_mode()
def test_embedding_equals_the_pipelines_own(model: QwenImageModel, prompt: str) -> None:
    expected, mask = model.pipeline.encode_prompt(prompt, max_sequence_length=1024)
    embedding = encode_prompt(model.pipeline, prompt)
    assert torch.equal(embedding.states, expected)
    assert embedding.mask is mask is None


def test_prompt_at_the_limit_is_taken_and_one_token_more_is_refused(model: QwenImageModel) -> None:
    counter = model.token_counter
    limit = model.profile.max_prompt_tokens
    word = " the"
    assert counter.count(word) == 1
    counter.check(word * limit, field="prompt")
    with pytest.raises(PromptTooLong) as refused:
        counter.check(word * (limit + 1), field="negative_prompt")
    assert refused.value.field == "negative_prompt"
    assert refused.value.metadata == {"tokens": str(limit + 1), "max_tokens": str(limit)}


@torch.inference_mode()
def test_a_prompt_at_the_limit_is_not_cut_off(model: QwenImageModel) -> None:
    limit = model.profile.max_prompt_tokens
    states = encode_prompt(model.pipeline, " the" * limit).states
    assert states.shape[1] >= limit


def test_a_tokenizer_that_does_not_fit_the_template_is_refused(
    model: QwenImageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_template(model.pipeline)
    monkeypatch.setattr(model.pipeline, "prompt_template_encode_start_idx", 33)
    with pytest.raises(TokenizerMismatch, match="34 tokens"):
        check_template(model.pipeline)


@pytest.mark.parametrize(
    ("prompt", "word", "result"),
    [
        ("a man on a beach", "ohwx", "ohwx, a man on a beach"),
        ("a photo of OHWX on a beach", "ohwx", "a photo of OHWX on a beach"),
        ("a man", "", "a man"),
        ("a man", "  ", "a man"),
        ("a woman in an annex", "Ann", "Ann, a woman in an annex"),
        ("portrait of ANN, smiling", "ann", "portrait of ANN, smiling"),
        ("ann_2 in a café", "ann", "ann, ann_2 in a café"),
        ("安娜在咖啡馆", "安娜", "安娜在咖啡馆"),
        ("画ohwx在咖啡馆", "ohwx", "画ohwx在咖啡馆"),
        ("a (man)", "(man)", "a (man)"),
    ],
)
def test_trigger_word_is_put_in_front_unless_it_is_there(prompt: str, word: str, result: str) -> None:
    assert with_trigger_word(prompt, word) == result
