from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from likeness.cli import main
from likeness.errors import DeadlineExceeded, Internal, LikenessError, NoFace, QueueFull
from tests.likeness.conftest import Deployment
from tests.support.services import picture, unused_address

Capture = pytest.CaptureFixture[str]


async def run(*arguments: str) -> int:
    """Run the command as a terminal would: in a thread without an event loop."""
    return await asyncio.to_thread(main, arguments)


async def test_generate_writes_the_picture(deployment: Deployment, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "a.jpg"
    status = await run("generate", "a café", "-o", str(out), "--seed", "3", "--server", deployment.generator_address)
    assert status == 0
    assert out.read_bytes().startswith(b"\xff\xd8")
    captured = capsys.readouterr()
    assert "seed 3" in captured.out
    assert captured.err == ""  # no terminal, no progress bar


async def test_several_pictures_get_a_number(deployment: Deployment, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "a.png"
    server = deployment.generator_address
    assert await run("generate", "p", "-n", "2", "-o", str(out), "--json", "--server", server) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"] == [str(tmp_path / "a-1.png"), str(tmp_path / "a-2.png")]
    assert document["finished"]["seed"] == 42
    assert "data" not in document["pictures"][0]["picture"]


async def test_faceswap_writes_the_picture(deployment: Deployment, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "t.png").write_bytes(picture())
    out = tmp_path / "out.png"
    server = deployment.faceswap_address
    status = await run(
        "faceswap", str(tmp_path / "t.png"), str(tmp_path / "t.png"), "-o", str(out), "--no-restore", "--server", server
    )
    assert status == 0
    assert "identity 0.04 → 0.61" in capsys.readouterr().out
    assert deployment.faceswap.swaps[0].restore_face is False


async def test_faces_lists_them(deployment: Deployment, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "t.png").write_bytes(picture())
    assert await run("faces", str(tmp_path / "t.png"), "--server", deployment.faceswap_address) == 0
    assert "face 0: 120×144" in capsys.readouterr().out


async def test_capabilities_are_json(deployment: Deployment, capsys: Capture) -> None:
    servers = (f"--generator-server={deployment.generator_address}", f"--faceswap-server={deployment.faceswap_address}")
    assert await run("capabilities", *servers) == 0
    assert json.loads(capsys.readouterr().out)["faceswap"]["engines"] == ["mesh"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NoFace("no face", field="reference_image"), 3),
        (QueueFull("full", retry_after_seconds=4), 4),
        (DeadlineExceeded("too late"), 5),
        (Internal("a fault"), 1),
    ],
)
async def test_errors_are_told_and_have_their_status(
    deployment: Deployment, capsys: Capture, tmp_path: Path, error: LikenessError, status: int
) -> None:
    deployment.generator.error = error
    out = str(tmp_path / "a.png")
    assert await run("generate", "p", "--json", "-o", out, "--server", deployment.generator_address) == status
    captured = capsys.readouterr()
    assert error.message in captured.err
    assert json.loads(captured.out)["reason"] == error.reason
    assert "Traceback" not in captured.err


async def test_a_server_that_is_down_is_status_4(capsys: Capture, tmp_path: Path) -> None:
    address = unused_address()
    assert await run("generate", "p", "-o", str(tmp_path / "a.png"), "--server", address) == 4
    error = capsys.readouterr().err
    assert "cannot be reached" in error
    assert address in error


async def test_files_that_cannot_be_used_are_told_before_the_work(
    deployment: Deployment, tmp_path: Path, capsys: Capture
) -> None:
    server = deployment.generator_address
    assert await run("generate", "p", "-o", str(tmp_path / "no" / "a.png"), "--server", server) == 3
    assert not deployment.generator.requests
    assert await run("faces", str(tmp_path / "none.png"), "--server", deployment.faceswap_address) == 3
    assert "none.png" in capsys.readouterr().err


async def test_wrong_usage_is_status_2() -> None:
    with pytest.raises(SystemExit) as ended:
        await run("draw")
    assert ended.value.code == 2
