"""What a client can do with the generator and the editor."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from likeness._client_base import ClientBase
from likeness._drawing_calls import EditCalls, GeneratorCalls, Progress, collect
from likeness._drawing_requests import edit_request, generate_request
from likeness._messages import ImageSource
from likeness.calls import CallOptions
from likeness.editor.v1 import editor_service_pb2 as editor
from likeness.edits import EditFinished, Editing, EditorCapabilities
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.results import Finished, Generation, GenerationEvent, GeneratorCapabilities


class DrawingMethods(ClientBase):
    """Drawings and edits."""

    _generator: GeneratorCalls
    _editor: EditCalls

    def send_generate(
        self, request: generator.GenerateRequest, options: CallOptions | None = None
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Send a message of the contract and yield the events, the last one `Finished`. Raises LikenessError."""
        return self._generator.send(request, options or self._default)

    def generate_events(
        self,
        prompt: str,
        *,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Draw, and yield the events as they come; `generate` names the arguments.

        Leaving the iteration early (``aclose``, or cancelling the task) stops the work on the server.
        """
        request = generate_request(prompt, **arguments)
        return self.send_generate(request, self._options(options, timeout_seconds))

    async def generate(
        self,
        prompt: str,
        *,
        on_progress: Progress | None = None,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> Generation:
        """Draw one or more pictures from words, 1–4,000 characters.

        ``arguments``: negative_prompt, mode ("full", "fast"), aspect_ratio ("9:16" …) or width and height in
        pixels, seed, count (1–8), steps (1–100), true_cfg_scale (1–20), loras, trigger_word, priority, preview_every
        (steps from one `Preview` to the next; 0 for none), output_format, quality (1–100) and store. The deployment's
        own default stands for what is left out.
        Raises LikenessError.
        """
        events = self.generate_events(prompt, options=options, timeout_seconds=timeout_seconds, **arguments)
        pictures, finished = await collect(events, on_progress, Finished)
        return Generation(pictures, finished)

    def send_edit(
        self, request: editor.EditRequest, options: CallOptions | None = None
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Send a message of the contract and yield the events, the last one `EditFinished`. Raises LikenessError."""
        return self._editor.send(request, options or self._default)

    async def edit(
        self,
        images: ImageSource | Sequence[ImageSource],
        instruction: str = "",
        *,
        on_progress: Progress | None = None,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> Editing:
        """Change one to four pictures as an instruction says, or with ``scene`` put their persons there.

        ``arguments``: scene in place of the instruction, denoise (over 0 to 1), mask, width and height, and those of
        `generate` but for aspect_ratio. Raises LikenessError, and OSError when a path cannot be read.
        """
        request = edit_request(images, instruction, **arguments)
        events = self.send_edit(request, self._options(options, timeout_seconds))
        pictures, finished = await collect(events, on_progress, EditFinished)
        return Editing(pictures, finished)

    async def generator_capabilities(self, options: CallOptions | None = None) -> GeneratorCapabilities:
        """Tell what the generator can do. Raises LikenessError."""
        return await self._generator.capabilities(options or self._default)

    async def editor_capabilities(self, options: CallOptions | None = None) -> EditorCapabilities:
        """Tell what the editor can do. Raises LikenessError."""
        return await self._editor.capabilities(options or self._default)
