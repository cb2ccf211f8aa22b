"""Measures whether the miniature draws what the words say: one face, the hair's colour, the scene.

python -m bench.adherence [--mode full] [--json FILE] [--sheet FILE]

Sixty prompts (a woman or a man × five hair colours × six scenes), each with a seed of its own. Both judges know nothing
of the model. They measure colours, and learned what those mean from pictures that the drawing script made:

- Hair: the median colour of a band well above the forehead, placed by the face mesh, in a quadratic discriminant: the
  colour most likely under one normal distribution in Lab for each class. Brown hair in warm light and gray hair beside
  it differ by few units but in other directions, so the distance to the middle of each class is not enough.
- Scene: the mean colours of an 8 × 8 grid over the picture without its middle, in a linear classifier.

How often the judges are right about drawn pictures that they have not seen is printed first: it is the ceiling.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from core.faces.analyser import Face, FaceAnalyser
from core.qwen.loading import QwenImageModel, load_model
from core.qwen.profile import load_profile
from core.qwen.request import resolve_request
from core.qwen.sampling import ImageFinished, generate
from core.runtime.cancellation import CancelToken
from weights.recipe.draw import sample

WEIGHTS = Path(__file__).parents[1] / "weights"
Picture = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]

SCENES = {"office": "in an office", "cafe": "in a café", "beach": "on the beach", "street": "on a street",
          "garden": "in a garden", "studio": "in a studio"}  # fmt: skip
HAIR = {"black": ("black",), "brown": ("brown", "dark brown"), "blonde": ("blonde",), "red": ("red",),
        "white": ("gray", "white")}  # fmt: skip
"""The asked colour, and the drawing script's names for it."""
DRAWN = 800
HELD_OUT = 200
DRAWN_SEED = 4711


@dataclass(frozen=True)
class Prompt:
    """A prompt and what its picture should show."""

    text: str
    hair: str
    scene: str
    seed: int


@dataclass(frozen=True)
class Verdict:
    """What a picture shows."""

    faces: int
    hair: str | None
    scene: str


def prompts() -> list[Prompt]:
    """The sixty prompts, each with its place as seed."""
    combinations = itertools.product(("woman", "man"), HAIR, SCENES)
    return [
        Prompt(f"a {person} with {hair} hair {SCENES[scene]}", hair, scene, seed)
        for seed, (person, hair, scene) in enumerate(combinations)
    ]


def hair_colour(picture: Picture, face: Face) -> Vector:
    """Median Lab colour (L 0–100) of a band above the forehead, as wide as half the face.

    The mesh ends at the top of the forehead; nearer to it than the band lie forehead and a fringe's shadow.
    """
    points = face.mesh.points[:, :2]
    top, bottom = points[10], points[152]
    up = (top - bottom) / np.linalg.norm(top - bottom)
    across = np.array([-up[1], up[0]])
    height = float(np.linalg.norm(top - bottom))
    steps, sides = np.meshgrid(np.linspace(0.14, 0.24, 12), np.linspace(-0.2, 0.2, 16))
    places = top + steps[..., None] * height * up + sides[..., None] * height * across
    x = np.clip(places[..., 0].round().astype(int), 0, picture.shape[1] - 1)
    y = np.clip(places[..., 1].round().astype(int), 0, picture.shape[0] - 1)
    lab = cv2.cvtColor(picture[y, x].astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    return np.asarray(np.median(lab.reshape(-1, 3).astype(np.float64), axis=0))


class Discriminant:
    """Quadratic discriminant analysis: one normal distribution a class, all classes equally likely.

    Source: Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2nd edition, section 4.3.
    """

    _FLOOR = 0.01
    """Share of all values' variance that is added to each class's own, so that a rare class is not too narrow."""

    def __init__(self, examples: Mapping[str, Sequence[Vector]]) -> None:
        """Learn from the examples of each class, at least two a class; ValueError when there are fewer."""
        if any(len(values) < 2 for values in examples.values()):
            raise ValueError("every class needs at least two examples")
        every = np.concatenate([np.stack(values) for values in examples.values()])
        floor = self._FLOOR * np.diag(every.var(axis=0))
        self._classes = [
            (name, np.mean(values, axis=0), np.cov(np.stack(values).T) + floor) for name, values in examples.items()
        ]

    def classify(self, value: Vector) -> str:
        """Return the class under which `value` is the most likely."""

        def likelihood(mean: Vector, covariance: Vector) -> float:
            away = value - mean
            return -float(away @ np.linalg.solve(covariance, away)) - float(np.linalg.slogdet(covariance)[1])

        return max(self._classes, key=lambda known: likelihood(*known[1:]))[0]


def scene_features(picture: Picture) -> Vector:
    """Mean colours of an 8 × 8 grid, the person in the middle left out, with their squares."""
    grid = cv2.resize(picture, (8, 8), interpolation=cv2.INTER_AREA).astype(np.float64) / 255
    outside = np.ones((8, 8), bool)
    outside[1:, 2:6] = False
    values = grid[outside].ravel()
    return np.concatenate([values, values**2, [1.0]])


class Judge:
    """Says what a picture shows, by colours learned from drawn pictures."""

    def __init__(self, analyser: FaceAnalyser) -> None:
        """Draw the pictures and learn from them; `ceiling` says how well it went."""
        self._analyser = analyser
        self._asked = {drawn: asked for asked, names in HAIR.items() for drawn in names}
        drawn = [s for s in (sample(DRAWN_SEED, i) for i in range(DRAWN)) if s.shot.scene in SCENES]
        known, unseen = drawn[:-HELD_OUT], drawn[-HELD_OUT:]
        names = list(SCENES)
        features = np.stack([scene_features(s.image) for s in known])
        truth = np.eye(len(names))[[names.index(s.shot.scene) for s in known]]
        ridge = features.T @ features + 0.1 * np.eye(features.shape[1])
        self._scenes = np.linalg.solve(ridge, features.T @ truth)
        colours: dict[str, list[Vector]] = {asked: [] for asked in HAIR}
        for s in known:
            faces = self._analyser.analyse(s.image, attributes=False)
            if len(faces) == 1 and s.person.hair_style != "bald":
                colours[self._asked[s.person.hair_colour]].append(hair_colour(s.image, faces[0]))
        self._hair = Discriminant(colours)
        verdicts = [(s, self.judge(s.image)) for s in unseen]
        haired = [(s, v) for s, v in verdicts if s.person.hair_style != "bald"]
        self.ceiling = {
            "one_face": float(np.mean([v.faces == 1 for _, v in verdicts])),
            "hair": float(np.mean([v.hair == self._asked[s.person.hair_colour] for s, v in haired])),
            "scene": float(np.mean([v.scene == s.shot.scene for s, v in verdicts])),
        }

    def judge(self, picture: Picture) -> Verdict:
        """Say what a picture H×W×3 shows."""
        faces = self._analyser.analyse(picture, attributes=False)
        scene = list(SCENES)[int((scene_features(picture) @ self._scenes).argmax())]
        if not faces:
            return Verdict(0, None, scene)
        return Verdict(len(faces), self._hair.classify(hair_colour(picture, faces[0])), scene)


def draw(model: QwenImageModel, mode: str, prompt: Prompt) -> Picture:
    """Draw the picture of a prompt."""
    request = resolve_request(model.profile, prompt=prompt.text, seed=prompt.seed, mode=mode)
    finished: list[Picture] = []

    def keep(event: object) -> None:
        if isinstance(event, ImageFinished):
            finished.append(event.pixels)

    generate(model.pipeline, model.decoder, request, CancelToken(), keep)
    return finished[0]


def report(asked: Sequence[Prompt], seen: Sequence[Verdict]) -> dict[str, float]:
    """The shares of pictures with one face, and with the hair and the scene that were asked for."""
    return {
        "one_face": float(np.mean([v.faces == 1 for v in seen])),
        "hair": float(np.mean([v.hair == p.hair for p, v in zip(asked, seen, strict=True)])),
        "scene": float(np.mean([v.scene == p.scene for p, v in zip(asked, seen, strict=True)])),
    }


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", default="full")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--sheet", type=Path, help="write the sixty pictures here, as one PNG")
    arguments = parser.parse_args()
    judge = Judge(FaceAnalyser(WEIGHTS / "faces", threads=arguments.threads))
    print("judges on drawn pictures:", judge.ceiling)
    model = load_model(load_profile("miniature"), weights_dir=WEIGHTS)
    asked = prompts()
    pictures = [draw(model, arguments.mode, prompt) for prompt in asked]
    verdicts = [judge.judge(picture) for picture in pictures]
    figures = report(asked, verdicts)
    print(f"{arguments.mode} mode:", figures)
    if arguments.json:
        arguments.json.write_text(json.dumps({"ceiling": judge.ceiling, arguments.mode: figures}, indent=2) + "\n")
    if arguments.sheet:
        rows = [np.hstack(pictures[i : i + 12]) for i in range(0, len(pictures), 12)]
        Image.fromarray(np.vstack(rows)).save(arguments.sheet)


if __name__ == "__main__":
    main()
