"""``likeness train`` and ``likeness jobs`` against a real trainer, whose runs have no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.likeness.cli.test_command import run
from tests.services.trainer.conftest import PHOTOS, serving_trainer
from tests.support.training_run import report_of

Capture = pytest.CaptureFixture[str]


def folder_of_photos(path: Path) -> Path:
    """Write a folder of photos, one of them with a caption."""
    path.mkdir()
    for number, data in enumerate(PHOTOS):
        (path / f"{number}.png").write_bytes(data)
    (path / "0.txt").write_text("in a café")
    (path / "notes.md").write_text("no photo")
    return path


async def test_a_folder_becomes_a_lora_that_is_listed_shown_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    photos = folder_of_photos(tmp_path / "anna")
    async with serving_trainer(tmp_path, monkeypatch) as trainer:
        server = ("--server", trainer.address)
        status = await run(
            "train", "create", "anna", str(photos), "--trigger-word", "ohwx", "--steps", "12",
            "--job", "first", "--watch", *server,
        )  # fmt: skip
        captured = capsys.readouterr()
        assert status == 0, captured.err
        assert "first  anna  succeeded, step 12 of 12 → anna:1" in captured.out
        assert "5 of 5 photos are used" in captured.out
        assert "training, step 12 of 12, loss" in captured.err
        assert "/lora-training/first/samples/" in captured.err
        assert "step 12, identity 0.600: /lora-training/first/samples/" in captured.out
        assert "scored step 12: score 0.700" in captured.err
        assert "step 12: score 0.700, identity 0.600, adherence 0.70, anna:1" in captured.out
        assert await run("jobs", "list", *server) == 0
        assert capsys.readouterr().out == "first  anna  succeeded, step 12 of 12 → anna:1\n"
        assert await run("jobs", "show", "first", "--json", *server) == 0
        assert json.loads(capsys.readouterr().out)["job"]["lora"]["version"] == 1
        assert await run("jobs", "publish", "first", "--step", "12", *server) == 0
        assert capsys.readouterr().out == "step 12 of first is anna:1\n"
        page = tmp_path / "photos.html"
        assert await run("jobs", "show", "first", "--report", str(page), *server) == 0
        assert page.read_text().count("data:image/jpeg;base64,") == 5
        capsys.readouterr()
        assert await run("jobs", "delete", "first", "--with-lora", *server) == 0
        assert capsys.readouterr().out == "removed first\n"
        assert await run("jobs", "show", "first", *server) == 3
        assert "TRAINING_JOB_NOT_FOUND" in capsys.readouterr().err
        assert await run("jobs", "forget", "anna", *server) == 0
        assert capsys.readouterr().out == "anna is forgotten: jobs none; versions of its LoRA none\n"


async def test_a_watched_job_that_fails_gives_the_status_of_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    photos = folder_of_photos(tmp_path / "anna")
    async with serving_trainer(tmp_path, monkeypatch) as trainer:
        (trainer.runs.path / "refuse").touch()
        create = ("train", "create", "anna", str(photos), "--trigger-word", "ohwx", "--job", "first")
        assert await run(*create, "--watch", "--server", trainer.address) == 3
        assert "PHOTOS_UNUSABLE" in capsys.readouterr().out
        assert await run("jobs", "show", "first", "--server", trainer.address) == 0


async def test_a_job_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    photos = folder_of_photos(tmp_path / "anna")
    async with serving_trainer(tmp_path, monkeypatch) as trainer:
        trainer.runs.allow(0)
        server = ("--server", trainer.address)
        create = ("train", "create", "anna", str(photos), "--trigger-word", "ohwx", "--job", "first", "--json")
        assert await run(*create, *server) == 0
        assert json.loads(capsys.readouterr().out)["job"]["image_count"] == 5
        assert await run("jobs", "cancel", "first", *server) == 0
        assert (await trainer.ended("first")).state == "cancelled"
        assert await run("jobs", "show", "first", "--tenant", "other", *server) == 3
        capsys.readouterr()
        assert await run("jobs", "forget", "anna", "--json", *server) == 0
        assert json.loads(capsys.readouterr().out)["forgotten"]["job_ids"] == ["first"]


async def test_a_dry_run_tells_what_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    photos = folder_of_photos(tmp_path / "anna")
    captions: list[str] = []

    def inspect(pictures: Any, spec: Any) -> Any:
        captions.extend(picture.caption for picture in pictures)
        return report_of([picture.name for picture in pictures])

    async with serving_trainer(tmp_path, monkeypatch, inspect=inspect) as trainer:
        status = await run(
            "train", "dry-run", "anna", str(photos), "--trigger-word", "ohwx", "--steps", "12",
            "--server", trainer.address, "--report", str(tmp_path / "photos.html"),
        )  # fmt: skip
    assert status == 0
    told = capsys.readouterr().out
    assert "5 of 5 photos would be used, 12 steps" in told
    assert "known once a job has been trained here" in told
    page = (tmp_path / "photos.html").read_text()
    assert "5 of 5 photos are used" in page
    assert f"{photos}/3.png" in page
    assert captions == ["in a café", "", "", "", ""]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none.png",), "none.png"),
        (("a.zip", "b.zip"), "zip"),
        (("{photos}", "--rank", "0"), "settings.rank"),
        (("{photos}", "--overrides", "{photos}/notes.md"), "overrides"),
        (("{photos}/0.png",), "4 to 100"),
    ],
)
async def test_what_can_not_be_trained_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, arguments: tuple[str, ...], words: str
) -> None:
    photos = folder_of_photos(tmp_path / "anna")
    given = [argument.format(photos=photos) for argument in arguments]
    async with serving_trainer(tmp_path, monkeypatch) as trainer:
        create = ("train", "create", "anna", *given, "--trigger-word", "ohwx")
        assert await run(*create, "--server", trainer.address) == 3
    assert words in capsys.readouterr().err
