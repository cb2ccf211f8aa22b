"""Invented people for measuring the trainer: their photos, and how alike a picture is to them.

Everything depends on seeds alone. No picture that a judge compares with is ever handed to a training run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.faces import FaceAnalyser
from weights.recipe.draw import draw
from weights.recipe.people import Person, sample_person, sample_shot

Picture = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]

PHOTOS = 12
"""Handed to a run."""
PHOTO_SIDE = 512
REFERENCES = 6
"""Photos of a person that its pictures are compared with."""
SIDE = 256
SCENES = (
    ("close-up portrait of {subject} in an office", "office", "head shot"),
    ("half body photo of {subject} in a café", "cafe", "half shot"),
    ("photo of {subject} on the beach", "beach", "head shot"),
)
"""A prompt, and what the drawing script calls its scene and framing."""
_STRANGERS_FROM = 100_000
"""Numbers of the strangers; characters have the numbers below."""
_PERSON, _PHOTO, _REFERENCE, _SCENE = 5100, 5101, 5102, 5103
"""What seeds are for."""


@dataclass(frozen=True, eq=False)
class Character:
    """An invented person."""

    number: int

    @property
    def person(self) -> Person:
        """Who it is."""
        return sample_person(np.random.default_rng((_PERSON, self.number)))

    def photos(self) -> list[Picture]:
        """Draw what a client would send: 12 pictures of 512², uint8 RGB."""
        return [self._draw(_PHOTO, k, PHOTO_SIDE) for k in range(PHOTOS)]

    def references(self) -> list[Picture]:
        """Draw six other pictures of 256², in random scenes."""
        return [self._draw(_REFERENCE, k, SIDE) for k in range(REFERENCES)]

    def in_scenes(self, count: int) -> list[Picture]:
        """Draw what the script makes of the prompts: ``count`` pictures of 256² for each of `SCENES`, in turn."""
        return [self._draw(_SCENE, k, SIDE, SCENES[k % len(SCENES)]) for k in range(count * len(SCENES))]

    def _draw(self, purpose: int, index: int, side: int, scene: tuple[str, str, str] | None = None) -> Picture:
        person = self.person
        shot = sample_shot(np.random.default_rng((purpose, self.number, index)), person)
        if scene is not None:
            shot = replace(shot, scene=scene[1], framing=scene[2])
        return draw(person, shot, (side, side))


def embeddings(analyser: FaceAnalyser, pictures: Sequence[Picture]) -> list[Vector | None]:
    """Describe the one face of each picture by 256 numbers; None where there is not exactly one."""
    found = [analyser.analyse(picture, attributes=False) for picture in pictures]
    return [np.asarray(faces[0].embedding, dtype=np.float64) if len(faces) == 1 else None for faces in found]


@dataclass(frozen=True, eq=False)
class Strangers:
    """The drawn people that a character has to be told from."""

    mixed: Vector
    """20×256: the mean face of each of twenty random people."""
    women: Vector
    """20×256: the same of women."""
    men: Vector
    pictures: Vector
    """N×256: each picture of the mixed ones."""

    @classmethod
    def load(cls, analyser: FaceAnalyser, cache: Path, count: int = 20) -> Strangers:
        """Draw and describe ``count`` of each kind, or read what an earlier call kept in the file ``cache``."""
        if not cache.exists():
            by_sex: dict[str, list[Vector]] = {"woman": [], "man": []}
            mixed: list[Vector] = []
            pictures: list[Vector] = []
            number = _STRANGERS_FROM
            while min(map(len, by_sex.values())) < count:
                character = Character(number)
                number += 1
                group = by_sex[character.person.gender]
                if len(group) >= count and len(mixed) >= count:
                    continue
                seen = [vector for vector in embeddings(analyser, character.references()) if vector is not None]
                centre = _unit(np.mean(seen, axis=0))
                if len(mixed) < count:
                    mixed.append(centre)
                    pictures += seen
                if len(group) < count:
                    group.append(centre)
            cache.parent.mkdir(parents=True, exist_ok=True)
            with cache.open("wb") as file:
                np.savez(
                    file,
                    mixed=np.stack(mixed),
                    women=np.stack(by_sex["woman"]),
                    men=np.stack(by_sex["man"]),
                    pictures=np.stack(pictures),
                )
        with np.load(cache) as kept:
            return cls(kept["mixed"], kept["women"], kept["men"], kept["pictures"])


@dataclass(frozen=True)
class Likeness:
    """How alike pictures are to a character; a picture without exactly one face counts 0 and is not first."""

    identity: float
    """Mean cosine to the character's references."""
    first: float
    """Share of the pictures that are more alike to the character than to each of twenty strangers."""
    first_of_same_sex: float
    """The same among twenty strangers of the character's sex."""
    one_face: float
    each: tuple[float, ...]
    """The cosine of each picture."""


class Judge:
    """Compares pictures with one character."""

    def __init__(self, analyser: FaceAnalyser, character: Character, strangers: Strangers) -> None:
        """Draw and describe the character's references."""
        self._analyser = analyser
        seen = [vector for vector in embeddings(analyser, character.references()) if vector is not None]
        self._references = np.stack(seen)
        self._centre = _unit(self._references.mean(axis=0))
        self._strangers = strangers
        self._same_sex = strangers.women if character.person.gender == "woman" else strangers.men

    def stranger(self) -> float:
        """Return how alike the pictures of random people are: the mean cosine."""
        return float((self._references @ self._strangers.pictures.T).mean())

    def look(self, pictures: Sequence[Picture]) -> Likeness:
        """Judge pictures, uint8 H×W×3."""
        seen = embeddings(self._analyser, pictures)
        each = [0.0 if vector is None else float((self._references @ vector).mean()) for vector in seen]
        return Likeness(
            identity=float(np.mean(each)),
            first=float(np.mean([self._is_first(vector, self._strangers.mixed) for vector in seen])),
            first_of_same_sex=float(np.mean([self._is_first(vector, self._same_sex) for vector in seen])),
            one_face=float(np.mean([vector is not None for vector in seen])),
            each=tuple(each),
        )

    def _is_first(self, vector: Vector | None, others: Vector) -> bool:
        return vector is not None and float(self._centre @ vector) > float((others @ vector).max())


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))
