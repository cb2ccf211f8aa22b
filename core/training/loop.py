"""The optimisation: flow matching on cached latents, one step at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from core.qwen.profile import Size
from core.qwen.text import TextEmbedding, stack_texts
from core.training.base import TrainableBase
from core.training.batches import batches, derived_seed, group_samples
from core.training.buckets import Box
from core.training.noise import draw_sigmas, loss_weights
from core.training.settings import Hyperparameters
from likeness.errors import NonFiniteResult


@dataclass(frozen=True, eq=False)
class Example:
    """A sample as the transformer sees it; on the CPU."""

    latents: Tensor
    """1×tokens×64, normalised, float32."""
    text: TextEmbedding
    size: Size
    """Of the picture, in pixels."""
    side: int
    """Of its resolution."""
    face: Box | None
    """Left, top, right, bottom as shares of the picture; None where no part counts more."""
    weight: float = 1.0
    """Of its loss."""


@dataclass(frozen=True)
class StepOutcome:
    """What one step did."""

    loss: float
    gradient_norm: float
    """Before it was clipped."""
    learning_rate: float


class Optimisation:
    """The state of the optimisation: weights, optimizer, and the number of the step. All else follows from the step."""

    def __init__(
        self,
        base: TrainableBase,
        examples: Sequence[Example],
        priors: Sequence[Example],
        settings: Hyperparameters,
        patch: int,
    ) -> None:
        """Prepare.

        Args:
            base: the model; its adapter is trained in place.
            examples: what is learned, at least one.
            priors: pictures of the base for prior preservation; empty without it.
            settings: the hyperparameters.
            patch: pixels to a token, along a side.
        """
        self.base = base
        self.settings = settings
        self.step = 0
        self.recomputed_blocks = 0
        """How many blocks are computed again in the backward pass."""
        self._examples = examples
        self._priors = priors
        self._patch = patch
        self._parameters = list(base.parameters.values())
        self._device = base.transformer.device
        self.optimizer = torch.optim.AdamW(
            self._parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        weights = {resolution.side: resolution.weight for resolution in settings.resolutions}
        keys = [(example.side, (example.size.width, example.size.height)) for example in examples]
        used = {side: weight for side, weight in weights.items() if any(key[0] == side for key in keys)}
        self._groups = group_samples(keys, used)
        prior_keys = [(0, (example.size.width, example.size.height)) for example in priors]
        self._prior_groups = group_samples(prior_keys, {0: 1.0}) if priors else ()

    def order(self) -> Iterator[list[Example]]:
        """Yield the batches from the next step on."""
        settings, step = self.settings, self.step
        every = settings.prior.every if settings.prior is not None and self._priors else 0
        before = step // every if every else 0
        own = batches(self._groups, batch_size=settings.batch_size, seed=settings.seed, after=step - before)
        prior: Iterator[tuple[int, ...]] = iter(())
        if every:
            seed = derived_seed(settings.seed, "prior")
            prior = batches(self._prior_groups, batch_size=settings.batch_size, seed=seed, after=before)
        while True:
            step += 1
            if every and step % every == 0:
                yield [self._priors[index] for index in next(prior)]
            else:
                yield [self._examples[index] for index in next(own)]

    def recompute(self, blocks: int) -> None:
        """Compute the first ``blocks`` blocks again in the backward pass, instead of keeping what is inside them."""
        transformer = self.base.transformer
        first = {id(block) for block in list(transformer.transformer_blocks)[:blocks]}
        self.recomputed_blocks = blocks

        def call(block: Any, *arguments: Any) -> Any:
            if id(block) in first:
                return checkpoint(block.__call__, *arguments, use_reentrant=False)
            return block(*arguments)

        if blocks:
            transformer.enable_gradient_checkpointing(call)
        else:
            transformer.disable_gradient_checkpointing()

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step, from 1: a linear warm-up, then a cosine down to the least share."""
        settings = self.settings
        if step <= settings.warmup_steps:
            return settings.learning_rate * step / settings.warmup_steps
        done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
        least = settings.min_learning_rate_share
        return settings.learning_rate * (least + (1 - least) * (1 + math.cos(math.pi * done)) / 2)

    def advance(self, batch: Sequence[Example]) -> StepOutcome:
        """Take one step.

        Raises:
            NonFiniteResult: the loss or its gradient is not finite; the weights are as before.
        """
        step = self.step + 1
        rate = self.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch, step)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.settings.max_gradient_norm)
        value, length = float(loss.detach()), float(norm)
        if not (math.isfinite(value) and math.isfinite(length)):
            self.optimizer.zero_grad(set_to_none=True)
            raise NonFiniteResult(
                f"step {step}: the loss is {value} and its gradient's norm {length}. The last good checkpoint is kept; "
                "a lower learning rate may help",
                step=str(step),
            )
        self.optimizer.step()
        self.step = step
        return StepOutcome(value, length, rate)

    def _loss(self, batch: Sequence[Example], step: int) -> Tensor:
        """Return the weighted squared error of the predicted velocity (Lipman et al. 2022, arxiv.org/abs/2210.02747).

        A noise level of ``sigma`` mixes ``(1 − sigma) · picture + sigma · noise``; the velocity is noise − picture.
        """
        generator = torch.Generator().manual_seed(derived_seed(self.settings.seed, "noise", step))
        clean = torch.cat([example.latents for example in batch])
        noise = torch.randn(clean.shape, generator=generator)
        sigmas = draw_sigmas(
            len(batch), self.settings.timesteps, shift=self._shift(clean.shape[1]), generator=generator
        )
        weights = loss_weights(sigmas, self.settings.timesteps) * torch.tensor([example.weight for example in batch])
        tokens = torch.cat([self._token_weights(example) for example in batch])
        noisy = clean + sigmas.view(-1, 1, 1) * (noise - clean)
        size = batch[0].size
        shape = (1, size.height // self._patch, size.width // self._patch)
        text = stack_texts([example.text for example in batch])
        transformer = self.base.transformer
        to: Callable[[Tensor], Tensor] = lambda value: value.to(self._device, transformer.dtype)  # noqa: E731
        predicted = transformer(
            hidden_states=to(noisy),
            timestep=to(sigmas),
            encoder_hidden_states=to(text.states),
            encoder_hidden_states_mask=None if text.mask is None else text.mask.to(self._device),
            img_shapes=[[shape]] * len(batch),
            return_dict=False,
        )[0]
        error = (predicted.float() - (noise - clean).to(self._device)).square().mean(-1)
        weighted: Tensor = error * tokens.to(self._device) * weights.to(self._device)[:, None]
        return weighted.mean()

    def _shift(self, image_tokens: int) -> float:
        config = self.base.pipeline.scheduler.config
        shift: float = calculate_shift(
            image_tokens,
            config["base_image_seq_len"],
            config["max_image_seq_len"],
            config["base_shift"],
            config["max_shift"],
        )
        return shift

    def _token_weights(self, example: Example) -> Tensor:
        """Return 1×tokens with mean 1: those whose middle is in the face count ``face_weight`` times as much."""
        rows, columns = example.size.height // self._patch, example.size.width // self._patch
        if example.face is None:
            return torch.ones(1, rows * columns)
        left, top, right, bottom = example.face
        y = ((torch.arange(rows) + 0.5) / rows)[:, None]
        x = ((torch.arange(columns) + 0.5) / columns)[None]
        inside = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
        weights = 1 + (self.settings.face_weight - 1) * inside.float()
        return (weights / weights.mean()).view(1, -1)
