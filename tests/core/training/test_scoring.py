from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from core.faces import FaceAnalyser
from core.training.hashing import perceptual_hash
from core.training.scoring import DrawnPicture, Judge
from core.training.settings import EvaluationSettings
from core.training.spec import CheckpointScore
from tests.core.training.conftest import invented_person
from weights.recipe.draw import draw
from weights.recipe.people import Person, Shot, sample_shot

Picture = npt.NDArray[np.uint8]
SCENES = ("office", "beach", "library")


def picture(person: Person, scene: str, seed: int) -> Picture:
    shot = sample_shot(np.random.default_rng((5, seed)), person)
    return draw(person, Shot(**{**vars(shot), "scene": scene, "seed": 9, "x": 0.0, "framing": "head shot"}))


def references(analyser: FaceAnalyser, pictures: list[Picture]) -> npt.NDArray[np.float64]:
    return np.stack([analyser.analyse(rgb, attributes=False)[0].embedding for rgb in pictures])


@pytest.fixture(scope="module")
def judge(analyser: FaceAnalyser, one_person: list[Picture]) -> Judge:
    stranger = invented_person(0)
    base = [picture(stranger, scene, seed) for seed, scene in enumerate(SCENES)]
    hashes = [perceptual_hash(rgb) for rgb in one_person[3:]]
    return Judge(analyser, references(analyser, one_person[:3]), hashes, base, EvaluationSettings())


def score(judge: Judge, pictures: list[Picture]) -> CheckpointScore:
    return judge.score(100, [DrawnPicture("p", k, rgb, "f.jpg") for k, rgb in enumerate(pictures)], "l.safetensors")


def test_the_character_in_the_asked_scenes_beats_a_stranger_in_them(judge: Judge) -> None:
    own = score(judge, [picture(invented_person(1), scene, 10 + k) for k, scene in enumerate(SCENES)])
    stranger = score(judge, [picture(invented_person(0), scene, 10 + k) for k, scene in enumerate(SCENES)])
    assert own.identity > 0.7 > 0.5 > stranger.identity
    assert own.adherence > 0.6 and stranger.adherence > 0.6
    assert own.copies == stranger.copies == 0
    assert own.score > stranger.score


def test_one_scene_for_every_prompt_is_chance(judge: Judge) -> None:
    listening = score(judge, [picture(invented_person(1), scene, 10 + k) for k, scene in enumerate(SCENES)])
    drowned = score(judge, [picture(invented_person(1), "night city", 10 + k) for k in range(3)])
    assert drowned.adherence == pytest.approx(0.5, abs=0.06) and listening.adherence > drowned.adherence + 0.1


def test_training_photos_drawn_again_are_copies(judge: Judge, one_person: list[Picture]) -> None:
    copied = score(judge, one_person[3:6])
    assert copied.copies == 1 and all(sample.copy_distance == 0 for sample in copied.samples)
    assert copied.score < copied.identity - 0.4


def test_a_picture_without_a_face_or_with_two_has_no_identity(judge: Judge) -> None:
    person = picture(invented_person(1), "office", 10)
    two = np.hstack([person, person])
    result = score(judge, [np.full((256, 256, 3), 90, np.uint8), two, person])
    assert [sample.identity for sample in result.samples][:2] == [0, 0]
    assert [sample.faces for sample in result.samples] == [0, 2, 1]
    assert result.one_face == pytest.approx(1 / 3)
