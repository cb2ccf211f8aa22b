"""The shipped weights of the editor in the shipped profile: what it keeps of a person, and what it changes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.edit_figures import NOTHING, Editor
from bench.edit_judge import (
    Limits,
    Pair,
    Picture,
    SceneJudge,
    Subject,
    difference,
    displacement,
    draw_pairs,
    look,
    ranked_first,
)
from core.faces import FaceAnalyser
from core.qwen.loading import QwenImageModel, load_model
from core.qwen.profile import load_profile

WEIGHTS = Path(__file__).parents[3] / "weights"
MADE_FOR_TESTS = 417
"""Seed of people and scenes; neither the training nor the figures have it."""
LIMITS = Limits(hair=14.5, skin=10.3)
"""What the drawing script's own pictures of one person differ by, of 95 in 100: the limits of `bench.edit_figures`."""

pytestmark = pytest.mark.skipif(
    not (WEIGHTS / "miniature-edit" / "model_index.json").exists(), reason="needs the editor's trained miniature"
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def analyser() -> FaceAnalyser:
    return FaceAnalyser(threads=1)


@pytest.fixture(scope="module")
def people(analyser: FaceAnalyser) -> list[Pair]:
    return draw_pairs(analyser, MADE_FOR_TESTS, 6)


@pytest.fixture(scope="module")
def judge(people: list[Pair]) -> SceneJudge:
    learned = SceneJudge(MADE_FOR_TESTS + 1, 48)
    for pair in people:
        assert learned.name(pair.reference.picture) == pair.scene
        assert learned.name(pair.again.picture) == pair.scene_again
    return learned


@pytest.fixture(scope="module")
def model() -> QwenImageModel:
    return load_model(load_profile("miniature-edit"), weights_dir=WEIGHTS)


@pytest.fixture(scope="module")
def editor(model: QwenImageModel) -> Editor:
    return Editor(model, "fast", None)


def seen(analyser: FaceAnalyser, picture: Picture) -> Subject:
    found = look(analyser, picture)
    assert found is not None, "the picture has not exactly one face"
    return found


def distance(first: Picture, second: Picture) -> float:
    return float(np.abs(first.astype(float) - second.astype(float)).mean())


def check_scenes(analyser: FaceAnalyser, judge: SceneJudge, editor: Editor, people: Sequence[Pair], count: int) -> None:
    """Put the first persons into other scenes, and compare with what went in and with the other persons."""
    for seed, pair in enumerate(people[:count]):
        drawn = editor.put_into([pair.reference.picture], pair.scene_again, seed=seed)
        result, reference = seen(analyser, drawn), pair.reference
        assert judge.name(drawn) == pair.scene_again
        assert difference(reference.hair, result.hair) <= LIMITS.hair
        assert difference(reference.skin, result.skin) <= LIMITS.skin
        assert ranked_first(result, reference, [other.reference for other in people if other is not pair])


def test_a_scene_is_as_asked_and_hair_skin_and_likeness_stay(
    analyser: FaceAnalyser, judge: SceneJudge, editor: Editor, people: list[Pair]
) -> None:
    check_scenes(analyser, judge, editor, people, 2)


def test_full_mode_does_the_same(
    analyser: FaceAnalyser, judge: SceneJudge, model: QwenImageModel, people: list[Pair]
) -> None:
    check_scenes(analyser, judge, Editor(model, "full", None), people, 1)


def test_changing_nothing_moves_no_feature(analyser: FaceAnalyser, editor: Editor, people: list[Pair]) -> None:
    for seed, pair in enumerate(people[:2]):
        result = seen(analyser, editor.edit([pair.reference.picture], NOTHING, seed=seed))
        moved = displacement(pair.reference.face, result.face, pair.reference.picture.shape[1])
        assert max(moved.values()) < 1, moved


def test_two_persons_have_two_faces_each_its_own(analyser: FaceAnalyser, editor: Editor, people: list[Pair]) -> None:
    couple = people[:2]
    drawn = editor.put_into([pair.reference.picture for pair in couple], couple[0].scene_again, seed=0)
    faces = sorted(analyser.analyse(drawn, attributes=False), key=lambda face: float(face.detection.box[0]))
    assert len(faces) == 2
    scores = [[float(face.embedding @ pair.reference.face.embedding) for pair in couple] for face in faces]
    assert scores[0][0] > scores[0][1]
    assert scores[1][1] > scores[1][0]


def test_more_denoise_leaves_less_of_the_picture(model: QwenImageModel, people: list[Pair]) -> None:
    pair = people[0]
    away = [
        distance(
            pair.reference.picture,
            Editor(model, mode, denoise).put_into([pair.reference.picture], pair.scene_again, seed=0),
        )
        # With half of the noise and more the whole scene is new: there is nothing left to grow.
        for mode, denoise in (("full", 0.05), ("full", 0.15), ("full", 0.3), ("fast", 1))
    ]
    assert all(nearer < farther for nearer, farther in itertools.pairwise(away)), away
