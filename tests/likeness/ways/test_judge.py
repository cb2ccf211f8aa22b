from __future__ import annotations

import asyncio
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from likeness.errors import InvalidRequest
from likeness.results import Picture
from likeness.ways.files import write_pictures
from likeness.ways.judge import Judge, JudgedPicture, JudgeError, judged
from likeness.ways.plan import WaysPlan
from likeness.ways.result import MadePicture, WayError, WaysResult, way_result
from tests.support.services import picture

PICTURES = [JudgedPicture(Path("a.png"), "a woman at sea"), JudgedPicture(Path("b.png"), "ein Café")]
_READ = "import json, sys; asked = [json.loads(line) for line in sys.stdin]; "


def judge_of(program: str) -> Judge:
    return Judge(shlex.join([sys.executable, "-c", _READ + program]))


async def test_a_judge_gets_file_and_words_and_answers_with_numbers() -> None:
    judge = judge_of("[print(float(a['file'].endswith('/a.png') and a['prompt'] == 'a woman at sea')) for a in asked]")
    assert await judge.judge(PICTURES) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("sys.exit('it broke')", "status 1: it broke"),
        ("print(0.5)", "1 numbers for 2 pictures"),
        ("print('good bad')", "numbers alone"),
        ("print(1, 1.5)", "1.5; adherence is 0 to 1"),
        ("print(1, 'nan')", "nan; adherence is 0 to 1"),
    ],
)
async def test_a_judge_that_does_not_answer_as_it_should_is_told(program: str, text: str) -> None:
    with pytest.raises(JudgeError, match=text):
        await judge_of(program).judge(PICTURES)


@pytest.mark.parametrize("command", ["", "no-such-program-of-anybody --x", "'open"])
def test_a_program_that_is_not_there_is_refused_at_once(command: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Judge(command)
    assert caught.value.field == "judge"


async def test_a_cancelled_judge_is_ended(tmp_path: Path) -> None:
    started = tmp_path / "started"
    judge = judge_of(f"open({str(started)!r}, 'w').close(); import time; time.sleep(600)")
    task = asyncio.create_task(judge.judge(PICTURES))
    while not started.exists():
        assert not task.done()
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):  # returns only when the program has ended
        await task


async def test_the_pictures_that_were_made_are_judged(tmp_path: Path) -> None:
    made = MadePicture("at sea", 1, "annax at sea", picture=Picture("image/png", 32, 48, "", picture()))
    missing = MadePicture("at sea", 2, "annax at sea", error=WayError("INTERNAL", "no"))
    result = WaysResult(way_result("plain", [made, made]), (way_result("lora", [missing, made]),), None)
    write_pictures(result, tmp_path)
    judge = judge_of("[print(0.25 if 'lora-1' in a['file'] and a['prompt'] == 'a woman at sea' else 1) for a in asked]")
    told = await judged(result, judge, WaysPlan(b"", person="a woman"), tmp_path)
    assert (told.plain.adherence, told.ways[0].adherence) == (1, 0.25)
    assert told.ways[0].pictures[0] == missing
    assert told.ways[0].pictures[1] == replace(made, adherence=0.25)
