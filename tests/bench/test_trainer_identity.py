from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.trainer_identity import main
from bench.trainer_people import Character, Judge, Strangers
from core.faces import FaceAnalyser

WEIGHTS = Path(__file__).parents[2] / "weights"
CHANGES = {
    "hyperparameters": {"steps": 2, "warmup_steps": 1, "checkpoint_every": 2, "batch_size": 1},
    "evaluation": {"every": 0, "from_step": 0, "prompts": ["{subject} in an office"]},
}


@pytest.mark.skipif(not (WEIGHTS / "miniature" / "model_index.json").exists(), reason="no miniature")
def test_a_character_is_trained_drawn_and_judged_once(tmp_path: Path) -> None:
    changes, output, sheet = tmp_path / "changes.json", tmp_path / "figures.json", tmp_path / "sheet.jpg"
    changes.write_text(json.dumps(CHANGES))
    arguments = ["--work", str(tmp_path / "work"), "--json", str(output), "--sheet", str(sheet), "--threads", "1"]
    arguments += ["--changes", str(changes), "--characters", "1", "--seeds", "1", "--strangers", "2"]
    main(arguments)
    document: dict[str, Any] = json.loads(output.read_text())
    summary, measured = document["summary"]["fast"], document["characters"][0]["modes"]["fast"]
    assert summary["base_unchanged"] and summary["first_own"] == 1 and summary["one_face"] > 0
    assert summary["own"] > summary["stranger"] + 0.2 and len(measured["lora"]["each"]) == 3
    # Two steps change the pictures, and hardly the person.
    assert 0 < summary["drift_pixels"] < 20 and summary["gain"] < 0.3
    assert sheet.stat().st_size > 1000

    trained = tmp_path / "work" / "character-000" / "figures.json"
    before = trained.stat().st_mtime_ns
    main(arguments)
    assert trained.stat().st_mtime_ns == before
    assert json.loads(output.read_text())["characters"] == document["characters"]


def test_a_judge_puts_the_characters_own_pictures_first_and_strangers_pictures_not(tmp_path: Path) -> None:
    analyser = FaceAnalyser(threads=1)
    strangers = Strangers.load(analyser, tmp_path / "strangers.npz", 2)
    judge = Judge(analyser, Character(3), strangers)
    own = judge.look(Character(3).in_scenes(1))
    assert own.first == own.first_of_same_sex == own.one_face == 1
    other = judge.look(Character(100_000).references()[:2])
    assert other.first == 0 and other.identity < own.identity
    nobody = judge.look([np.full((64, 64, 3), 128, np.uint8)])
    assert (nobody.identity, nobody.first, nobody.one_face) == (0, 0, 0)
