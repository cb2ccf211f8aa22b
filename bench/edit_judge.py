"""What an edit kept and what it changed: measures that know nothing of the model, and their limits by drawn pictures.

Two pictures that the drawing script made of one person, in other scenes, light and pose, say how much the measures
differ for the same person. That is the ceiling: a model can't be asked for more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from bench.adherence import SCENES, Vector, hair_colour, scene_features
from core.faces import landmarks
from core.faces.analyser import Face, FaceAnalyser
from core.faces.embedding import identity_score
from weights.recipe.draw import draw, sample
from weights.recipe.people import Person, Shot, sample_person, sample_shot

Picture = npt.NDArray[np.uint8]

KEPT_QUANTILE = 95
"""A colour counts as kept when it differs by no more than this percentile of the drawing script's own differences."""
CHEEKS = (50, 280)
FEATURES = {
    "right eye": landmarks.RIGHT_EYE,
    "left eye": landmarks.LEFT_EYE,
    "lips": landmarks.LIPS_OUTER,
    "nose": (1, 2, 4, 5, 98, 327),
    "outline": landmarks.OVAL,
}
"""Groups of the mesh's points; the mean of a group trembles less than its points."""


@dataclass(frozen=True)
class Subject:
    """A picture of one person, with what the measures read from it."""

    picture: Picture
    face: Face
    hair: Vector
    """Lab."""
    skin: Vector
    """Lab."""


@dataclass(frozen=True)
class Pair:
    """One person, drawn twice."""

    person: Person
    reference: Subject
    again: Subject
    """In another scene, pose and light, in the same clothes."""
    scene: str
    """Of the reference."""
    scene_again: str


@dataclass(frozen=True)
class Limits:
    """The largest differences in Lab at which hair and skin count as kept."""

    hair: float
    skin: float


def skin_colour(picture: Picture, face: Face) -> Vector:
    """Median Lab colour (L 0–100) of two patches on the cheeks."""
    half = max(1, round(0.05 * face.width))
    patches = []
    for x, y in face.mesh.points[list(CHEEKS), :2].round().astype(int):
        patches.append(picture[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1].reshape(-1, 3))
    pixels = np.concatenate(patches)[None].astype(np.float32) / np.float32(255)
    return np.asarray(np.median(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0].astype(np.float64), axis=0))


def look(analyser: FaceAnalyser, picture: Picture) -> Subject | None:
    """Measure the only face of a picture; None where there is none, or several."""
    faces = analyser.analyse(picture, attributes=False)
    if len(faces) != 1:
        return None
    return Subject(picture, faces[0], hair_colour(picture, faces[0]), skin_colour(picture, faces[0]))


def draw_pairs(analyser: FaceAnalyser, seed: int, count: int) -> list[Pair]:
    """Draw people twice, in two of the scenes that the judge knows, until ``count`` have one face in both."""
    pairs: list[Pair] = []
    index = 0
    while len(pairs) < count:
        rng = np.random.default_rng((seed, index, 4))
        index += 1
        person = sample_person(rng)
        shots: list[Shot] = []
        while len(shots) < 2:
            shot = sample_shot(rng, person)
            if shot.scene in SCENES and all(shot.scene != other.scene for other in shots):
                shots.append(shot)
        dressed = {"clothes": shots[0].clothes, "clothes_colour": shots[0].clothes_colour}
        shots[1] = Shot(**{**vars(shots[1]), **dressed})
        first, second = (look(analyser, draw(person, shot)) for shot in shots)
        if first is not None and second is not None:
            pairs.append(Pair(person, first, second, shots[0].scene, shots[1].scene))
    return pairs


def difference(first: Vector, second: Vector) -> float:
    """Distance of two colours in Lab (CIE 1976)."""
    return float(np.linalg.norm(first - second))


def limits_of(pairs: Sequence[Pair]) -> Limits:
    """Return the differences that the drawing script's own pictures of one person have."""
    hair = [difference(pair.reference.hair, pair.again.hair) for pair in pairs]
    skin = [difference(pair.reference.skin, pair.again.skin) for pair in pairs]
    return Limits(float(np.percentile(hair, KEPT_QUANTILE)), float(np.percentile(skin, KEPT_QUANTILE)))


class SceneJudge:
    """Names the scene of a picture, by what drawn pictures of each look like around the person."""

    def __init__(self, seed: int, count: int) -> None:
        """Learn from ``count`` drawn pictures."""
        drawn = [one for one in (sample(seed, index) for index in range(count)) if one.shot.scene in SCENES]
        self._names = list(SCENES)
        features = np.stack([scene_features(one.image) for one in drawn])
        truth = np.eye(len(self._names))[[self._names.index(one.shot.scene) for one in drawn]]
        ridge = features.T @ features + 0.1 * np.eye(features.shape[1])
        self._weights = np.linalg.solve(ridge, features.T @ truth)

    def name(self, picture: Picture) -> str:
        """Return the scene that a picture shows."""
        return self._names[int((scene_features(picture) @ self._weights).argmax())]


def identity(first: Subject, second: Subject) -> float:
    """Cosine of two faces' embeddings."""
    return identity_score(first.face.embedding, second.face.embedding)


def ranked_first(result: Subject, reference: Subject, distractors: Sequence[Subject]) -> bool:
    """Return whether the result is more like its reference than like any of the others."""
    return identity(result, reference) > max(identity(result, other) for other in distractors)


def displacement(before: Face, after: Face, width: int) -> dict[str, float]:
    """Return how far each feature has moved, in per cent of the picture's width."""
    moved = {}
    for name, points in FEATURES.items():
        places = [face.mesh.points[list(points), :2].mean(axis=0) for face in (before, after)]
        moved[name] = 100 * float(np.linalg.norm(places[1] - places[0])) / width
    return moved
