"""A judge of the miniature's pictures for ``likeness compare --judge "python -m bench.judge"``.

It reads a line of JSON a picture, ``{"file", "prompt"}``, and writes for each which share of the scene and the hair's
colour that the prompt names its picture shows. It sees them as `bench.adherence` does, and knows nothing of how a
picture was made; what a prompt names beside them it does not see. Learning from drawn pictures takes a minute.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from bench.adherence import HAIR, SCENES, WEIGHTS, Judge, Verdict
from core.faces.analyser import FaceAnalyser


class UnknownWords(ValueError):
    """The prompt names nothing that the judge can see."""


def asked_of(prompt: str) -> tuple[str | None, str | None]:
    """Return the hair's colour and the scene that a prompt names. Raises UnknownWords when it names neither."""
    hair = next((colour for colour in HAIR if f"{colour} hair" in prompt), None)
    scene = next((name for name, words in SCENES.items() if words in prompt), None)
    if hair is None and scene is None:
        raise UnknownWords(f"{prompt!r} names no scene and no hair that this judge knows: {', '.join(SCENES.values())}")
    return hair, scene


def share_shown(prompt: str, verdict: Verdict) -> float:
    """Return which share of what the prompt names is there, 0 to 1. Raises UnknownWords."""
    hair, scene = asked_of(prompt)
    seen = [verdict.hair == hair] if hair is not None else []
    if scene is not None:
        seen.append(verdict.scene == scene)
    return sum(seen) / len(seen)


def scores(lines: Iterable[str], judge: Judge) -> Iterator[float]:
    """Yield the score of each line's picture. Raises UnknownWords, and OSError when a picture cannot be read."""
    for line in lines:
        asked = json.loads(line)
        with Image.open(asked["file"]) as opened:
            picture = np.asarray(opened.convert("RGB"))
        yield share_shown(asked["prompt"], judge.judge(picture))


def main() -> int:
    """Read standard input to its end, and write the scores; return the exit status."""
    lines = list(sys.stdin)
    try:
        for line in lines:
            asked_of(json.loads(line)["prompt"])
        for score in scores(lines, Judge(FaceAnalyser(WEIGHTS / "faces", threads=1))):
            print(score)
    except UnknownWords as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
