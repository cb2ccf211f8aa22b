"""Prompt adherence by a command of one's own: a vision model, a classifier, or people."""

from __future__ import annotations

import asyncio
import json
import math
import shlex
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from likeness.errors import InvalidRequest
from likeness.ways.files import picture_files
from likeness.ways.plan import WaysPlan
from likeness.ways.result import WaysResult, way_result

_LAST_CHARACTERS = 300


class JudgeError(RuntimeError):
    """The command failed, or did not answer as it should; the message says how."""


@dataclass(frozen=True)
class JudgedPicture:
    """What a judge is asked about."""

    file: Path
    prompt: str
    """What the picture should show."""


class Judge:
    """A command that reads a line of JSON a picture, ``{"file", "prompt"}``, and writes a number from 0 to 1 for each.

    It is started once for all pictures, without a shell, so that it may load a model.
    """

    def __init__(self, command: str) -> None:
        """Take the command line. Raises InvalidRequest when there is no such program."""
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise InvalidRequest(f"judge: {error}", field="judge") from error
        if not self._words or shutil.which(self._words[0]) is None:
            name = self._words[0] if self._words else ""
            raise InvalidRequest(f"judge: there is no program {name!r}", field="judge")

    @property
    def name(self) -> str:
        """What the program is called."""
        return Path(self._words[0]).name

    async def judge(self, pictures: Sequence[JudgedPicture]) -> list[float]:
        """Return the adherence of each picture, 0 to 1. Raises JudgeError; cancelling ends the command."""
        lines = [json.dumps({"file": str(item.file.absolute()), "prompt": item.prompt}) for item in pictures]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*self._words, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            answer, complaints = await process.communicate("".join(f"{line}\n" for line in lines).encode())
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if process.returncode:
            told = complaints.decode(errors="replace").strip()[-_LAST_CHARACTERS:]
            raise JudgeError(f"the judge ended with status {process.returncode}: {told}")
        return _scores(answer.decode(errors="replace"), len(pictures))


async def judged(result: WaysResult, judge: Judge, plan: WaysPlan, folder: Path) -> WaysResult:
    """Return a result with the adherence of its pictures, which `write_pictures` has put into ``folder``.

    Every way is judged by the plan's own words for the person. Raises JudgeError.
    """
    ways = (result.plain, *result.ways)
    asked = [
        JudgedPicture(file, plan.prompt(picture.scene))
        for way in ways
        for file, picture in zip(picture_files(way, folder), way.pictures, strict=True)
        if file is not None
    ]
    scores = iter(await judge.judge(asked))
    told = [
        way_result(
            way.name,
            [
                picture if picture.picture is None else replace(picture, adherence=next(scores))
                for picture in way.pictures
            ],
            set_up_seconds=way.set_up_seconds,
        )
        for way in ways
    ]
    return replace(result, plain=told[0], ways=tuple(told[1:]))


def _scores(answer: str, count: int) -> list[float]:
    lines = answer.split()
    try:
        scores = [float(line) for line in lines]
    except ValueError as error:
        raise JudgeError(f"the judge has to write numbers alone, one a line: {error}") from error
    if len(scores) != count:
        raise JudgeError(f"the judge wrote {len(scores)} numbers for {count} pictures")
    wrong = next((score for score in scores if not (math.isfinite(score) and 0 <= score <= 1)), None)
    if wrong is not None:
        raise JudgeError(f"the judge wrote {wrong:g}; adherence is 0 to 1")
    return scores
