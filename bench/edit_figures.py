"""Measures the miniature that edits: scene, hair and skin, identity, shift, and faces that are locked.

python -m bench.edit_figures [--mode full] [--denoise 0.7] [--json FILE] [--sheet FILE]

Pictures of invented people that no training has seen go into scenes they aren't in; `bench.edit_judge` measures the
results. Beside each figure stands its ceiling, which is the drawing script's own picture of the same person there, and
what a random person gets. A result without exactly one face has neither hair, skin nor likeness: it counts as wrong,
and its identity as a random person's. ``--ceiling`` measures the ceilings alone and needs no model.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from bench.adherence import SCENES
from bench.edit_judge import (
    Limits,
    Pair,
    Picture,
    SceneJudge,
    Subject,
    difference,
    displacement,
    draw_pairs,
    identity,
    limits_of,
    look,
    ranked_first,
)
from bench.report import machine
from core.faces import FaceAnalyser
from core.qwen.editing.conditioning import PictureConditioner
from core.qwen.editing.request import resolve_edit
from core.qwen.editing.scene import compose_scene
from core.qwen.loading import QwenImageModel, load_model
from core.qwen.profile import load_profile
from core.qwen.request import resolve_request
from core.qwen.sampling import ImageFinished, generate
from core.runtime.cancellation import CancelToken
from core.runtime.images import decode_image
from likeness.errors import LikenessError
from services.faceswap.engines.mesh import MeshEngine

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "examples" / "reference.jpg"
SEED = 8_675_309
"""Of people and scenes; the training draws with others."""
NOTHING = "Change nothing"


class Editor:
    """A loaded model that edits as the service does."""

    def __init__(self, model: QwenImageModel, mode: str, denoise: float | None) -> None:
        """Edit in ``mode``, from so much noise; None for the profile's own."""
        self._model, self._mode, self._denoise = model, mode, denoise
        self._condition = PictureConditioner(model.pipeline)

    def edit(self, pictures: Sequence[Picture], words: str, *, seed: int) -> Picture:
        """Edit pictures."""
        model = self._model
        draft = resolve_request(model.profile, prompt=words, seed=seed, mode=self._mode)
        request = resolve_edit(
            model.profile, draft, scheduler=model.pipeline.scheduler, images=pictures, denoise=self._denoise
        )
        finished: list[Picture] = []

        def keep(event: object) -> None:
            if isinstance(event, ImageFinished):
                finished.append(event.pixels)

        generate(model.pipeline, model.decoder, request, CancelToken(), keep, condition=self._condition)
        return finished[0]

    def put_into(self, pictures: Sequence[Picture], scene: str, *, seed: int) -> Picture:
        """Put the persons of pictures into one of the judge's scenes, by the profile's own words."""
        editing = self._model.profile.editing
        assert editing is not None
        return self.edit(pictures, compose_scene(editing.scene, SCENES[scene], len(pictures)), seed=seed)


def figures_of(
    pairs: Sequence[Pair],
    results: Sequence[Subject | None],
    scenes_right: Sequence[bool],
    distractors: Sequence[Subject],
    limits: Limits,
) -> dict[str, float]:
    """Return the figures of one result for each pair; None is a result without exactly one face."""
    random = random_identity(pairs)
    found = [(pair, result) for pair, result in zip(pairs, results, strict=True) if result is not None]
    hair = [difference(pair.reference.hair, result.hair) <= limits.hair for pair, result in found]
    skin = [difference(pair.reference.skin, result.skin) <= limits.skin for pair, result in found]
    first = [ranked_first(result, pair.reference, distractors) for pair, result in found]
    likeness = [identity(pair.reference, result) for pair, result in found]
    likeness += [random] * (len(pairs) - len(found))
    count = len(pairs)
    return {
        "one_face": len(found) / count,
        "scene": float(np.mean(scenes_right)),
        "hair_kept": sum(hair) / count,
        "skin_kept": sum(skin) / count,
        "ranked_first": sum(first) / count,
        "identity": float(np.mean(likeness)),
        "identity_gain": float(np.mean(likeness)) - random,
    }


def random_identity(pairs: Sequence[Pair]) -> float:
    """Return the mean identity of a reference and another person's picture."""
    others = [*pairs[1:], pairs[0]]
    return float(np.mean([identity(pair.reference, other.again) for pair, other in zip(pairs, others, strict=True)]))


def ceilings(
    pairs: Sequence[Pair], judge: SceneJudge, distractors: Sequence[Subject], limits: Limits
) -> dict[str, dict[str, float]]:
    """Return the figures of the drawing script's own pictures, and those of random persons."""
    right = [judge.name(pair.again.picture) == pair.scene_again for pair in pairs]
    others = [pair.again for pair in (*pairs[1:], pairs[0])]
    return {
        "ceiling": figures_of(pairs, [pair.again for pair in pairs], right, distractors, limits),
        "random_person": figures_of(pairs, others, right, distractors, limits),
    }


def measure_shift(analyser: FaceAnalyser, editor: Editor, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return how far an edit that changes nothing moves the features, in per cent of the width."""
    moved: list[dict[str, float] | None] = []
    for seed, pair in enumerate(pairs):
        result = look(analyser, editor.edit([pair.reference.picture], NOTHING, seed=seed))
        width = pair.reference.picture.shape[1]
        moved.append(None if result is None else displacement(pair.reference.face, result.face, width))
    found = [one for one in moved if one is not None]
    return {
        "pictures": len(moved),
        "one_face": len(found) / len(moved),
        "within_1_percent": sum(max(one.values()) <= 1 for one in found) / len(moved),
        "largest_percent": max((max(one.values()) for one in found), default=None),
        "mean_percent": float(np.mean([list(one.values()) for one in found])) if found else None,
    }


def measure_lock(analyser: FaceAnalyser, editor: Editor, scenes: Sequence[str]) -> tuple[dict[str, Any], list[Picture]]:
    """Put the examples' portrait into scenes and swap its face into the results, as the gateway does."""
    photo = decode_image(PHOTO.read_bytes(), field="photo")
    reference = look(analyser, photo)
    assert reference is not None
    engine = MeshEngine(analyser.canonical)
    before, after, refused, shown = [], [], [], []
    for seed, scene in enumerate(scenes):
        drawn = editor.put_into([photo], scene, seed=seed)
        target = look(analyser, drawn)
        if target is None:
            refused.append("the drawn picture has not exactly one face")
            continue
        before.append(identity(reference, target))
        try:
            swapped = engine.swap(drawn, target.face, photo, reference.face).image
        except LikenessError as error:
            refused.append(error.message)
            continue
        shown.append(swapped)
        again = look(analyser, swapped)
        after.append(0.0 if again is None else identity(reference, again))
    return {
        "pictures": len(scenes),
        "refused": refused,
        "identity_before": float(np.mean(before)) if before else None,
        "identity_after": float(np.mean(after)) if after else None,
    }, shown


def measure_together(
    analyser: FaceAnalyser, editor: Editor, pairs: Sequence[Pair]
) -> tuple[dict[str, float], list[Picture]]:
    """Put two persons into one scene: are there two faces, each more like its own reference than like the other's?"""
    two, matched, shown = 0, 0, []
    couples = list(zip(pairs[::2], pairs[1::2], strict=False))
    for seed, couple in enumerate(couples):
        drawn = editor.put_into([pair.reference.picture for pair in couple], couple[0].scene_again, seed=seed)
        shown.append(drawn)
        faces = analyser.analyse(drawn, attributes=False)
        if len(faces) == 2:
            two += 1
            left, right = sorted(faces, key=lambda face: float(face.detection.box[0]))
            scores = np.array(
                [[float(face.embedding @ pair.reference.face.embedding) for pair in couple] for face in (left, right)]
            )
            matched += bool(scores[0, 0] + scores[1, 1] > scores[0, 1] + scores[1, 0])
    count = max(1, len(couples))
    return {"couples": len(couples), "two_faces": two / count, "each_its_own": matched / count}, shown


def tile(picture: Picture, side: int = 256) -> Picture:
    """Return a picture inside a square."""
    return np.asarray(ImageOps.pad(Image.fromarray(picture), (side, side)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="miniature-edit", help="a shipped profile or a file (%(default)s)")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights", help="folder of the profile's (%(default)s)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--mode", default="full")
    parser.add_argument("--denoise", type=float, help="the profile's own when left out")
    parser.add_argument("--pairs", type=int, default=40, help="people (%(default)s)")
    parser.add_argument("--distractors", type=int, default=20)
    parser.add_argument("--shift-pictures", type=int, default=12)
    parser.add_argument("--locked", type=int, default=6, help="scenes for the photo")
    parser.add_argument("--couples", type=int, default=8)
    parser.add_argument("--judge-pictures", type=int, default=700, help="drawn for the judge of scenes (%(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ceiling", action="store_true", help="the ceilings alone")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path, help="reference, the drawing script's picture, the result; a PNG")
    args = parser.parse_args(arguments)
    analyser = FaceAnalyser(threads=args.threads)
    pairs = draw_pairs(analyser, SEED, args.pairs)
    distractors = [pair.reference for pair in draw_pairs(analyser, SEED + 1, args.distractors)]
    judge = SceneJudge(SEED + 2, args.judge_pictures)
    limits = limits_of(pairs)
    document: dict[str, Any] = {
        **machine("torch", "diffusers"),
        "pairs": len(pairs),
        "distractors": len(distractors),
        "limits": vars(limits),
        **ceilings(pairs, judge, distractors, limits),
    }
    if not args.ceiling:
        model = load_model(load_profile(args.profile), weights_dir=args.weights, device=args.device)
        editor = Editor(model, args.mode, args.denoise)
        drawn = [
            editor.put_into([pair.reference.picture], pair.scene_again, seed=seed) for seed, pair in enumerate(pairs)
        ]
        right = [judge.name(picture) == pair.scene_again for picture, pair in zip(drawn, pairs, strict=True)]
        found = figures_of(pairs, [look(analyser, picture) for picture in drawn], right, distractors, limits)
        found["gain_of_ceiling"] = found["identity_gain"] / document["ceiling"]["identity_gain"]
        scenes = [list(SCENES)[place % len(SCENES)] for place in range(args.locked)]
        locked, shown = measure_lock(analyser, editor, scenes)
        together, groups = measure_together(analyser, editor, pairs[: 2 * args.couples])
        document |= {
            "model": vars(model.description),
            "mode": args.mode,
            "denoise": args.denoise,
            "result": found,
            "shift": measure_shift(analyser, editor, pairs[: args.shift_pictures]),
            "locked": locked,
            "together": together,
        }
        if args.sheet:
            rows = [[pair.reference.picture, pair.again.picture, one] for pair, one in zip(pairs, drawn, strict=True)]
            rows += [[one, *[np.zeros_like(one)] * 2] for one in (*shown, *groups)]
            Image.fromarray(np.vstack([np.hstack([tile(one) for one in row]) for row in rows])).save(args.sheet)
    _print(document)
    if args.json:
        args.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _print(document: dict[str, Any]) -> None:
    columns = [name for name in ("ceiling", "random_person", "result") if name in document]
    print(f"{'':16}" + "".join(f"{name:>15}" for name in columns))
    for name in document["ceiling"]:
        print(f"{name:16}" + "".join(f"{document[column][name]:15.3f}" for column in columns))
    if "result" in document:
        print(f"identity gain: {document['result']['gain_of_ceiling']:.0%} of the ceiling's")
        for name in ("shift", "locked", "together"):
            print(f"{name}: {json.dumps(document[name])}")


if __name__ == "__main__":
    main()
