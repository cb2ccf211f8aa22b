"""Draw edits for the miniature that edits: pictures of invented people, instructions, and what they ask for.

    python -m weights.recipe.edit_pairs --out DIR --count 18000 --seed 5 --workers 32

A session is three pictures, and the edits that lead from one to another: a person, the same one in a new picture, and
the first picture with something changed; or two persons and both together. Session `i` depends on the seed and `i`
alone. Each shard is an ``.npz`` (uint8 N×3×H×W×3 ``pictures``, N×3×112×112×3 ``small`` as the vision tower sees them,
float32 N×3×2×4 ``face_boxes``) beside a ``.jsonl`` (per session: who is on each picture in which shot, and the edits).
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from weights.recipe import edit_pairs_words as words
from weights.recipe.draw import DEFOCUS, Picture, draw, face_box
from weights.recipe.figure import figure
from weights.recipe.people import (
    CLOTHES,
    CLOTHES_COLOURS,
    HAIR_COLOURS,
    SCENES,
    Person,
    Shot,
    sample_person,
    sample_shot,
)
from weights.recipe.scenes import scene

Box = tuple[float, float, float, float]
Seen = tuple[tuple[Person, Shot], ...]
"""Who is on a picture, from the left, each with the shot."""
SHARES = {"scene": 0.6, "background": 0.1, "clothes": 0.08, "colour": 0.1, "nothing": 0.12}
"""How often each kind of edit of one picture is trained."""
CHANGES = ("background", "clothes", "colour")
CHANGE_ODDS = (0.4, 0.25, 0.35)
TOGETHER = 0.3
"""Share of sessions with two persons."""
ASIDE = 0.23
"""How far each of two persons stands from the middle, as a share of the width."""
NO_BOX: Box = (0.0, 0.0, 0.0, 0.0)
VISION_SIDE = 112
"""Side of the picture that the vision tower sees."""
SHARD = 250


@dataclass(frozen=True)
class Edit:
    """One example: what to change, by the places of a session's pictures."""

    kind: str
    references: tuple[int, ...]
    """"Picture 1" first."""
    target: int
    instructions: tuple[str, ...]
    """The same wish in several wordings."""


@dataclass(frozen=True)
class Session:
    """Three pictures, and the edits between them."""

    pictures: tuple[Picture, ...]
    """h×w×3 uint8 RGB."""
    seen: tuple[Seen, ...]
    """Who is on each picture."""
    face_boxes: tuple[tuple[Box, Box], ...]
    """Of each picture, as shares of width and height; all 0 where there is no second face."""
    edits: tuple[Edit, ...]


def sample_session(seed: int, index: int, size: tuple[int, int] = (256, 256)) -> Session:
    """The session that belongs to `seed` and `index`; `size` is height and width."""
    rng = np.random.default_rng((seed, index, 3))
    return _together(rng, size) if rng.random() < TOGETHER else _alone(rng, size)


def _alone(rng: np.random.Generator, size: tuple[int, int]) -> Session:
    person = sample_person(rng)
    first = sample_shot(rng, person)
    # Nothing of the words says how to stand, so the pose stays: with one at random, faces came out as the mean of many.
    second = replace(first, scene=str(rng.choice([name for name in SCENES if name != first.scene])))
    kind = str(rng.choice(CHANGES, p=CHANGE_ODDS))
    changed, shot, forth, back = _change(rng, kind, person, first)
    people = ((person, first), (person, second), (changed, shot))
    return Session(
        pictures=tuple(draw(who, how, size) for who, how in people),
        seen=tuple((pair,) for pair in people),
        face_boxes=tuple((face_box(who, how, size), NO_BOX) for who, how in people),
        edits=(
            Edit("scene", (0,), 1, words.scene_wordings(rng, second.scene, 1)),
            Edit("scene", (1,), 0, words.scene_wordings(rng, first.scene, 1)),
            Edit(kind, (0,), 2, forth),
            Edit(kind, (2,), 0, back),
            Edit("nothing", (1,), 1, words.filled(rng, words.NOTHING)),
        ),
    )


def _change(
    rng: np.random.Generator, kind: str, person: Person, shot: Shot
) -> tuple[Person, Shot, tuple[str, ...], tuple[str, ...]]:
    """Change one thing of a picture: who and how it is then, and the instructions there and back."""
    if kind == "background":
        after = replace(shot, scene=str(rng.choice([name for name in SCENES if name != shot.scene])))
        texts = [words.filled(rng, words.BACKGROUND, scene=one.scene) for one in (after, shot)]
        return person, after, texts[0], texts[1]
    colours = [name for name in CLOTHES_COLOURS if name != shot.clothes_colour]
    if kind == "clothes":
        names = [name for name in CLOTHES if name != shot.clothes and (name != "dress" or person.gender == "woman")]
        after = replace(shot, clothes=str(rng.choice(names)), clothes_colour=str(rng.choice(colours)))
        texts = [
            words.filled(rng, words.CLOTHES, clothes=one.clothes, colour=one.clothes_colour) for one in (after, shot)
        ]
        return person, after, texts[0], texts[1]
    if person.hair_style != "bald" and rng.random() < 0.5:
        other = str(rng.choice([name for name in HAIR_COLOURS if name != person.hair_colour]))
        dyed = replace(person, hair_colour=other)
        texts = [words.filled(rng, words.HAIR_COLOUR, colour=one.hair_colour) for one in (dyed, person)]
        return dyed, shot, texts[0], texts[1]
    after = replace(shot, clothes_colour=str(rng.choice(colours)))
    texts = [
        words.filled(rng, words.CLOTHES_COLOUR, clothes=one.clothes, colour=one.clothes_colour) for one in (after, shot)
    ]
    return person, after, texts[0], texts[1]


def _together(rng: np.random.Generator, size: tuple[int, int]) -> Session:
    persons = (sample_person(rng), sample_person(rng))
    before = (sample_shot(rng, persons[0]), sample_shot(rng, persons[1]))
    common = str(rng.choice(SCENES))
    after = (replace(before[0], scene=common), replace(before[1], scene=common))
    target, boxes = draw_together(persons, after, size)
    alone = tuple(zip(persons, before, strict=True))
    return Session(
        pictures=(*(draw(person, shot, size) for person, shot in alone), target),
        seen=(*((pair,) for pair in alone), tuple(zip(persons, after, strict=True))),
        face_boxes=(*((face_box(person, shot, size), NO_BOX) for person, shot in alone), boxes),
        edits=(Edit("together", (0, 1), 2, words.scene_wordings(rng, common, 2)),),
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


def smaller(picture: Picture) -> Picture:
    """Bring a picture to the vision tower's size, by Lanczos as the pipeline does."""
    resized = Image.fromarray(picture).resize((VISION_SIDE, VISION_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(resized)


def _shard(job: tuple[int, int, int, int, str]) -> int:
    seed, start, count, size, folder = job
    cv2.setNumThreads(1)
    sessions = [sample_session(seed, index, (size, size)) for index in range(start, start + count)]
    file = Path(folder) / f"{start:07d}.npz"
    with file.with_suffix(".jsonl").open("w", encoding="utf-8") as out:
        for session in sessions:
            seen = [[[asdict(person), asdict(shot)] for person, shot in one] for one in session.seen]
            row = {"seen": seen, "edits": [asdict(edit) for edit in session.edits]}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    unfinished = file.with_suffix(".part")
    with unfinished.open("wb") as stream:
        np.savez(
            stream,
            pictures=np.stack([np.stack(session.pictures) for session in sessions]),
            small=np.stack([np.stack([smaller(one) for one in session.pictures]) for session in sessions]),
            face_boxes=np.array([session.face_boxes for session in sessions], np.float32),
        )
    # Whoever reads while others still draw sees whole shards alone.
    os.replace(unfinished, file)
    return len(sessions)


def sheet(seed: int, count: int, size: int = 256) -> Picture:
    """A contact sheet: a row a session, uint8 RGB."""
    return np.vstack([np.hstack(sample_session(seed, index, (size, size)).pictures) for index in range(count)])


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="weights.recipe.edit_pairs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder for the shards")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of --count sessions here")
    parser.add_argument("--count", type=int, default=8, help="sessions of three pictures")
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
        # What a run that was cut has drawn is kept.
        left = [job for job in jobs if not (args.out / f"{job[1]:07d}.npz").exists()]
        done = args.count - sum(job[2] for job in left)
        with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
            for drawn in pool.map(_shard, left):
                done += drawn
                print(f"{done}/{args.count}", flush=True)


if __name__ == "__main__":
    main()
