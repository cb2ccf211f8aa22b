"""The judge of hair colours."""

from dataclasses import replace

import numpy as np
import pytest

from bench.adherence import HAIR, Discriminant, hair_colour
from core.faces import FaceAnalyser
from weights.recipe.draw import draw
from weights.recipe.people import sample_person, sample_shot

_CLASSES = ("black", "brown", "blonde", "red", "white")


def _colours(analyser: FaceAnalyser, asked: str, seeds: range) -> list[np.ndarray]:
    found = []
    for seed in seeds:
        rng = np.random.default_rng((77, seed))
        person = replace(
            sample_person(rng), hair_colour=HAIR[asked][seed % len(HAIR[asked])], hair_style="medium", fringe=False
        )
        image = draw(person, sample_shot(rng, person))
        faces = analyser.analyse(image, attributes=False)
        if faces:
            found.append(hair_colour(image, faces[0]))
    return found


def test_the_judge_names_the_hair_of_drawn_people_that_it_has_not_seen() -> None:
    analyser = FaceAnalyser(threads=1)
    judge = Discriminant({asked: _colours(analyser, asked, range(8)) for asked in _CLASSES})
    verdicts = [
        (asked, judge.classify(colour)) for asked in _CLASSES for colour in _colours(analyser, asked, range(8, 11))
    ]
    assert len(verdicts) >= 14
    assert np.mean([asked == seen for asked, seen in verdicts]) >= 0.9


def test_a_narrow_class_wins_near_its_middle_and_a_wide_one_far_away() -> None:
    rng = np.random.default_rng(1)
    judge = Discriminant({"narrow": list(rng.normal(0, 1, (60, 3))), "wide": list(rng.normal(6, 6, (60, 3)))})
    assert judge.classify(np.array([0.5, 0.0, 0.5])) == "narrow"
    assert judge.classify(np.array([-7.0, 0.0, 0.0])) == "wide"


def test_a_class_without_examples_is_refused() -> None:
    with pytest.raises(ValueError, match="two examples"):
        Discriminant({"black": [np.zeros(3)]})
