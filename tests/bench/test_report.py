from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report import OutOfBudget, Report


def test_a_failed_measurement_is_named_and_the_next_is_taken(tmp_path: Path) -> None:
    report = Report(tmp_path / "figures.json", 60, device="cpu")
    assert not report.attempt("one", "broken", lambda: 1 / 0)
    assert report.attempt("one", "whole", lambda: {"seconds": 1.5})
    document = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert document["variants"] == {"one": {"whole": {"seconds": 1.5}}}
    assert document["left_out"] == [{"what": "one: broken", "reason": "ZeroDivisionError: division by zero"}]
    assert document["device"] == "cpu"


def test_what_would_not_end_within_the_budget_is_not_begun(tmp_path: Path) -> None:
    report = Report(tmp_path / "figures.json", 60)
    report.check_budget(30)
    with pytest.raises(OutOfBudget):
        report.check_budget(90)
    assert not report.attempt("one", "long", lambda: pytest.fail("it was begun"), needed_seconds=90)
    assert report.document["left_out"] == [{"what": "one: long", "reason": "the budget is spent"}]


def test_every_measurement_is_written_at_once(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    report = Report(file, 60)
    report.add("one", "first", 1)
    assert json.loads(file.read_text(encoding="utf-8"))["variants"] == {"one": {"first": 1}}
    assert list(tmp_path.iterdir()) == [file]
