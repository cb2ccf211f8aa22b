"""Progress of a drawing on standard error: one line that is drawn over, or nothing where nobody looks."""

from __future__ import annotations

import sys
from typing import TextIO

from likeness.results import GenerationEvent, Queued, Started, Step

BAR_CHARACTERS = 30


class TerminalLine:
    """One line that is written over again. Where the stream is no terminal it stays silent."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to ``stream``; standard error when left out."""
        self._stream = stream or sys.stderr
        self._visible = self._stream.isatty()
        self._length = 0

    def write(self, text: str) -> None:
        """Show a text in place of the one before."""
        if self._visible:
            self._stream.write("\r" + text.ljust(self._length))
            self._stream.flush()
            self._length = len(text)

    def close(self) -> None:
        """Wipe the line."""
        if self._length:
            self.write("")
            self._stream.write("\r")
            self._stream.flush()
            self._length = 0


class ProgressLine(TerminalLine):
    """Shows the events of a drawing."""

    def __init__(self, pictures: int = 1, stream: TextIO | None = None) -> None:
        """Show the progress of so many ``pictures`` on ``stream``; standard error when left out."""
        super().__init__(stream)
        self._pictures = max(1, pictures)
        self._steps: dict[int, Step] = {}

    def __call__(self, event: GenerationEvent) -> None:
        """Show an event."""
        match event:
            case Queued(position):
                self.write(f"waiting: {position} before this one" if position else "waiting: next in line")
            case Started(_):
                self.write("drawing")
            case Step(image_index, _, _):
                self._steps[image_index] = event
                self.write(describe_steps(list(self._steps.values()), self._pictures))


class CountLine(TerminalLine):
    """Shows how much of a counted work is done."""

    def __call__(self, text: str, done: int, total: int) -> None:
        """Show ``done`` of ``total`` as a bar, and a text beside it."""
        self.write(f"{bar(done, total)} {text}")


def bar(done: int, total: int) -> str:
    """Return a bar of `BAR_CHARACTERS`."""
    filled = round(BAR_CHARACTERS * done / max(1, total))
    return f"[{'#' * filled}{'.' * (BAR_CHARACTERS - filled)}]"


def describe_steps(steps: list[Step], pictures: int) -> str:
    """Return a bar over all pictures, from the last step of each that was begun; they may be drawn together."""
    total = steps[0].total_steps * pictures
    done = sum(step.step for step in steps)
    count = f"{len(steps)} of {pictures} pictures, " if pictures > 1 else ""
    return f"{bar(done, total)} {count}step {done} of {total}"
