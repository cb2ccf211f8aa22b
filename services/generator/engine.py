"""The generator's work: requests are admitted here, and drawn on the device's one thread."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from core.qwen.loading import QwenImageModel, load_model
from core.qwen.profile import Profile
from core.qwen.request import GenerationRequest, resolve_request
from core.qwen.sampling import GenerationTimings, generate
from core.runtime import telemetry
from core.runtime.cancellation import CancelToken
from core.runtime.estimates import DurationEstimates
from core.runtime.worker import DeviceWorker, Emit, Result
from services.generator.settings import GeneratorSettings

_logger = logging.getLogger(__name__)
# A seed's upper half does not reach the CPU's generator, so a random one is drawn where all are different.
_RANDOM_SEEDS = 2**32


class GeneratorEngine:
    """A loaded model and the thread that works with it."""

    def __init__(self, model: QwenImageModel, worker: DeviceWorker) -> None:
        """Draw with ``model`` on the thread of ``worker``."""
        self.model = model
        self.worker = worker
        self._step_seconds = DurationEstimates()

    @classmethod
    def load(cls, settings: GeneratorSettings, worker: DeviceWorker) -> GeneratorEngine:
        """Load the settings' profile and draw once in every mode, so that the first request is as fast as the next.

        Raises:
            ProfileError, WeightsMissing, LoraRejected: the process cannot work; the message says what to do.
        """
        torch.set_num_threads(settings.threads)
        # Bars are for terminals; in a log each redraw would be a line, and none of them JSON.
        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
        started = time.perf_counter()
        model = load_model(
            settings.read_profile(),
            weights_dir=settings.weights_dir,
            device=settings.device,
            offline=settings.offline,
        )
        engine = cls(model, worker)
        engine.warm_up()
        telemetry.log(
            _logger,
            logging.INFO,
            "model loaded",
            model=model.description.name,
            revision=model.description.revision,
            precision=model.description.precision,
            device=model.description.device,
            seconds=round(time.perf_counter() - started, 2),
        )
        return engine

    @property
    def profile(self) -> Profile:
        """The profile in use."""
        return self.model.profile

    def warm_up(self) -> None:
        """Draw one picture in each mode, with as few steps as the mode allows. Blocking; before the worker is used."""
        for mode in self.profile.modes:
            request = self.admit(prompt="a portrait", seed=0, mode=mode.name, steps=1 if mode.adjustable else None)
            generate(self.model.pipeline, self.model.decoder, request, CancelToken(), lambda event: None)

    def admit(self, *, prompt: str, seed: int | None, **choices: Any) -> GenerationRequest:
        """Check a request and fill in what it leaves open; ``choices`` are those of ``resolve_request``.

        Called from one thread, the one that admits. Without a seed a random one is chosen.

        Raises:
            InvalidRequest, UnknownMode, PromptTooLong: naming the field.
        """
        if seed is None:
            seed = secrets.randbelow(_RANDOM_SEEDS - self.profile.max_count)
        request = resolve_request(self.profile, prompt=prompt, seed=seed, **choices)
        self.model.token_counter.check(request.prompt, field="prompt")
        if request.guided:
            self.model.token_counter.check(request.negative_prompt, field="negative_prompt")
        return request

    async def stream(self, request: GenerationRequest, *, token: CancelToken, tenant: str) -> AsyncGenerator[Any, None]:
        """Draw ``request`` when its turn comes.

        Yields:
            The worker's ``Queued`` and ``Started``, ``StepFinished`` and ``ImageFinished`` of ``core.qwen.sampling``,
            and last the worker's ``Result`` with ``GenerationTimings``.

        Raises:
            QueueFull, DeadlineTooShort: refused, nothing was done.
            Cancelled, DeadlineExceeded, NonFiniteResult: stopped on the way.
        """

        def work(token: CancelToken, emit: Emit) -> GenerationTimings:
            return generate(self.model.pipeline, self.model.decoder, request, token, emit)

        steps = request.count * request.steps
        kind = f"{request.mode.name} {request.size.width}x{request.size.height} {request.guided}"
        step_seconds = self._step_seconds.least(kind)
        events = self.worker.stream(
            work,
            token=token,
            tenant=tenant,
            kind=request.mode.name,
            expected_seconds=None if step_seconds is None else step_seconds * steps,
        )
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Result):
                    self._step_seconds.record(kind, event.work_seconds / steps)
                yield event
