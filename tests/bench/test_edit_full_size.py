from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.edit_full_size import main


def measure(folder: Path, *arguments: str) -> dict[str, Any]:
    output = folder / "result.json"
    main(["--tiny", "--device", "cpu", "--full-steps", "1", "--output", str(output), *arguments])
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return document


def test_more_pictures_are_more_tokens_and_compile_nothing_again(tmp_path: Path) -> None:
    report = measure(tmp_path, "--variants", "bfloat16-compiled", "--compiler", "eager", "--references", "1", "2")
    figures = report["variants"]["bfloat16-compiled"]
    assert figures["warm_up"]["graphs"] > 0
    measured = {
        name: (figures[name]["image_tokens"], figures[name]["graphs_compiled"]) for name in figures if " " in name
    }
    assert measured == {"fast 1": (512, 0), "full 1": (512, 0), "fast 2": (768, 0), "full 2": (768, 0)}


def test_what_the_budget_leaves_no_time_for_is_named(tmp_path: Path) -> None:
    report = measure(tmp_path, "--variants", "float8-compiled", "bfloat16", "--budget-seconds", "0")
    assert report["variants"] == {}
    assert [entry["what"] for entry in report["left_out"]] == ["float8-compiled", "the rest of bfloat16"]


def test_an_unknown_variant_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        measure(tmp_path, "--variants", "float16")
    assert "unknown variants float16" in capsys.readouterr().err
