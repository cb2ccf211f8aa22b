"""Drawing: from prompts and seeds, through the denoising steps, to pixels.

It computes what ``QwenImagePipeline.__call__`` of diffusers 0.42 computes, or with pictures
``QwenImageEditPlusPipeline.__call__``, and adds what serving needs: it stops
between steps, tells of each one, keeps no state on the pipeline, draws requests of one shape together, and never
answers with a picture of NaN.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from diffusers import QwenImageTransformer2DModel

from core.qwen.conditioning import Conditioner, Conditioning, condition_on_words
from core.qwen.decoding import decode, decode_preview
from core.qwen.denoising import DenoisingTask, denoise, wait_for
from core.qwen.modes import activate
from core.qwen.pipelines import Pipeline
from core.qwen.request import GenerationRequest
from core.qwen.vae import FrameDecoder
from core.runtime.cancellation import CancelToken
from core.runtime.work import Part
from likeness.errors import LikenessError


@dataclass(frozen=True)
class StepFinished:
    """A denoising step has ended."""

    image_index: int
    """Which picture of the request, from 0."""
    step: int
    """Which step has ended, from 1."""
    total_steps: int


@dataclass(frozen=True)
class PreviewReady:
    """What a picture is on its way to, after a step."""

    image_index: int
    """Which picture of the request, from 0."""
    step: int
    """Which step has ended, from 1."""
    total_steps: int
    pixels: npt.NDArray[np.uint8]
    """Height×width×3, RGB; smaller than the picture."""


@dataclass(frozen=True)
class ImageFinished:
    """A picture is drawn."""

    index: int
    """Which picture of the request, from 0."""
    seed: int
    """The seed that draws this picture again, alone."""
    pixels: npt.NDArray[np.uint8]
    """Height×width×3, RGB."""


@dataclass(frozen=True)
class GenerationTimings:
    """Where the time of a request went, in seconds; what a batch shares counts in full for each of its requests."""

    encode_seconds: float
    denoise_seconds: float
    decode_seconds: float


Emit = Callable[[StepFinished | PreviewReady | ImageFinished], None]
DrawingPart = Part[GenerationRequest, GenerationTimings]
"""A request within a batch."""


def generate(
    pipeline: Pipeline,
    decoder: FrameDecoder,
    request: GenerationRequest,
    token: CancelToken,
    emit: Emit,
    *,
    pictures_at_once: int = 1,
    guidance_transformer: QwenImageTransformer2DModel | None = None,
    condition: Conditioner = condition_on_words,
) -> GenerationTimings:
    """Draw the pictures of one request, telling ``emit`` of every step and picture; see `draw`.

    Raises:
        Cancelled, DeadlineExceeded: by ``token``, between steps.
        NonFiniteResult: the latents or pixels hold NaN or infinity.
        InvalidRequest, LoraNotFound, ArtifactCorrupt: a LoRA cannot act.
    """
    outcomes: list[GenerationTimings | LikenessError] = []
    part: DrawingPart = Part(request, token, emit, outcomes.append)
    draw(
        pipeline,
        decoder,
        [part],
        pictures_at_once=pictures_at_once,
        guidance_transformer=guidance_transformer,
        condition=condition,
    )
    outcome = outcomes[0]
    if isinstance(outcome, LikenessError):
        raise outcome
    return outcome


@torch.inference_mode()
def draw(
    pipeline: Pipeline,
    decoder: FrameDecoder,
    parts: Sequence[DrawingPart],
    *,
    pictures_at_once: int = 1,
    guidance_transformer: QwenImageTransformer2DModel | None = None,
    condition: Conditioner = condition_on_words,
) -> None:
    """Draw the pictures of requests of one shape, and end each part with its timings or its own error.

    A picture that is drawn alone is equal to the bit to itself whatever ran before. A request that is cancelled, runs
    out of time or ends in numbers that are not finite leaves the batch, and the others go on.

    Args:
        pipeline: the model.
        decoder: its decoder.
        parts: the requests; their `GenerationRequest.shape` is the same. Their ``emit`` takes the events.
        pictures_at_once: how many pictures are denoised in one batch, at least 1.
        guidance_transformer: the pipeline's, once more, on a second device: it predicts for the negative prompts.
        condition: encodes each request; an edit's own also encodes its pictures.

    Raises:
        InvalidRequest, LoraNotFound, ArtifactCorrupt: a LoRA cannot act; no part has ended by that.
    """
    request = parts[0].item
    clock = _Clock(pipeline.transformer.device)
    going_on = [part for part in parts if part.goes_on()]
    if going_on:
        for transformer in dict.fromkeys((pipeline.transformer, guidance_transformer or pipeline.transformer)):
            activate(transformer, request.mode, request.loras)
    pictures: list[_Picture] = []
    for part in going_on:
        pictures += _prepare(pipeline, part, clock, condition)
    for start in range(0, len(pictures), pictures_at_once):
        batch = pictures[start : start + pictures_at_once]
        tasks = [picture.task(decoder) for picture in batch]
        latents = denoise(pipeline, request, tasks, guidance_transformer=guidance_transformer)
        seconds = clock.lap()
        for picture, result in zip(batch, latents, strict=True):
            if picture.number_in(batch) == 0:
                picture.times.denoise += seconds
            # What is decoded for another one takes long enough to be cancelled in.
            if result is not None and picture.part.goes_on():
                picture.finish(decoder, result, clock)


def _prepare(pipeline: Pipeline, part: DrawingPart, clock: _Clock, condition: Conditioner) -> list[_Picture]:
    conditioning = condition(pipeline, part.item)
    times = _Times(encode=clock.lap())
    return [_Picture(part, index, conditioning, times) for index in range(part.item.count)]


@dataclass
class _Times:
    encode: float
    denoise: float = 0.0
    decode: float = 0.0


@dataclass(frozen=True, eq=False)
class _Picture:
    """One picture of a request, from its embeddings on."""

    part: DrawingPart
    index: int
    conditioning: Conditioning
    times: _Times = field(repr=False)
    """Shared by the pictures of the request."""

    @property
    def seed(self) -> int:
        return self.part.item.seed + self.index

    def number_in(self, batch: Sequence[_Picture]) -> int:
        """Return which of the request's pictures of a batch this is, from 0."""
        return [picture for picture in batch if picture.part is self.part].index(self)

    def task(self, decoder: FrameDecoder) -> DenoisingTask:
        request = self.part.item

        def report(step: int, total: int, predict_clean: Callable[[], torch.Tensor]) -> None:
            self.part.emit(StepFinished(self.index, step, total))
            every = request.preview_every
            # After the last step comes the picture itself.
            if every and step % every == 0 and step < total:
                pixels = decode_preview(decoder, predict_clean(), request.size)
                if pixels is not None:
                    self.part.emit(PreviewReady(self.index, step, total, pixels))

        given = self.conditioning
        return DenoisingTask(self.seed, given.positive, given.negative, self.part.goes_on, report, given.pictures)

    def finish(self, decoder: FrameDecoder, latents: torch.Tensor, clock: _Clock) -> None:
        """Decode the picture; the last one ends the request."""
        try:
            pixels = self.part.item.present(decode(decoder, latents, self.part.item.size))
        except LikenessError as error:
            self.part.fail(error)
            return
        self.times.decode += clock.lap()
        self.part.emit(ImageFinished(self.index, self.seed, pixels))
        if self.index == self.part.item.count - 1:
            self.part.finish(GenerationTimings(self.times.encode, self.times.denoise, self.times.decode))


class _Clock:
    """Measures stretches of time, waiting for the device where work on it runs on by itself."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last = time.perf_counter()

    def lap(self) -> float:
        wait_for(self._device)
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        return seconds
