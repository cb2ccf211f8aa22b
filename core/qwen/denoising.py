"""The denoising loop: from the noise of seeds to the latents of pictures, one or several of one shape at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import QwenImageTransformer2DModel
from diffusers.utils.torch_utils import randn_tensor

from core.qwen.caching import step_cache
from core.qwen.modes import build_schedule
from core.qwen.pipelines import Pipeline
from core.qwen.request import GenerationRequest
from core.qwen.text import TextEmbedding, stack_texts


@dataclass(frozen=True, eq=False)
class PictureLatents:
    """The pictures that an edit is made from, as the transformer sees them."""

    references: torch.Tensor
    """1×tokens×64: the tokens of all of them, one picture after the other."""
    shapes: tuple[tuple[int, int, int], ...]
    """Frames (1), rows and columns of each one's tokens."""
    source: torch.Tensor | None = None
    """1×tokens×64: the first one in the result's size, which work from less than full noise begins with."""
    free: torch.Tensor | None = None
    """1×tokens×64, 0–1: how far each number may leave the source; None where all may."""


@dataclass(frozen=True)
class DenoisingTask:
    """One picture of a batch."""

    seed: int
    """Seed of its noise."""
    positive: TextEmbedding
    negative: TextEmbedding | None
    """What guidance leads away from; None draws without guidance. All tasks of a batch are alike in this."""
    goes_on: Callable[[], bool]
    """Asked before each step and after the last; a picture that does not go on leaves the batch."""
    report: Callable[[int, int, Callable[[], torch.Tensor]], None]
    """Called after each step with its number, from 1, the number of steps, and a function that predicts the final
    latents, 1×tokens×64."""
    pictures: PictureLatents | None = None
    """What an edit is made from; None for a picture from words. In a batch their shapes are the same."""


def denoise(
    pipeline: Pipeline,
    request: GenerationRequest,
    tasks: Sequence[DenoisingTask],
    *,
    guidance_transformer: QwenImageTransformer2DModel | None = None,
) -> list[torch.Tensor | None]:
    """Turn noise into latents, 1×tokens×64 in the transformer's dtype for each task; None for one that did not go on.

    A task alone is computed as ``QwenImagePipeline.__call__`` computes it, with pictures as
    ``QwenImageEditPlusPipeline.__call__`` does. In a batch the sums are rounded otherwise, so a picture is alike, not
    equal to the bit. ``request`` gives the shape: mode, size, steps, guidance and denoise. A ``guidance_transformer``
    is the pipeline's, once more, on a second device: it predicts for the negative prompts.

    From less than full noise the work begins with the noised source, as in SDEdit (Meng et al. 2021,
    arxiv.org/abs/2108.01073). What a mask holds is set back to the source, with the noise of the level, after every
    step (RePaint, Lugmayr et al. 2022, arxiv.org/abs/2201.09865).
    """
    transformer = pipeline.transformer
    negative_transformer = guidance_transformer or transformer
    batch = _Batch(tasks, torch.cat([_draw_noise(pipeline, request, task) for task in tasks]))
    schedule = build_schedule(
        pipeline.scheduler,
        request.mode,
        steps=request.steps,
        image_tokens=batch.noise.shape[1],
        device=transformer.device,
        denoise=request.denoise,
    )
    patch = pipeline.vae_scale_factor * 2
    shapes = [(1, request.size.height // patch, request.size.width // patch)]
    if tasks[0].pictures is not None:
        shapes += tasks[0].pictures.shapes
    total = len(schedule.timesteps)
    latents = batch.at_level(schedule.sigmas[0])

    def predict(
        branch: str, module: QwenImageTransformer2DModel, text: TextEmbedding, timestep: torch.Tensor
    ) -> torch.Tensor:
        seen = latents if batch.references is None else torch.cat([latents, batch.references], dim=1)
        with module.cache_context(branch):
            prediction: torch.Tensor = module(
                hidden_states=seen.to(module.device),
                timestep=timestep.expand(len(latents)).to(module.device, latents.dtype) / 1000,
                encoder_hidden_states=text.states.to(module.device),
                encoder_hidden_states_mask=None if text.mask is None else text.mask.to(module.device),
                img_shapes=[shapes] * len(latents),
                return_dict=False,
            )[0]
        return prediction[:, : latents.shape[1]]

    with step_cache(request.mode.step_cache, transformer, negative_transformer):
        for step, timestep in enumerate(schedule.timesteps, start=1):
            staying = [place for place, row in enumerate(batch.rows) if tasks[row].goes_on()]
            if not staying:
                return [None] * len(tasks)
            if len(staying) < len(batch.rows):
                latents = latents[staying]
                batch.keep(staying)
            # The negative branch comes first: a device of its own works on it while this thread goes on to the other.
            away = (
                None if batch.negative is None else predict("negative", negative_transformer, batch.negative, timestep)
            )
            velocity = predict("positive", transformer, batch.positive, timestep)
            if away is not None:
                velocity = guide(velocity, away.to(velocity.device), request.true_cfg_scale)
            before, latents = latents, schedule.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
            latents = batch.held(latents, schedule.sigmas[step])
            # A GPU is told of work long before it does it: unless waited for, a cancel would come several steps late.
            wait_for(transformer.device)
            for place, row in enumerate(batch.rows):
                here = slice(place, place + 1)
                tasks[row].report(step, total, partial(_predict_clean, before[here], velocity[here], timestep))
    finished = {row: latents[place : place + 1] for place, row in enumerate(batch.rows) if tasks[row].goes_on()}
    return [finished.get(row) for row in range(len(tasks))]


def guide(positive: torch.Tensor, negative: torch.Tensor, scale: float) -> torch.Tensor:
    """Lead the prediction away from the negative prompt, and give each token the length it had before.

    Classifier-free guidance (Ho and Salimans 2022, arxiv.org/abs/2207.12598), with Qwen-Image's rescaling of the norm,
    which keeps high scales from burning the picture.
    """
    guided = negative + scale * (positive - negative)
    length_before: torch.Tensor = torch.linalg.vector_norm(positive, dim=-1, keepdim=True)
    length_after: torch.Tensor = torch.linalg.vector_norm(guided, dim=-1, keepdim=True)
    return guided * (length_before / length_after)


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was told; nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Batch:
    """What stays the same over the steps, row by row, for the tasks that go on."""

    def __init__(self, tasks: Sequence[DenoisingTask], noise: torch.Tensor) -> None:
        self._tasks = tasks
        self.rows = list(range(len(tasks)))
        """The tasks that go on."""
        self.noise = noise
        pictures = [task.pictures for task in tasks if task.pictures is not None]

        def stacked(parts: list[torch.Tensor | None]) -> torch.Tensor | None:
            given = [part.to(noise) for part in parts if part is not None]
            return torch.cat(given) if given else None

        self.references = stacked([item.references for item in pictures])
        self.source = stacked([item.source for item in pictures])
        self.free = stacked([item.free for item in pictures])
        self.positive, self.negative = _stack(tasks)

    def keep(self, places: list[int]) -> None:
        """Go on with the rows at these places."""
        self.rows = [self.rows[place] for place in places]
        self.noise = self.noise[places]
        self.references = None if self.references is None else self.references[places]
        self.source = None if self.source is None else self.source[places]
        self.free = None if self.free is None else self.free[places]
        self.positive, self.negative = _stack([self._tasks[row] for row in self.rows])

    def at_level(self, sigma: float) -> torch.Tensor:
        """Return the sources with ``sigma`` of noise, 0–1; the noise alone at 1, and where there are no sources."""
        if self.source is None or sigma == 1:
            return self.noise
        return (1 - sigma) * self.source + sigma * self.noise

    def held(self, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """Set what may not change back to the sources at the level ``sigma``."""
        if self.free is None:
            return latents
        return self.free * latents + (1 - self.free) * self.at_level(sigma)


def _draw_noise(pipeline: Pipeline, request: GenerationRequest, task: DenoisingTask) -> torch.Tensor:
    """Draw the noise of a seed, 1×tokens×64; on the CPU, so that a seed means the same noise on every device."""
    scale = pipeline.vae_scale_factor
    channels = pipeline.transformer.config.in_channels // 4
    height, width = 2 * (request.size.height // (2 * scale)), 2 * (request.size.width // (2 * scale))
    noise = randn_tensor(
        (1, 1, channels, height, width),
        generator=torch.Generator("cpu").manual_seed(task.seed),
        device=pipeline.transformer.device,
        dtype=task.positive.states.dtype,
    )
    return pack(noise[:, 0])


def pack(latents: torch.Tensor) -> torch.Tensor:
    """Bring latents N×16×h×w to tokens N×(h/2·w/2)×64, each a patch of 2×2; h and w are even."""
    count, channels, height, width = latents.shape
    patches = latents.view(count, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(count, (height // 2) * (width // 2), channels * 4)


def _stack(tasks: Sequence[DenoisingTask]) -> tuple[TextEmbedding, TextEmbedding | None]:
    negatives = [task.negative for task in tasks if task.negative is not None]
    return stack_texts([task.positive for task in tasks]), stack_texts(negatives) if negatives else None


def _predict_clean(latents: torch.Tensor, velocity: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """Follow the velocity to the end in one step: flow matching's picture at sigma 0, as it looks from here."""
    return latents - velocity * (timestep / 1000).to(latents.dtype)
