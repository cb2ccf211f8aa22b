from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.train_full_size import VARIANTS, main


def measure(folder: Path, *arguments: str) -> dict[str, Any]:
    output = folder / "result.json"
    short = ("--side", "128", "--steps", "2", "--warmup-steps", "1", "--compiler", "eager")
    main(["--tiny", "--device", "cpu", *short, "--output", str(output), *arguments])
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return document


# The compiler looks at the gradients of what it is given, and torch warns of that.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_every_way_to_train_takes_its_steps_and_trains_as_many_weights(tmp_path: Path) -> None:
    report = measure(tmp_path)
    assert report["left_out"] == []
    assert set(report["variants"]) == {variant.name for variant in VARIANTS}
    figures = {name: variant["128x128"] for name, variant in report["variants"].items()}
    assert len({figure["trained_weights"] for figure in figures.values()}) == 1
    assert all(figure["seconds_per_step"] > 0 for figure in figures.values())
    assert figures["plain"]["recomputed_blocks"] == 2 and figures["bfloat16"]["recomputed_blocks"] == 0
    assert figures["bfloat16-compiled"]["graphs"] > 0 and figures["bfloat16"]["graphs"] == 0
    # The same seed, noise and order: compiling changes nothing, and eight bits little.
    assert figures["bfloat16-compiled"]["last_loss"] == pytest.approx(figures["bfloat16"]["last_loss"], rel=1e-4)
    assert figures["float8"]["last_loss"] == pytest.approx(figures["bfloat16"]["last_loss"], rel=0.02)


def test_what_the_budget_leaves_no_time_for_is_named(tmp_path: Path) -> None:
    report = measure(tmp_path, "--budget-seconds", "0", "--variants", "bfloat16", "plain")
    assert report["variants"] == {}
    assert report["left_out"] == [{"what": "bfloat16, plain", "reason": "the budget is spent"}]


def test_an_unknown_variant_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        measure(tmp_path, "--variants", "int4")
    assert "unknown variants int4" in capsys.readouterr().err
