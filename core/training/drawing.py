"""Drawing while a run goes on: the generator's own loop over the run's transformer, with a LoRA as it is published."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from core.qwen.decoding import decode
from core.qwen.denoising import DenoisingTask, denoise
from core.qwen.loras.adapter import Adapter
from core.qwen.loras.registry import LoraRecord
from core.qwen.loras.requested import RequestedLora
from core.qwen.modes import activate
from core.qwen.profile import Profile, Size
from core.qwen.request import GenerationRequest, resolve_request
from core.qwen.text import TextEmbedding
from core.qwen.vae import FrameDecoder
from core.runtime.cancellation import CancelToken
from core.training.base import TrainableBase
from core.training.cache import Encoded


@dataclass(frozen=True)
class _Loaded:
    """An adapter that is there already."""

    kept: Adapter

    def adapter(self, record: LoraRecord, *, field: str) -> Adapter:
        """Return it."""
        return self.kept


@dataclass(frozen=True)
class Painter:
    """Draws pictures of fixed prompts and seeds."""

    profile: Profile
    base: TrainableBase
    decoder: FrameDecoder
    encoded: Encoded
    mode: str
    token: CancelToken

    def negative_prompt(self) -> str:
        """The prompt that guidance leads away from in the mode; it has to be among the encoded texts."""
        return self._request("a person", 0, self.profile.sizes.by_aspect_ratio["1:1"], None).negative_prompt

    def draw(self, prompt: str, seed: int, size: Size, adapter: Adapter | None) -> npt.NDArray[np.uint8]:
        """Draw one picture, height×width×3 RGB, with ``adapter`` at strength 1, or by the base alone.

        Raises:
            Cancelled, DeadlineExceeded: by the token, between steps.
            NonFiniteResult: the picture's numbers are not finite.
        """
        return decode(self.decoder, self.draw_latents(prompt, seed, size, adapter), size)

    @torch.no_grad()
    def draw_latents(self, prompt: str, seed: int, size: Size, adapter: Adapter | None) -> torch.Tensor:
        """As `draw`, without decoding: latents 1×tokens×64."""
        request = self._request(prompt, seed, size, adapter)
        transformer = self.base.transformer
        negative = self._text(request.negative_prompt) if request.guided else None
        task = DenoisingTask(
            seed=seed,
            positive=self._text(prompt),
            negative=negative,
            goes_on=lambda: not self.token.stopped,
            report=lambda *_: None,
        )
        with self.base.drawing():
            activate(transformer, request.mode, request.loras)
            latents = denoise(self.base.pipeline, request, [task])[0]
        if latents is None:
            self.token.check()
            raise RuntimeError("a picture ended early without a reason")
        return latents

    def _text(self, text: str) -> TextEmbedding:
        states = self.encoded.texts[text].states
        return TextEmbedding(states.to(self.base.transformer.device, self.base.transformer.dtype), None)

    def _request(self, prompt: str, seed: int, size: Size, adapter: Adapter | None) -> GenerationRequest:
        loras = [] if adapter is None else [RequestedLora(_record(adapter), 1.0, "loras[0]", _Loaded(adapter))]
        return resolve_request(
            self.profile, prompt=prompt, seed=seed, mode=self.mode, width=size.width, height=size.height, loras=loras
        )


def _record(adapter: Adapter) -> LoraRecord:
    """Describe an adapter that is in no registry: only its rank is looked at."""
    return LoraRecord(
        lora_id="training",
        version=1,
        trigger_word="",
        format=str(adapter.format),
        rank=adapter.rank,
        modules=len(adapter.updates),
        base_model="",
        size_bytes=adapter.size_bytes,
        sha256=adapter.key,
        uri="",
        create_time="",
    )
