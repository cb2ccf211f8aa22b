from __future__ import annotations

import io

from likeness.cli.progress import ProgressLine, describe
from likeness.results import Queued, Step


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_one_line_that_is_wiped_at_the_end() -> None:
    stream = Terminal()
    progress = ProgressLine(stream)
    progress(Queued(2))
    progress(Step(0, 2, 4))
    progress.close()
    text = stream.getvalue()
    assert "\n" not in text
    assert "step 2 of 4" in text
    assert text.split("\r")[-2].strip() == ""


def test_nobody_looks_nothing_is_written() -> None:
    stream = io.StringIO()
    ProgressLine(stream)(Step(0, 1, 4))
    assert stream.getvalue() == ""


def test_the_bar_grows_with_the_steps() -> None:
    first, last = describe(Step(0, 1, 4)), describe(Step(0, 4, 4))
    assert first is not None and last is not None
    assert first.count("#") < last.count("#")
    assert "." not in last.split("]")[0]
