"""Draw pairs for the miniature that edits: pictures of invented people, an instruction, and what it asks for.

    python -m weights.recipe.edit_pairs --out DIR --count 24000 --seed 5 --workers 32

Pair `i` depends on the seed and `i` alone. Each shard is an ``.npz`` (uint8 N×R×H×W×3 ``references``, N×H×W×3
``targets``, float32 N×2×4 ``face_boxes`` of the targets) beside a ``.jsonl`` (per pair: kind, instructions, scene,
persons). ``one-NNNN`` has pairs with one reference, ``two-NNNN`` with two.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from core.qwen.editing.scene import compose_scene
from core.qwen.profile import load_profile
from weights.recipe.captions import SCENE_WORDS
from weights.recipe.draw import DEFOCUS, SHARD, Picture, draw, face_box
from weights.recipe.figure import figure
from weights.recipe.people import CLOTHES, CLOTHES_COLOURS, SCENES, Person, Shot, sample_person, sample_shot
from weights.recipe.scenes import scene

Box = tuple[float, float, float, float]
KINDS = ("scene", "background", "clothes", "nothing")
"""What becomes of one person: a new picture elsewhere, the same picture elsewhere, other clothes, the same picture."""
ODDS = (0.62, 0.14, 0.14, 0.1)
TOGETHER = 0.25
"""Share of pairs with two persons."""
WORDINGS = 4
"""Instructions a pair."""
ASIDE = 0.23
"""How far each of two persons stands from the middle, as a share of the width."""
NO_BOX: Box = (0.0, 0.0, 0.0, 0.0)
FREE_SCENES = (
    "The person of Picture 1 {scene}",
    "Put the person of Picture 1 {scene}",
    "The same person {scene}",
    "Picture 1 {scene}, the same face and clothes",
)
FREE_TOGETHER = (
    "The persons of Picture 1 and Picture 2 together {scene}",
    "The person of Picture 1 and the person of Picture 2 {scene}",
    "Both persons {scene}",
)
BACKGROUNDS = ("Change the background: {scene}", "The same picture {scene}", "Only the background changes: {scene}")
OTHER_CLOTHES = ("Change the clothes to a {colour} {clothes}", "The same picture, wearing a {colour} {clothes}")
NOTHING = ("Change nothing", "Keep the picture as it is", "The same picture")


@dataclass(frozen=True)
class Pair:
    """One example of an edit."""

    kind: str
    references: tuple[Picture, ...]
    """h×w×3 uint8 RGB, "Picture 1" first."""
    target: Picture
    instructions: tuple[str, ...]
    """The same wish in several wordings."""
    face_boxes: tuple[Box, Box]
    """Of the target, as shares of width and height; all 0 where there is no second one."""
    scene: str
    """Of the target."""
    persons: tuple[Person, ...]


def sample_pair(seed: int, index: int, size: tuple[int, int] = (256, 256)) -> Pair:
    """The pair that belongs to `seed` and `index`."""
    rng = np.random.default_rng((seed, index, 3))
    return _together(rng, size) if rng.random() < TOGETHER else _alone(rng, size)


def _alone(rng: np.random.Generator, size: tuple[int, int]) -> Pair:
    person = sample_person(rng)
    before = sample_shot(rng, person)
    kind = str(rng.choice(KINDS, p=ODDS))
    after = before
    if kind == "scene":
        # Clothes are the person's, as the scene's instruction has it; everything else is a new picture's.
        after = replace(sample_shot(rng, person), clothes=before.clothes, clothes_colour=before.clothes_colour)
        wordings = _scene_wordings(rng, after.scene, 1)
    elif kind == "background":
        others = [name for name in SCENES if name != before.scene]
        after = replace(before, scene=str(rng.choice(others)))
        wordings = _filled(rng, BACKGROUNDS, scene=after.scene)
    elif kind == "clothes":
        names = [name for name in CLOTHES if name != "dress" or person.gender == "woman"]
        after = replace(before, clothes=str(rng.choice(names)), clothes_colour=str(rng.choice(list(CLOTHES_COLOURS))))
        wordings = tuple(
            str(rng.choice(OTHER_CLOTHES)).format(colour=after.clothes_colour, clothes=after.clothes)
            for _ in range(WORDINGS)
        )
    else:
        wordings = tuple(str(text) for text in rng.choice(NOTHING, WORDINGS))
    return Pair(
        kind=kind,
        references=(draw(person, before, size),),
        target=draw(person, after, size),
        instructions=wordings,
        face_boxes=(face_box(person, after, size), NO_BOX),
        scene=after.scene,
        persons=(person,),
    )


def _together(rng: np.random.Generator, size: tuple[int, int]) -> Pair:
    persons = (sample_person(rng), sample_person(rng))
    before = tuple(sample_shot(rng, person) for person in persons)
    common = sample_shot(rng, persons[0])
    after = tuple(
        replace(
            sample_shot(rng, person),
            scene=common.scene,
            seed=common.seed,
            light_x=common.light_x,
            light_y=common.light_y,
            warmth=common.warmth,
            clothes=shot.clothes,
            clothes_colour=shot.clothes_colour,
        )
        for person, shot in zip(persons, before, strict=True)
    )
    target, boxes = draw_together(persons, after, size)
    return Pair(
        kind="together",
        references=tuple(draw(person, shot, size) for person, shot in zip(persons, before, strict=True)),
        target=target,
        instructions=_scene_wordings(rng, common.scene, 2),
        face_boxes=boxes,
        scene=common.scene,
        persons=persons,
    )


def draw_together(
    persons: tuple[Person, ...], shots: tuple[Shot, ...], size: tuple[int, int]
) -> tuple[Picture, tuple[Box, Box]]:
    """Two persons side by side in the first one's scene, and their faces' boxes; the first one is on the left."""
    width = size[1]
    aside = round(ASIDE * width)
    back = scene(shots[0].scene, shots[0].seed, size).astype(np.float32) / np.float32(255)
    canvas = np.asarray(cv2.GaussianBlur(back, (0, 0), DEFOCUS * min(size)), np.float32)
    ambience = canvas.mean((0, 1))
    boxes: list[Box] = []
    for person, shot, shift in zip(persons, shots, (-aside, aside), strict=True):
        # Wide enough a framing that both shoulders are drawn whole before they are moved aside.
        wide = replace(shot, framing="half shot", zoom=0.3 * shot.zoom, x=0.0)
        front = np.roll(figure(person, wide, size, ambience), shift, axis=1)
        front[:, slice(None, shift) if shift > 0 else slice(shift, None)] = 0
        canvas = front[..., :3] + canvas * (1 - front[..., 3:])
        x0, y0, x1, y1 = face_box(person, wide, size)
        boxes.append((x0 + shift / width, y0, x1 + shift / width, y1))
    warm = np.array([1 + 0.02 * shots[0].warmth, 1, 1 - 0.03 * shots[0].warmth], np.float32)
    picture = np.asarray(np.clip(canvas * warm * 255 + 0.5, 0, 255), dtype=np.uint8)
    return picture, (boxes[0], boxes[1])


def _scene_wordings(rng: np.random.Generator, name: str, pictures: int) -> tuple[str, ...]:
    """The profile's own wording of a scene, and freer ones."""
    editing = load_profile("miniature-edit").editing
    assert editing is not None
    places = [str(rng.choice(SCENE_WORDS[name])) for _ in range(WORDINGS)]
    own = [compose_scene(editing.scene, place, pictures) for place in places[: WORDINGS // 2]]
    free = FREE_SCENES if pictures == 1 else FREE_TOGETHER
    return (*own, *(str(rng.choice(free)).format(scene=place) for place in places[WORDINGS // 2 :]))


def _filled(rng: np.random.Generator, texts: tuple[str, ...], scene: str) -> tuple[str, ...]:
    return tuple(str(rng.choice(texts)).format(scene=str(rng.choice(SCENE_WORDS[scene]))) for _ in range(WORDINGS))


def _shard(job: tuple[int, int, int, int, str]) -> int:
    seed, start, count, size, folder = job
    cv2.setNumThreads(1)
    pairs = [sample_pair(seed, index, (size, size)) for index in range(start, start + count)]
    for name, references in (("one", 1), ("two", 2)):
        chosen = [pair for pair in pairs if len(pair.references) == references]
        if not chosen:
            continue
        file = Path(folder) / f"{name}-{start:07d}"
        np.savez(
            file.with_suffix(".npz"),
            references=np.stack([np.stack(pair.references) for pair in chosen]),
            targets=np.stack([pair.target for pair in chosen]),
            face_boxes=np.array([pair.face_boxes for pair in chosen], np.float32),
        )
        with file.with_suffix(".jsonl").open("w", encoding="utf-8") as out:
            for pair in chosen:
                row = {
                    "kind": pair.kind,
                    "instructions": pair.instructions,
                    "scene": pair.scene,
                    "persons": [asdict(person) for person in pair.persons],
                }
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(pairs)


def sheet(seed: int, count: int, size: int = 256) -> Picture:
    """A contact sheet: a row a pair, its pictures and then the target, uint8 RGB."""
    rows = []
    for index in range(count):
        pair = sample_pair(seed, index, (size, size))
        blank = [np.zeros_like(pair.target)] * (2 - len(pair.references))
        rows.append(np.hstack([*pair.references, *blank, pair.target]))
    return np.vstack(rows)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="weights.recipe.edit_pairs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder for the shards")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of --count pairs here")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--size", type=int, default=256, help="side of the pictures, a multiple of 16")
    args = parser.parse_args(arguments)
    if args.out is None and args.sheet is None:
        parser.error("name --out, --sheet or both")
    if args.size % 16:
        parser.error("--size must be a multiple of 16")
    if args.sheet is not None:
        cv2.imwrite(str(args.sheet), sheet(args.seed, args.count, args.size)[..., ::-1])
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        length = max(1, min(SHARD, -(-args.count // max(args.workers, 1))))
        jobs = [
            (args.seed, start, min(length, args.count - start), args.size, str(args.out))
            for start in range(0, args.count, length)
        ]
        done = 0
        with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
            for drawn in pool.map(_shard, jobs):
                done += drawn
                print(f"{done}/{args.count}", flush=True)


if __name__ == "__main__":
    main()
