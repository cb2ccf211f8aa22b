"""The figures of the editor's miniature, on few pictures and with a checkpoint that knows nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import edit_figures
from bench.edit_judge import Limits, Pair, Subject, displacement, draw_pairs, limits_of, look, ranked_first
from core.faces import FaceAnalyser
from core.qwen.profile import PROFILES_FOLDER
from tests.support.checkpoint import build_edit_checkpoint


@pytest.fixture(scope="module")
def analyser() -> FaceAnalyser:
    return FaceAnalyser(threads=1)


@pytest.fixture(scope="module")
def pairs(analyser: FaceAnalyser) -> list[Pair]:
    return draw_pairs(analyser, 31, 4)


def figures(pairs: list[Pair], results: list[Subject | None], right: list[bool]) -> dict[str, float]:
    return edit_figures.figures_of(pairs, results, right, [pair.reference for pair in pairs], limits_of(pairs))


def test_the_drawing_scripts_own_pictures_reach_the_ceiling(pairs: list[Pair]) -> None:
    found = edit_figures.figures_of(
        pairs[:1], [pairs[0].again], [True], [pair.reference for pair in pairs[1:]], Limits(hair=200, skin=200)
    )
    assert (found["one_face"], found["scene"], found["hair_kept"], found["skin_kept"]) == (1, 1, 1, 1)
    assert found["ranked_first"] == 1
    assert ranked_first(pairs[0].again, pairs[0].reference, [pairs[1].reference])
    assert not ranked_first(pairs[1].again, pairs[0].reference, [pairs[1].reference])


def test_a_result_without_a_face_counts_as_wrong(pairs: list[Pair]) -> None:
    found = figures(pairs, [None] * len(pairs), [False] * len(pairs))
    assert {found[name] for name in ("one_face", "scene", "hair_kept", "skin_kept", "ranked_first")} == {0}
    assert found["identity_gain"] == pytest.approx(0)


def test_another_persons_colours_are_not_kept(pairs: list[Pair]) -> None:
    limits = Limits(hair=1e-6, skin=1e-6)
    found = edit_figures.figures_of(
        pairs, [pair.again for pair in pairs], [True] * len(pairs), [pairs[0].reference], limits
    )
    assert (found["hair_kept"], found["skin_kept"]) == (0, 0)


def test_a_shift_is_told_in_per_cent_of_the_width(analyser: FaceAnalyser, pairs: list[Pair]) -> None:
    picture = pairs[0].reference.picture
    moved = look(analyser, np.roll(picture, 8, axis=1))
    assert moved is not None
    shifts = displacement(pairs[0].reference.face, moved.face, picture.shape[1])
    assert all(abs(shift - 100 * 8 / 256) < 0.5 for shift in shifts.values())
    same = look(analyser, picture)
    assert same is not None
    assert max(displacement(pairs[0].reference.face, same.face, 256).values()) < 1e-6


def test_all_figures_are_measured_in_one_run_and_are_poor_for_random_weights(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    checkpoint = build_edit_checkpoint(tmp_path / "checkpoint")
    text = (PROFILES_FOLDER / "miniature-edit.toml").read_text(encoding="utf-8")
    profile = tmp_path / "profile.toml"
    profile.write_text(text.replace('folder = "miniature-edit"', f'folder = "{checkpoint}"'), encoding="utf-8")
    output, sheet = tmp_path / "figures.json", tmp_path / "sheet.png"
    counts = ["--pairs", "2", "--distractors", "2", "--shift-pictures", "1", "--locked", "1", "--couples", "1"]
    edit_figures.main(
        ["--profile", str(profile), "--mode", "fast", "--judge-pictures", "60", "--threads", "1", *counts,
         "--json", str(output), "--sheet", str(sheet)]
    )  # fmt: skip
    torch.set_num_threads(before)
    document = json.loads(output.read_text(encoding="utf-8"))
    assert document["ceiling"]["identity_gain"] > 0.1
    assert document["result"]["ranked_first"] == document["shift"]["within_1_percent"] == 0
    assert document["result"]["gain_of_ceiling"] < 0.3
    assert document["together"]["each_its_own"] == 0
    assert document["locked"]["refused"]
    assert sheet.exists()
