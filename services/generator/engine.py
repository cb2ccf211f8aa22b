"""The generator's work: requests are admitted here, and drawn on the device's one thread."""

from __future__ import annotations

from typing import Any

from core.qwen.engine import DrawingEngine
from core.qwen.request import GenerationRequest, resolve_request
from core.qwen.warmup import warm_up


class GeneratorEngine(DrawingEngine):
    """A loaded model and the thread that works with it."""

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
