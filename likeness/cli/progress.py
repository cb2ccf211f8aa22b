"""Progress of a drawing on standard error: one line that is drawn over, or nothing where nobody looks."""

from __future__ import annotations

import sys
from typing import TextIO

from likeness.results import GenerationEvent, Queued, Started, Step

BAR_CHARACTERS = 30


class ProgressLine:
    """Shows events on a terminal. Where the stream is no terminal it stays silent."""

    def __init__(self, pictures: int = 1, stream: TextIO | None = None) -> None:
        """Show the progress of so many ``pictures`` on ``stream``; standard error when left out."""
        self._pictures = max(1, pictures)
        self._stream = stream or sys.stderr
        self._visible = self._stream.isatty()
        self._length = 0
        self._steps: dict[int, Step] = {}

    def __call__(self, event: GenerationEvent) -> None:
        """Show an event."""
        match event:
            case Queued(position):
                self._write(f"waiting: {position} before this one" if position else "waiting: next in line")
            case Started(_):
                self._write("drawing")
            case Step(image_index, _, _):
                self._steps[image_index] = event
                self._write(describe_steps(list(self._steps.values()), self._pictures))

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


def describe_steps(steps: list[Step], pictures: int) -> str:
    """Return a bar over all pictures, from the last step of each that was begun; they may be drawn together."""
    total = steps[0].total_steps * pictures
    done = sum(step.step for step in steps)
    filled = round(BAR_CHARACTERS * done / max(1, total))
    bar = "#" * filled + "." * (BAR_CHARACTERS - filled)
    count = f"{len(steps)} of {pictures} pictures, " if pictures > 1 else ""
    return f"[{bar}] {count}step {done} of {total}"
