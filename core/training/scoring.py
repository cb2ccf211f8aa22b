"""Scores of drawn pictures: the person, the scene, and whether they are more than copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from core.faces import Face, FaceAnalyser
from core.training.hashing import HASH_BITS, hash_distance, perceptual_hash
from core.training.settings import EvaluationSettings
from core.training.spec import CheckpointScore, SamplePicture

Picture = npt.NDArray[np.uint8]
_GRID = 12
_HEAD_ASIDE, _HEAD_ABOVE = 0.85, 1.1
"""How far head and hair reach from the middle of the face, in widths and heights of the face."""
_SHOULDERS_ASIDE, _SHOULDERS_BELOW = 1.5, 0.6
_LEAST_VISIBLE = 0.08
"""Share of the picture."""


@dataclass(frozen=True)
class DrawnPicture:
    """A picture that was drawn for a prompt."""

    prompt: str
    seed: int
    pixels: Picture
    file: str
    """Where it was written, in the work directory."""


class Judge:
    """Compares pictures with the character's references, with the base's pictures, and with what was trained on."""

    def __init__(
        self,
        analyser: FaceAnalyser,
        references: npt.NDArray[np.float64],
        hashes: Sequence[int],
        base: Sequence[Picture],
        settings: EvaluationSettings,
    ) -> None:
        """Prepare.

        Args:
            analyser: the face networks.
            references: N×256 embeddings, none of them trained on where there are photos enough.
            hashes: perceptual hashes of what is trained on.
            base: the base's picture for each prompt, of the same seeds.
            settings: the weights of the scores.
        """
        self._analyser = analyser
        self._references = references
        self._hashes = tuple(hashes)
        self._settings = settings
        self._base = [self._look(picture)[0] for picture in base]

    def score(self, step: int, drawn: Sequence[DrawnPicture], lora_file: str) -> CheckpointScore:
        """Score one picture for each prompt, in the order of the base's pictures."""
        samples = tuple(self._judge(step, place, picture) for place, picture in enumerate(drawn))
        identity = float(np.mean([sample.identity for sample in samples]))
        adherence = float(np.mean([sample.adherence for sample in samples]))
        copies = float(np.mean([sample.copy_distance <= self._settings.copy_bits for sample in samples]))
        return CheckpointScore(
            step=step,
            score=identity + self._settings.adherence_weight * (adherence - 0.5) - self._settings.copy_penalty * copies,
            identity=identity,
            adherence=adherence,
            copies=copies,
            one_face=float(np.mean([sample.faces == 1 for sample in samples])),
            samples=samples,
            lora_file=lora_file,
        )

    def _judge(self, step: int, place: int, drawn: DrawnPicture) -> SamplePicture:
        scene, faces = self._look(drawn.pixels)
        identity = 0.0
        if len(faces) == 1 and len(self._references):
            identity = float((self._references @ faces[0].embedding).mean())
        code = perceptual_hash(drawn.pixels)
        return SamplePicture(
            step=step,
            prompt=drawn.prompt,
            seed=drawn.seed,
            file=drawn.file,
            faces=len(faces),
            identity=identity,
            adherence=self._adherence(scene, place),
            copy_distance=min((hash_distance(code, other) for other in self._hashes), default=HASH_BITS),
        )

    def _look(self, picture: Picture) -> tuple[Scene, list[Face]]:
        faces = self._analyser.analyse(picture, attributes=False)
        return Scene.of(picture, faces), faces

    def _adherence(self, scene: Scene, place: int) -> float:
        """How much nearer the scene is to the base's of the same prompt than to those of the others, 0–1.

        The base draws what the words say, and all pictures of a prompt begin with the same noise. A LoRA that still
        listens keeps the scene; one that has drowned the words draws its photos' background for every prompt, which is
        as far from one of the base's scenes as from the others: 0.5. No model of language is needed, and none that the
        LoRA could please otherwise.
        """
        own = scene.distance(self._base[place])
        others = [scene.distance(other) for k, other in enumerate(self._base) if k != place]
        if not others:
            return 0.5
        return float(np.mean([other / max(own + other, 1e-9) for other in others]))


@dataclass(frozen=True, eq=False)
class Scene:
    """What is behind the person of a picture, coarsely."""

    colours: npt.NDArray[np.float64]
    """12×12×3: mean colours in Lab."""
    visible: npt.NDArray[np.bool_]
    """12×12: where no person stands."""

    @classmethod
    def of(cls, picture: Picture, faces: Sequence[Face]) -> Scene:
        """Look at a picture, uint8 H×W×3, whose faces are known."""
        height, width = picture.shape[:2]
        lab = cv2.cvtColor(picture.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
        colours = cv2.resize(lab, (_GRID, _GRID), interpolation=cv2.INTER_AREA).astype(np.float64)
        x = ((np.arange(_GRID) + 0.5) * width / _GRID)[None]
        y = ((np.arange(_GRID) + 0.5) * height / _GRID)[:, None]
        visible = np.ones((_GRID, _GRID), np.bool_)
        for face in faces:
            left, top, face_width, face_height = (float(value) for value in face.detection.box)
            aside = np.abs(x - left - face_width / 2) / face_width
            below = (y - top - face_height / 2) / face_height
            head = (aside < _HEAD_ASIDE) & (below > -_HEAD_ABOVE)
            visible &= ~(head | ((aside < _SHOULDERS_ASIDE) & (below > _SHOULDERS_BELOW)))
        return cls(colours, visible)

    def distance(self, other: Scene) -> float:
        """Return the mean distance of the colours, in units of Lab, where no person stands in either picture."""
        both = self.visible & other.visible
        distances = np.linalg.norm(self.colours - other.colours, axis=-1)
        # Faces that fill both pictures leave nothing to see: then all of it has to do.
        return float(distances[both].mean() if both.mean() >= _LEAST_VISIBLE else distances.mean())
