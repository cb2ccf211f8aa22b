from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from likeness.cli import main
from likeness.errors import ImageUnreadable, InvalidRequest, QueueFull
from tests.support.fake_editor import FakeEditor, running_editor
from tests.support.services import FakeFaceSwap, picture, running_faceswap, unused_address

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
def faceswap() -> FakeFaceSwap:
    return FakeFaceSwap()


@pytest.fixture
async def looking(faceswap: FakeFaceSwap) -> AsyncIterator[str]:
    async with running_faceswap(faceswap) as address:
        yield f"--faceswap-server={address}"


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
    editor: FakeEditor, server: str, looking: str, photo: str, tmp_path: Path, capsys: Capture
) -> None:
    words = ("scene", "on a beach", photo, "-n", "2", "--json", "--previews", str(tmp_path / "steps"), looking)
    assert await run(*words, "-o", str(tmp_path / "a.png"), server) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["finished"]["instruction"] == "there: on a beach"
    assert len(document["files"]) == 2
    assert document["previews"]
    assert (editor.requests[0].scene, editor.requests[0].instruction) == ("on a beach", "")


async def test_scene_refuses_a_picture_without_a_person(
    editor: FakeEditor, faceswap: FakeFaceSwap, server: str, looking: str, photo: str, tmp_path: Path, capsys: Capture
) -> None:
    words = ("scene", "on a beach", photo, "-o", str(tmp_path / "a.png"), server, looking)
    faceswap.faces = []
    assert await run(*words) == 3
    told = capsys.readouterr().err
    assert all(part in told for part in ("NO_FACE", photo, "images[0]"))
    faceswap.detect_error = ImageUnreadable("damaged", field="image.data")
    assert await run(*words) == 3
    assert "(images[0])" in capsys.readouterr().err
    assert await run("scene", " ", photo, "-o", str(tmp_path / "a.png"), server, looking) == 3
    assert "the scene is blank" in capsys.readouterr().err
    assert not editor.requests


async def test_scene_without_a_faceswap_service_says_that_nobody_has_looked(
    editor: FakeEditor, server: str, photo: str, tmp_path: Path, capsys: Capture
) -> None:
    away = unused_address()
    words = ("scene", "on a beach", photo, "-o", str(tmp_path / "a.png"), server, f"--faceswap-server={away}")
    assert await run(*words) == 0
    assert f"no faceswap service at {away}" in capsys.readouterr().err
    assert len(editor.requests) == 1


async def test_refusals_have_their_exit_status(editor: FakeEditor, server: str, photo: str, tmp_path: Path) -> None:
    out = ("-o", str(tmp_path / "a.png"))
    for error, status in ((InvalidRequest("no", field="denoise"), 3), (QueueFull("full"), 4)):
        editor.error = error
        assert await run("edit", "x", photo, *out, server) == status
    assert await run("edit", "x", str(tmp_path / "missing.png"), *out, server) == 3
