"""Progress of a drawing on standard error: one line that is drawn over, or nothing where nobody looks."""

from __future__ import annotations

import sys
from typing import TextIO

from likeness.results import GenerationEvent, Queued, Started, Step

BAR_CHARACTERS = 30


class ProgressLine:
    """Shows events on a terminal. Where the stream is no terminal it stays silent."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to ``stream``; standard error when left out."""
        self._stream = stream or sys.stderr
        self._visible = self._stream.isatty()
        self._length = 0

    def __call__(self, event: GenerationEvent) -> None:
        """Show an event."""
        text = describe(event)
        if text is not None:
            self._write(text)

    def close(self) -> None:
        """Wipe the line."""
        if self._length:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()
            self._length = 0

    def _write(self, text: str) -> None:
        if self._visible:
            self._stream.write("\r" + text.ljust(self._length))
            self._stream.flush()
            self._length = len(text)


def describe(event: GenerationEvent) -> str | None:
    """Return an event as a line; None for one that needs none."""
    match event:
        case Queued(position):
            return f"waiting: {position} before this one"
        case Started(_):
            return "drawing"
        case Step(image_index, step, total_steps):
            done = round(BAR_CHARACTERS * step / max(1, total_steps))
            bar = "#" * done + "." * (BAR_CHARACTERS - done)
            return f"picture {image_index + 1} [{bar}] step {step} of {total_steps}"
        case _:
            return None
