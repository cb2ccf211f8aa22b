from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.full_size import main


def measure(folder: Path, *arguments: str) -> dict[str, Any]:
    output = folder / "result.json"
    main(["--tiny", "--device", "cpu", "--full-steps", "2", "--output", str(output), *arguments])
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return document


def test_compiled_blocks_take_every_size_and_lora_without_compiling_again(tmp_path: Path) -> None:
    sizes = ("--sizes", "192", "256")
    report = measure(tmp_path, *sizes, "--variants", "bfloat16-compiled", "--compiler", "eager")
    figures = report["variants"]["bfloat16-compiled"]
    assert figures["warm_up"]["graphs"] == 3  # no LoRA, and two widths
    switched = figures.pop("loras_switched")
    assert switched["graphs_compiled"] == 0
    assert switched["same_lora_same_picture"] and switched["base_unchanged"] and switched["pictures_differ"]
    drawn = {name: figure["graphs_compiled"] for name, figure in figures.items() if "graphs_compiled" in figure}
    assert drawn == {"fast 192x192": 0, "full 192x192": 0, "fast 256x256": 0, "full 256x256": 0}


def test_what_cannot_be_measured_is_named(tmp_path: Path) -> None:
    report = measure(tmp_path, "--variants", "float8-compiled", "bfloat16", "--budget-seconds", "0")
    assert report["variants"] == {}
    assert [entry["what"] for entry in report["left_out"]] == ["float8-compiled", "the rest of bfloat16"]
    assert "needs a CUDA device" in report["left_out"][0]["reason"]


def test_an_unknown_variant_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        measure(tmp_path, "--variants", "float16")
    assert "unknown variants float16" in capsys.readouterr().err
