from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import full_size_run
from bench.full_size import main
from bench.full_size_table import recompiled, table


def measure(folder: Path, *arguments: str, status: int = 0) -> dict[str, Any]:
    output = folder / "result.json"
    tiny = ["--tiny", "--device", "cpu", "--full-steps", "2", "--sizes", "192", "256", "--compiler", "eager"]
    assert main([*tiny, "--output", str(output), *arguments]) == status
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return document


def test_compiled_blocks_take_every_size_prompt_and_lora_without_compiling_again(tmp_path: Path) -> None:
    report = measure(tmp_path, "--variants", "bfloat16-compiled")
    assert (report["left_out"], report["compiled_again"]) == ([], [])
    figures = report["variants"]["bfloat16-compiled"]
    assert figures["warm_up"]["graphs"] == 3  # no LoRA, and two widths
    switched = figures["loras_switched"]
    assert switched["same_lora_same_picture"] and switched["base_unchanged"] and switched["pictures_differ"]
    assert {name: figure["graphs_compiled"] for name, figure in figures.items() if "graphs_compiled" in figure} == {
        "full 192x192": 0,
        "fast 192x192": 0,
        "loras_switched": 0,
        "cached 192x192": 0,
        "full 96x96": 0,  # these two were not warmed up
        "fast 176x144": 0,
        "fast 256x256": 0,
        "full 256x256": 0,
    }


def test_what_fails_is_named_and_the_rest_is_measured_beside_plain_diffusers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise MemoryError("the card is full")

    monkeypatch.setattr(full_size_run.Bench, "_switch_loras", fails)
    monkeypatch.setattr(full_size_run, "BATCHES", (1, 2))
    report = measure(tmp_path, "--variants", "bfloat16")
    assert report["left_out"] == [{"what": "bfloat16: loras_switched", "reason": "MemoryError: the card is full"}]
    assert report["variants"]["diffusers"].keys() == {"warm_up", "full 192x192", "fast 192x192"}
    figures = report["variants"]["bfloat16"]
    assert figures.keys() == {
        "make_weights",
        "load",
        "warm_up",
        "full 192x192",
        "fast 192x192",
        "cached 192x192",
        "batches 96x96",
    }
    batches = [name for name in figures["batches 96x96"] if "at once" in name]
    assert batches == ["full, 1 at once", "full, 2 at once", "fast, 1 at once", "fast, 2 at once"]


def test_what_cannot_be_measured_is_named(tmp_path: Path) -> None:
    report = measure(tmp_path, "--variants", "float8-compiled", "bfloat16", "--budget-seconds", "0")
    assert report["variants"] == {}
    assert [entry["what"] for entry in report["left_out"]] == ["float8-compiled", "bfloat16: make_weights"]
    assert "needs a CUDA device" in report["left_out"][0]["reason"]


def test_an_unknown_variant_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        measure(tmp_path, "--variants", "float16")
    assert "unknown variants float16" in capsys.readouterr().err


def test_the_table_has_diffusers_first_the_goals_last_and_tells_what_was_compiled_again() -> None:
    document = {
        "device": "a card",
        "versions": {"torch": "2"},
        "seconds": 400.0,
        "left_out": [{"what": "bfloat16: loras_switched", "reason": "MemoryError: full"}],
        "variants": {
            "bfloat16": {"full 1024x1024": {"seconds": 17.456, "peak_allocated_gib": 61.2, "graphs_compiled": 2}},
            "diffusers": {"full 1024x1024": {"seconds": 18.4}},
        },
    }
    lines = table(document).splitlines()
    assert lines[0] == "|  | diffusers | bfloat16 | goal |"
    assert lines[2].startswith("| full 1024x1024 | 18.40 s | 17.46 s; peak 61.2 GiB | 12.5 s in bfloat16")
    assert lines[-2:] == [
        "Left out: bfloat16: loras_switched: MemoryError: full.",
        "Compiled again: bfloat16: full 1024x1024.",
    ]
    assert recompiled(document) == ["bfloat16: full 1024x1024"]
