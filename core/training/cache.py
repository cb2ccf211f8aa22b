"""Latents and text embeddings on the disk, by what they were made from, so that nothing is encoded twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import QwenImagePipeline
from safetensors import SafetensorError
from safetensors.torch import load_file

from core.qwen.text import TextEmbedding, TokenCounter, check_template, encode_prompt
from core.runtime.cancellation import CancelToken
from core.training.base import BaseSource, encoders
from core.training.dataset import Sample
from core.training.files import write_tensors
from likeness.errors import NonFiniteResult


@dataclass(frozen=True)
class Encoded:
    """What the encoders made; all on the CPU."""

    latents: Mapping[str, torch.Tensor]
    """By a sample's digest: 1×tokens×64, normalised, float32."""
    texts: Mapping[str, TextEmbedding]
    """By the text."""


class EncodingCache:
    """Encodes samples and texts. An entry's name is a hash of the content and of the encoder's weights and format."""

    def __init__(self, folder: Path, source: BaseSource) -> None:
        """Keep entries in ``folder``."""
        self._folder = folder
        self._source = source

    @cached_property
    def _vae(self) -> str:
        return f"{self._source.component_hash('vae')}:{self._source.dtype}"

    @cached_property
    def _text_encoder(self) -> str:
        return f"{self._source.component_hash('text_encoder', 'tokenizer')}:{self._source.dtype}"

    def encode(
        self,
        samples: Sequence[Sample],
        texts: Sequence[str],
        *,
        token: CancelToken,
        progress: Callable[[int, int], None],
    ) -> Encoded:
        """Return what samples and texts are to the transformer.

        The encoders are in memory only within this call, and not at all where every entry is there.

        Raises:
            PromptTooLong: a caption has more tokens than the model takes.
            NonFiniteResult: an encoder's numbers are not finite.
        """
        wanted = {sample.digest: sample.pixels for sample in samples}
        latents = {digest: self._load(self._latents_file(digest)) for digest in wanted}
        states = {text: self._load(self._text_file(text)) for text in dict.fromkeys(texts)}
        done, total = sum(v is not None for v in (*latents.values(), *states.values())), len(latents) + len(states)
        progress(done, total)
        if done < total:
            with encoders(self._source) as pipeline:
                self._fill(pipeline, wanted, latents, states, token, progress)
        found = {text: TextEmbedding(value, None) for text, value in states.items() if value is not None}
        return Encoded({d: value for d, value in latents.items() if value is not None}, found)

    def _fill(
        self,
        pipeline: QwenImagePipeline,
        pictures: Mapping[str, npt.NDArray[np.uint8]],
        latents: dict[str, torch.Tensor | None],
        states: dict[str, torch.Tensor | None],
        token: CancelToken,
        progress: Callable[[int, int], None],
    ) -> None:
        """Encode what is None, and keep it."""
        check_template(pipeline)
        counter = TokenCounter(pipeline, self._source.profile.max_prompt_tokens)
        for text in states:
            counter.check(text, field="caption")
        done, total = sum(v is not None for v in (*latents.values(), *states.values())), len(latents) + len(states)
        for text in [text for text, value in states.items() if value is None]:
            token.check()
            states[text] = _kept(self._text_file(text), encode_text(pipeline, text))
            progress(done := done + 1, total)
        for digest in [digest for digest, value in latents.items() if value is None]:
            token.check()
            latents[digest] = _kept(self._latents_file(digest), encode_latents(pipeline, pictures[digest]))
            progress(done := done + 1, total)

    def load_latents(self, name: str) -> torch.Tensor | None:
        """Return latents that were kept under a name of one's own; None where there are none."""
        return self._load(self._file("latents", name))

    def keep_latents(self, name: str, latents: torch.Tensor) -> None:
        """Keep latents under a name that says all that they depend on."""
        write_tensors(self._file("latents", name), {"value": latents.cpu()})

    def _latents_file(self, digest: str) -> Path:
        return self._file("latents", f"{self._vae}:{digest}")

    def _text_file(self, text: str) -> Path:
        return self._file("text", f"{self._text_encoder}:{text}")

    def _file(self, kind: str, name: str) -> Path:
        return self._folder / kind / f"{hashlib.sha256(name.encode()).hexdigest()}.safetensors"

    def _load(self, file: Path) -> torch.Tensor | None:
        try:
            value: torch.Tensor = load_file(file)["value"]
        except (FileNotFoundError, SafetensorError, KeyError):
            return None  # not there, or cut off by an older process: it is made again
        return value


def _kept(file: Path, value: torch.Tensor) -> torch.Tensor:
    if not bool(torch.isfinite(value).all()):
        raise NonFiniteResult("an encoder's numbers are not finite: the weights or the precision are bad")
    write_tensors(file, {"value": value})
    return value


@torch.no_grad()
def encode_text(pipeline: QwenImagePipeline, text: str) -> torch.Tensor:
    """Encode a prompt: 1×tokens×width in the encoder's dtype, on the CPU."""
    return encode_prompt(pipeline, text).states.cpu()


@torch.no_grad()
def encode_latents(pipeline: QwenImagePipeline, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Encode a picture, uint8 H×W×3, to the middle of its posterior: 1×tokens×64, normalised, float32 on the CPU."""
    vae = pipeline.vae
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None, :, None].to(vae.device)
    latents = vae.encode((x.float() / 127.5 - 1).to(vae.dtype)).latent_dist.mode()[:, :, 0].float()
    mean, std = (
        torch.tensor(values, device=latents.device).view(1, -1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    latents = (latents - mean) / std
    count, channels, rows, columns = latents.shape
    packed: torch.Tensor = pipeline._pack_latents(latents, count, channels, rows, columns)
    return packed.cpu()
