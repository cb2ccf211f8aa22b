"""The generator's work: requests are admitted here, and drawn on the device's one thread."""

from __future__ import annotations

import time
from typing import Any

from core.qwen.engine import DrawingEngine, prepare_process
from core.qwen.loading import load_model
from core.qwen.request import GenerationRequest, resolve_request
from core.qwen.warmup import warm_up
from core.runtime.artifacts import ArtifactStore
from core.runtime.worker import DeviceWorker
from services.generator.settings import GeneratorSettings


class GeneratorEngine(DrawingEngine):
    """A loaded model and the thread that works with it."""

    @classmethod
    def load(cls, settings: GeneratorSettings, worker: DeviceWorker, artifacts: ArtifactStore) -> GeneratorEngine:
        """Load the settings' profile and draw once in every mode, so that the first request is as fast as the next.

        Raises:
            ProfileError, WeightsMissing, LoraRejected: the process cannot work; the message says what to do.
        """
        prepare_process(settings.threads)
        started = time.perf_counter()
        model = load_model(
            settings.read_profile(), weights_dir=settings.weights_dir, choices=settings.loading_choices()
        )
        loaded = time.perf_counter()
        engine = cls(model, worker, settings.make_library(model, artifacts))
        engine.start(loaded - started)
        return engine

    def warm_up(self) -> int:
        """Draw one picture in each mode; see `core.qwen.warmup`. Blocking; before the worker is used.

        Returns:
            How many graphs were compiled.
        """
        return warm_up(self.model)

    def admit(self, *, prompt: str, seed: int | None, **choices: Any) -> GenerationRequest:
        """Check a request and fill in what it leaves open; ``choices`` are those of ``resolve_request``.

        Called from one thread, the one that admits. Without a seed a random one is chosen.

        Raises:
            InvalidRequest, UnknownMode, PromptTooLong: naming the field.
        """
        request = resolve_request(self.profile, prompt=prompt, seed=self.choose_seed(seed), **choices)
        self.check(request, field="prompt")
        return request
