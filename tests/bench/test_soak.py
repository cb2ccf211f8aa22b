from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.soak import parse_options, soak
from bench.soak_outcome import OK, Case, Outcome
from bench.soak_run import Checkpoint, memory_is_flat
from tests.support.checkpoint import build_checkpoint, write_profile


async def test_forty_random_requests_end_as_they_should(tmp_path: Path) -> None:
    profile = write_profile(build_checkpoint(tmp_path / "checkpoint"), tmp_path / "test.toml")
    options = parse_options(["--requests", "40", "--seed", "3", "--threads", "1", "--profile-file", str(profile)])
    figures = await soak(options)
    assert figures["wrong"] == []
    assert figures["warnings_in_log"] == []
    assert set(figures["outcomes"]) == {"warm-up", "plain", "lora", "leaving", "late", "bad", "probe"}
    assert figures["outcomes"]["plain"].keys() == {OK}
    tensors = [checkpoint["objects"] for checkpoint in figures["checkpoints"]]
    assert min(tensors) > 0
    assert tensors[-1] <= max(tensors[:3])


def points(tensors: list[int], rss: list[float]) -> list[Checkpoint]:
    return [Checkpoint(index, mib, count) for index, (count, mib) in enumerate(zip(tensors, rss, strict=True))]


def test_memory_that_settles_is_flat() -> None:
    choice = random.Random(0)
    rss = [500.0, 700.0, *(800 + choice.uniform(-10, 10) for _ in range(8))]
    assert memory_is_flat(points([100, 120, *[130] * 8], rss))


@pytest.mark.parametrize(
    ("tensors", "rss"),
    [
        ([100] * 9 + [101], [800.0] * 10),
        ([100] * 10, [800.0 + 15 * index for index in range(10)]),
    ],
    ids=["one tensor more", "resident memory that goes on growing"],
)
def test_memory_that_grows_is_told(tensors: list[int], rss: list[float]) -> None:
    assert not memory_is_flat(points(tensors, rss))


def test_an_outcome_is_right_only_as_its_case_says_and_without_faults() -> None:
    case = Case("plain", {}, frozenset((OK,)))
    assert Outcome(case, OK, 0.1).right
    assert not Outcome(case, "INTERNAL", 0.1).right
    assert not Outcome(case, OK, 0.1, faults=("a picture of one colour",)).right
