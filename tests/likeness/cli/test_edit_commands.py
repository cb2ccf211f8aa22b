from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from likeness.cli import main
from likeness.errors import InvalidRequest, QueueFull
from tests.support.fake_editor import FakeEditor, running_editor
from tests.support.services import picture

Capture = pytest.CaptureFixture[str]


async def run(*arguments: str) -> int:
    """Run the command as a terminal would: in a thread without an event loop."""
    return await asyncio.to_thread(main, arguments)


@pytest.fixture
def editor() -> FakeEditor:
    return FakeEditor()


@pytest.fixture
async def server(editor: FakeEditor) -> AsyncIterator[str]:
    async with running_editor(editor) as address:
        yield f"--server={address}"


@pytest.fixture
def photo(tmp_path: Path) -> str:
    file = tmp_path / "me.png"
    file.write_bytes(picture())
    return str(file)


async def test_edit_writes_the_result(
    editor: FakeEditor, server: str, photo: str, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "night.webp"
    words = ("edit", "make it night", photo, photo, "--mask", photo, "--denoise", "0.4", "--seed", "3")
    assert await run(*words, "-o", str(out), server) == 0
    assert out.read_bytes()[8:12] == b"WEBP"
    assert "from noise 0.40" in capsys.readouterr().out
    request = editor.requests[0]
    assert (request.instruction, len(request.images), request.HasField("mask")) == ("make it night", 2, True)


async def test_scene_hands_the_scene_on(
    editor: FakeEditor, server: str, photo: str, tmp_path: Path, capsys: Capture
) -> None:
    words = ("scene", "on a beach", photo, "-n", "2", "--json", "--previews", str(tmp_path / "steps"))
    assert await run(*words, "-o", str(tmp_path / "a.png"), server) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["finished"]["instruction"] == "there: on a beach"
    assert len(document["files"]) == 2
    assert document["previews"]
    assert (editor.requests[0].scene, editor.requests[0].instruction) == ("on a beach", "")


async def test_refusals_have_their_exit_status(editor: FakeEditor, server: str, photo: str, tmp_path: Path) -> None:
    out = ("-o", str(tmp_path / "a.png"))
    for error, status in ((InvalidRequest("no", field="denoise"), 3), (QueueFull("full"), 4)):
        editor.error = error
        assert await run("edit", "x", photo, *out, server) == status
    assert await run("edit", "x", str(tmp_path / "missing.png"), *out, server) == 3
