"""How the mouth is bent."""

from dataclasses import replace

import numpy as np
import pytest

from core.faces import FaceAnalyser, landmarks
from core.faces.expression import mouth_curve
from weights.recipe.draw import draw
from weights.recipe.people import sample_person, sample_shot


def test_a_drawn_smile_bends_the_mouth_more_than_a_neutral_face(analyser: FaceAnalyser) -> None:
    more = []
    for seed in range(4):
        rng = np.random.default_rng((5, seed))
        person = replace(sample_person(rng), glasses="none", beard="none")
        shot = sample_shot(rng, person)
        curves = []
        for expression in ("neutral", "smile"):
            (face,) = analyser.analyse(draw(person, replace(shot, expression=expression)), attributes=False)
            curves.append(face.mouth_curve)
        more.append(curves[1] - curves[0])
    assert np.mean(more) > 0.02
    assert min(more) > 0


def test_lifting_the_corners_counts_over_the_width_of_the_mouth(analyser: FaceAnalyser) -> None:
    points = analyser.canonical.points.copy()
    corners = [landmarks.MOUTH_RIGHT, landmarks.MOUTH_LEFT]
    width = float(np.linalg.norm(points[corners[0]] - points[corners[1]]))
    before = mouth_curve(points)
    points[corners, 1] -= 0.1 * width
    assert mouth_curve(points) - before == pytest.approx(0.1, abs=1e-6)
