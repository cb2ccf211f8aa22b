"""A device's work with a model: requests wait for their turn, and are drawn on the device's one thread."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Self

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from core.qwen.conditioning import Conditioner, condition_on_words
from core.qwen.loading import QwenImageModel, load_model
from core.qwen.loras.library import LoraLibrary
from core.qwen.modes import check_ranks
from core.qwen.profile import PIXELS_PER_TOKEN, Profile
from core.qwen.request import GenerationRequest
from core.qwen.sampling import DrawingPart, draw
from core.qwen.settings import ModelSettings
from core.runtime import telemetry
from core.runtime.artifacts import ArtifactStore
from core.runtime.cancellation import CancelToken
from core.runtime.estimates import DurationEstimates
from core.runtime.worker import BatchWork, DeviceWorker, Priority, Result

_logger = logging.getLogger(__name__)
# A seed's upper half does not reach the CPU's generator, so a random one is drawn where all are different.
_RANDOM_SEEDS = 2**32


def prepare_process(threads: int) -> None:
    """Set the CPU threads of torch, and keep the libraries' progress bars out of the log; before a model is loaded."""
    torch.set_num_threads(threads)
    # Bars are for terminals; in a log each redraw would be a line, and none of them JSON.
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


class DrawingEngine:
    """A loaded model and the thread that works with it. A service's own engine says what it takes."""

    def __init__(
        self,
        model: QwenImageModel,
        worker: DeviceWorker,
        loras: LoraLibrary,
        *,
        condition: Conditioner = condition_on_words,
    ) -> None:
        """Draw with ``model`` and ``loras`` on the thread of ``worker``; ``condition`` encodes requests."""
        self.model = model
        self.worker = worker
        self.loras = loras
        self.condition = condition
        self._step_seconds = DurationEstimates()

    @classmethod
    def load(cls, settings: ModelSettings, worker: DeviceWorker, artifacts: ArtifactStore) -> Self:
        """Load the settings' profile and draw once in every mode, so that the first request is as fast as the next.

        Raises:
            ProfileError, WeightsMissing, LoraRejected: the process cannot work; the message says what to do.
        """
        prepare_process(settings.threads)
        began = time.perf_counter()
        model = load_model(
            settings.read_profile(), weights_dir=settings.weights_dir, choices=settings.loading_choices()
        )
        load_seconds = time.perf_counter() - began
        engine = cls(model, worker, settings.make_library(model, artifacts))
        engine.start(load_seconds)
        return engine

    @property
    def profile(self) -> Profile:
        """The profile in use."""
        return self.model.profile

    def warm_up(self) -> int:
        """Draw before the worker is used, so that the first request is as fast as the next. Blocking.

        Returns:
            How many graphs were compiled.
        """
        raise NotImplementedError

    def start(self, load_seconds: float) -> None:
        """Warm up, and log what was loaded in ``load_seconds``. Blocking."""
        began = time.perf_counter()
        graphs = self.warm_up()
        description = self.model.description
        telemetry.log(
            _logger,
            logging.INFO,
            "model loaded",
            model=description.name,
            revision=description.revision,
            precision=description.precision,
            device=description.device,
            guidance_device=description.guidance_device,
            offload=description.offload,
            compiled=description.compiled,
            graphs=graphs,
            load_seconds=round(load_seconds, 2),
            warm_up_seconds=round(time.perf_counter() - began, 2),
        )

    def choose_seed(self, seed: int | None) -> int:
        """Return the request's seed, or a random one that leaves room for its further pictures."""
        return secrets.randbelow(_RANDOM_SEEDS - self.profile.max_count) if seed is None else seed

    def check(self, request: GenerationRequest, *, field: str) -> None:
        """Refuse what the encoder or the LoRAs' rows do not take. From one thread, the one that admits.

        Raises:
            InvalidRequest, PromptTooLong: naming ``field``, ``negative_prompt`` or the LoRA.
        """
        check_ranks(self.loras.stack, request.mode, request.loras)
        self.model.token_counter.check(request.prompt, field=field)
        if request.guided:
            self.model.token_counter.check(request.negative_prompt, field="negative_prompt")

    async def stream(
        self,
        request: GenerationRequest,
        *,
        token: CancelToken,
        tenant: str,
        priority: Priority = Priority.NORMAL,
    ) -> AsyncGenerator[Any, None]:
        """Draw ``request`` when its turn comes, together with waiting ones of its shape where that pays.

        Yields:
            The worker's ``Queued`` and ``Started``, the events of ``core.qwen.sampling``, and last the worker's
            ``Result`` with ``GenerationTimings``.

        Raises:
            QueueFull, DeadlineTooShort: refused, nothing was done.
            Cancelled, DeadlineExceeded, NonFiniteResult: stopped on the way.
        """
        steps = request.count * request.work_steps
        kind = self.kind(request)
        step_seconds = self._step_seconds.least(kind)
        pictures_at_once = self.pictures_at_once(request)
        work = BatchWork(
            item=request,
            run=partial(self._draw, pictures_at_once),
            key=request.shape,
            size=request.count,
            limit=pictures_at_once,
        )
        events = self.worker.stream(
            work,
            token=token,
            tenant=tenant,
            kind=request.mode.name,
            priority=priority,
            expected_seconds=None if step_seconds is None else step_seconds * steps,
        )
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Result):
                    self._step_seconds.record(kind, event.work_seconds * event.batch_share / steps)
                yield event

    def kind(self, request: GenerationRequest) -> str:
        """Return what requests have in common whose steps take equally long."""
        return f"{request.mode.name} {request.size.width}x{request.size.height} {request.guided}"

    def picture_tokens(self, request: GenerationRequest) -> int:
        """Return how many image tokens the transformer works on for one picture of ``request``."""
        return request.size.pixels // PIXELS_PER_TOKEN

    def pictures_at_once(self, request: GenerationRequest) -> int:
        """Return how many pictures like those of ``request`` are denoised in one batch, at least 1.

        Where work is compiled or cached between steps each is drawn alone: every size of a batch would be a graph of
        its own, and a picture that leaves would change what was cached.
        """
        description = self.model.description
        if request.mode.step_cache is not None or description.compiled:
            return 1
        room = self.profile.batch_tokens
        tokens = room.cuda if description.device.startswith("cuda") else room.cpu
        return max(1, tokens // self.picture_tokens(request))

    def _draw(self, pictures_at_once: int, parts: Sequence[DrawingPart]) -> None:
        draw(
            self.model.pipeline,
            self.model.decoder,
            parts,
            pictures_at_once=pictures_at_once,
            guidance_transformer=self.model.guidance_transformer,
            condition=self.condition,
        )
