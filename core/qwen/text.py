"""Prompts: counting their tokens, and turning them into embeddings with Qwen2.5-VL."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from core.qwen.pipelines import Pipeline
from likeness.errors import PromptTooLong

# What goes on a word: letters, digits and _ of scripts that put blanks between words, which those of East Asia don't.
_LETTER = "[^\\W\u2e80-\U0010ffff]"


class TokenizerMismatch(ValueError):
    """A tokenizer that cuts the chat template into another number of tokens than the pipeline drops."""


@dataclass(frozen=True)
class TextEmbedding:
    """The encoder's last hidden states for one prompt or several, without the tokens of the template's head."""

    states: torch.Tensor
    """N×tokens×width, in the encoder's dtype."""
    mask: torch.Tensor | None
    """N×tokens, true where a token is real; None where all are."""


class TokenCounter:
    """Counts the tokens of prompts. Not thread-safe: a tokenizer keeps state while it works, so each thread has one."""

    def __init__(self, pipeline: Pipeline, limit: int) -> None:
        """Count with a copy of the pipeline's tokenizer, and refuse prompts of more than ``limit`` tokens."""
        self._tokenizer = copy.deepcopy(pipeline.tokenizer)
        self._limit = limit

    def count(self, prompt: str) -> int:
        """The number of tokens of ``prompt`` alone."""
        return len(self._tokenizer(prompt)["input_ids"])

    def check(self, prompt: str, *, field: str) -> None:
        """Refuse a prompt that the encoder would have to cut off.

        Raises:
            PromptTooLong: naming ``field``, the number of tokens and the limit.
        """
        tokens = self.count(prompt)
        if tokens > self._limit:
            raise PromptTooLong(
                f"the prompt has {tokens} tokens and the model takes {self._limit}: shorten it",
                field=field,
                tokens=str(tokens),
                max_tokens=str(self._limit),
            )


def check_template(pipeline: Pipeline) -> None:
    """Return when the pipeline drops the template's head, all of it and nothing else.

    Raises:
        TokenizerMismatch: the first words of every prompt would be lost, or the template's last drawn.
    """
    head = pipeline.prompt_template_encode.split("{}")[0]
    tokens, dropped = len(pipeline.tokenizer(head)["input_ids"]), pipeline.prompt_template_encode_start_idx
    if tokens != dropped:
        raise TokenizerMismatch(
            f"the tokenizer cuts the head of the chat template into {tokens} tokens, and the pipeline drops {dropped}"
        )


def encode_prompt(pipeline: Pipeline, prompt: str) -> TextEmbedding:
    """Encode one prompt inside the pipeline's chat template; equal to ``QwenImagePipeline.encode_prompt``.

    One prompt at a time, so that its embedding does not depend on what else is drawn. Unlike the pipeline's own method
    this leaves out the language model's head, whose vocabulary-wide scores nobody reads.
    """
    device = pipeline.text_encoder.device
    tokens = pipeline.tokenizer(pipeline.prompt_template_encode.format(prompt), return_tensors="pt").to(device)
    output = pipeline.text_encoder.model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    states = output.last_hidden_state[:, pipeline.prompt_template_encode_start_idx :]
    return TextEmbedding(states=states.to(pipeline.text_encoder.dtype), mask=None)


def stack_texts(texts: Sequence[TextEmbedding]) -> TextEmbedding:
    """Stack embeddings of one prompt each into N×tokens×width; shorter ones are padded, and the mask tells where.

    A single one stays as it is. Attention that saw the padding would draw other pictures (a lost mask is not noticed
    otherwise: the padding is finite and the shapes fit).
    """
    if len(texts) == 1:
        return texts[0]
    lengths = [text.states.shape[1] for text in texts]
    longest = max(lengths)
    states = torch.cat(
        [pad(text.states, (0, 0, 0, longest - length)) for text, length in zip(texts, lengths, strict=True)]
    )
    if min(lengths) == longest:
        return TextEmbedding(states=states, mask=None)
    places = torch.arange(longest, device=states.device)
    return TextEmbedding(states=states, mask=places < torch.tensor(lengths, device=states.device)[:, None])


def with_trigger_word(prompt: str, trigger_word: str) -> str:
    """Put ``trigger_word`` in front of ``prompt`` when it is not there as a word, whatever the case of its letters."""
    word = trigger_word.strip()
    if not word or re.search(f"(?<!{_LETTER}){re.escape(word.casefold())}(?!{_LETTER})", prompt.casefold()):
        return prompt
    return f"{word}, {prompt}"
