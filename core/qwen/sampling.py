"""Drawing: from a prompt and a seed, through the denoising steps, to pixels.

The loop computes what ``QwenImagePipeline.__call__`` of diffusers 0.42 computes, and adds what serving needs: it stops
between steps, tells of each one, keeps no state on the pipeline, and never answers with a picture of NaN.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from diffusers import QwenImagePipeline

from core.qwen.modes import activate, build_schedule
from core.qwen.profile import Size
from core.qwen.request import GenerationRequest
from core.qwen.text import TextEmbedding, encode_prompt
from core.qwen.vae import FrameDecoder
from core.runtime.cancellation import CancelToken
from likeness.errors import NonFiniteResult


@dataclass(frozen=True)
class StepFinished:
    """A denoising step has ended."""

    image_index: int
    """Which picture of the request, from 0."""
    step: int
    """Which step has ended, from 1."""
    total_steps: int


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
    """Where the time of a request went, in seconds."""

    encode_seconds: float
    denoise_seconds: float
    decode_seconds: float


Emit = Callable[[StepFinished | ImageFinished], None]


@torch.inference_mode()
def generate(
    pipeline: QwenImagePipeline,
    decoder: FrameDecoder,
    request: GenerationRequest,
    token: CancelToken,
    emit: Emit,
) -> GenerationTimings:
    """Draw the pictures of ``request`` one after the other, telling ``emit`` of every step and picture.

    Pictures are not drawn in a batch: each is then equal to the bit to the one drawn alone with its seed.

    Raises:
        Cancelled, DeadlineExceeded: by ``token``, between steps.
        NonFiniteResult: the latents or pixels hold NaN or infinity.
    """
    clock = _Clock(pipeline.transformer.device)
    token.check()
    activate(pipeline.transformer, request.mode)
    positive = encode_prompt(pipeline, request.prompt)
    negative = encode_prompt(pipeline, request.negative_prompt) if request.guided else None
    encode_seconds = clock.lap()

    denoise_seconds = decode_seconds = 0.0
    for index in range(request.count):
        seed = request.seed + index

        def report(step: int, index: int = index) -> None:
            emit(StepFinished(image_index=index, step=step, total_steps=request.steps))

        latents = denoise(pipeline, request, seed, positive, negative, token=token, report=report)
        denoise_seconds += clock.lap()
        pixels = decode(decoder, latents, request.size)
        decode_seconds += clock.lap()
        emit(ImageFinished(index=index, seed=seed, pixels=pixels))
    return GenerationTimings(encode_seconds, denoise_seconds, decode_seconds)


def denoise(
    pipeline: QwenImagePipeline,
    request: GenerationRequest,
    seed: int,
    positive: TextEmbedding,
    negative: TextEmbedding | None,
    *,
    token: CancelToken,
    report: Callable[[int], None],
) -> torch.Tensor:
    """Turn the noise of ``seed`` into the latents of a picture, 1×tokens×64, in the transformer's dtype.

    ``negative`` switches guidance on; ``report`` is called with the number of each finished step.
    """
    transformer = pipeline.transformer
    size = request.size
    # Drawn on the CPU, so that a seed means the same noise on every device.
    latents: torch.Tensor = pipeline.prepare_latents(
        1,
        transformer.config.in_channels // 4,
        size.height,
        size.width,
        positive.states.dtype,
        transformer.device,
        torch.Generator("cpu").manual_seed(seed),
    )
    patch = pipeline.vae_scale_factor * 2
    image_shapes = [[(1, size.height // patch, size.width // patch)]]
    schedule = build_schedule(
        pipeline.scheduler,
        request.mode,
        steps=request.steps,
        image_tokens=latents.shape[1],
        device=transformer.device,
    )

    def predict(text: TextEmbedding, timestep: torch.Tensor) -> torch.Tensor:
        prediction: torch.Tensor = transformer(
            hidden_states=latents,
            timestep=timestep.expand(1).to(latents.dtype) / 1000,
            encoder_hidden_states=text.states,
            encoder_hidden_states_mask=text.mask,
            img_shapes=image_shapes,
            return_dict=False,
        )[0]
        return prediction

    for step, timestep in enumerate(schedule.timesteps, start=1):
        token.check()
        velocity = predict(positive, timestep)
        if negative is not None:
            velocity = guide(velocity, predict(negative, timestep), request.true_cfg_scale)
        latents = schedule.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        # A GPU is told of work long before it does it: unless waited for, a cancel would come several steps late.
        _wait_for(transformer.device)
        report(step)
    token.check()
    return latents


def guide(positive: torch.Tensor, negative: torch.Tensor, scale: float) -> torch.Tensor:
    """Lead the prediction away from the negative prompt, and give each token the length it had before.

    Classifier-free guidance (Ho and Salimans 2022, arxiv.org/abs/2207.12598), with Qwen-Image's rescaling of the norm,
    which keeps high scales from burning the picture.
    """
    guided = negative + scale * (positive - negative)
    length_before: torch.Tensor = torch.linalg.vector_norm(positive, dim=-1, keepdim=True)
    length_after: torch.Tensor = torch.linalg.vector_norm(guided, dim=-1, keepdim=True)
    return guided * (length_before / length_after)


def decode(decoder: FrameDecoder, latents: torch.Tensor, size: Size) -> npt.NDArray[np.uint8]:
    """Decode latents 1×tokens×64 of a picture of ``size`` into pixels, height×width×3 RGB.

    Raises:
        NonFiniteResult: the latents, or the pixels made from them, hold NaN or infinity.
    """
    _check_finite(latents, "latents")
    rows, columns = size.height // (2 * decoder.scale), size.width // (2 * decoder.scale)
    # Each token is a patch of 2×2 latents: 16 channels × 2 × 2.
    patches = latents.view(1, rows, columns, -1, 2, 2).permute(0, 3, 1, 4, 2, 5)
    pixels = decoder(patches.reshape(1, -1, 2 * rows, 2 * columns))
    _check_finite(pixels, "pixels")
    levels = (pixels[0].float() / 2 + 0.5).clamp(0, 1) * 255
    rgb: npt.NDArray[np.uint8] = levels.round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return rgb


def _check_finite(values: torch.Tensor, what: str) -> None:
    if not bool(torch.isfinite(values).all()):
        raise NonFiniteResult(f"the model's {what} are not finite, so there is no picture to show")


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Clock:
    """Measures stretches of time, waiting for the device where work on it runs on by itself."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last = time.perf_counter()

    def lap(self) -> float:
        _wait_for(self._device)
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        return seconds
