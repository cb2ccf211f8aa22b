from __future__ import annotations

import io

import pytest

from likeness.cli.progress import ProgressLine, describe_steps
from likeness.results import Queued, Step


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_one_line_that_is_wiped_at_the_end() -> None:
    stream = Terminal()
    progress = ProgressLine(stream=stream)
    progress(Queued(2))
    progress(Step(0, 2, 4))
    progress.close()
    text = stream.getvalue()
    assert "\n" not in text
    assert "waiting: 2 before this one" in text
    assert "step 2 of 4" in text
    assert text.split("\r")[-2].strip() == ""


def test_nobody_looks_nothing_is_written() -> None:
    stream = io.StringIO()
    ProgressLine(stream=stream)(Step(0, 1, 4))
    assert stream.getvalue() == ""


def test_the_bar_grows_with_the_steps() -> None:
    first, last = describe_steps([Step(0, 1, 4)], 1), describe_steps([Step(0, 4, 4)], 1)
    assert first.count("#") < last.count("#")
    assert "." not in last.split("]")[0]


@pytest.mark.parametrize(
    "steps",
    [[Step(0, 4, 4), Step(1, 4, 4), Step(2, 1, 4)], [Step(0, 3, 4), Step(1, 3, 4), Step(2, 3, 4)]],
    ids=["one after the other", "together"],
)
def test_the_bar_is_over_all_pictures_however_they_are_drawn(steps: list[Step]) -> None:
    text = describe_steps(steps, 3)
    assert text.endswith("3 of 3 pictures, step 9 of 12")
    assert text.count("#") == 22  # three quarters of 30
