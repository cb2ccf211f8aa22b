from __future__ import annotations

import io
import json

import pytest

from bench.adherence import Verdict
from bench.judge import UnknownWords, asked_of, main, share_shown


def test_the_words_that_the_judge_can_see_are_found() -> None:
    assert asked_of("annax woman with black hair in a café") == ("black", "cafe")
    assert asked_of("a man on the beach") == (None, "beach")
    with pytest.raises(UnknownWords, match="on the moon"):
        asked_of("a man on the moon")


def test_the_score_is_the_share_of_what_was_named() -> None:
    seen = Verdict(faces=1, hair="black", scene="beach")
    assert share_shown("a woman with black hair on the beach", seen) == 1
    assert share_shown("a woman with black hair in an office", seen) == 0.5
    assert share_shown("a woman in an office", seen) == 0
    assert share_shown("a woman on the beach", Verdict(faces=0, hair=None, scene="beach")) == 1


def test_words_that_it_does_not_know_end_it_before_it_learns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = json.dumps({"file": "a.png", "prompt": "a man on the moon"})
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{line}\n"))
    assert main() == 1
    assert "names no scene and no hair" in capsys.readouterr().err
