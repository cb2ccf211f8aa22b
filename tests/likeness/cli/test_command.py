from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from likeness.cli import main
from likeness.errors import DeadlineExceeded, Internal, LikenessError, NoFace, QueueFull
from likeness.generator.v1 import generator_service_pb2 as pb2
from tests.likeness.conftest import Deployment
from tests.support.fake_editor import FakeEditor, running_editor
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


async def test_a_name_whose_ending_is_of_no_written_format_is_refused_before_the_work(
    deployment: Deployment, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "t.png").write_bytes(picture())
    photo, out = str(tmp_path / "t.png"), tmp_path / "a.gif"
    for command in (
        ("generate", "p", "--server", deployment.generator_address),
        ("faceswap", photo, photo, "--server", deployment.faceswap_address),
    ):
        assert await run(*command, "-o", str(out)) != 0
        told = capsys.readouterr().err
        assert "a.gif" in told
        assert ".png, .jpg, .jpeg, .webp" in told
    assert not deployment.faceswap.swaps
    assert not out.exists()
    assert await run("generate", "p", "-o", str(out), "--format", "png", "--server", deployment.generator_address) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


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


async def test_capabilities_are_text_or_json(deployment: Deployment, capsys: Capture) -> None:
    servers = (f"--generator-server={deployment.generator_address}", f"--faceswap-server={deployment.faceswap_address}")
    assert await run("capabilities", *servers) == 0
    text = capsys.readouterr().out
    assert "mode full: 4 steps" in text
    assert "at most 25° from the camera" in text
    assert await run("capabilities", "--json", *servers) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["faceswap"]["engines"] == ["mesh"]
    assert document["faceswap"]["max_reference_turn_degrees"] == 25


async def test_capabilities_tell_of_the_service_that_is_up(
    deployment: Deployment, unused_tcp_port: int, capsys: Capture
) -> None:
    servers = (f"--generator-server={deployment.generator_address}", f"--faceswap-server=127.0.0.1:{unused_tcp_port}")
    assert await run("capabilities", *servers) == 4
    told = capsys.readouterr()
    assert "mode full: 4 steps" in told.out
    assert "SERVICE_UNAVAILABLE" in told.err
    assert await run("capabilities", "--json", *servers) == 4
    assert json.loads(capsys.readouterr().out)["reason"] == "SERVICE_UNAVAILABLE"


async def test_capabilities_tell_of_the_editor(
    deployment: Deployment, unused_tcp_port: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = (f"--generator-server={deployment.generator_address}", f"--faceswap-server={deployment.faceswap_address}")
    async with running_editor(FakeEditor()) as address:
        assert await run("capabilities", f"--editor-server={address}", *servers) == 0
        assert "editor: likeness/fake-edit" in capsys.readouterr().out
        assert await run("capabilities", "--json", f"--editor-server={address}", *servers) == 0
        assert json.loads(capsys.readouterr().out)["editor"]["max_images"] == 4
    # One that was named has to be there; the usual address may be without.
    assert await run("capabilities", f"--editor-server=127.0.0.1:{unused_tcp_port}", *servers) == 4
    assert "SERVICE_UNAVAILABLE" in capsys.readouterr().err
    monkeypatch.setattr("likeness.client.DEFAULT_EDITOR_ADDRESS", f"127.0.0.1:{unused_tcp_port}")
    assert await run("capabilities", "--json", *servers) == 0
    assert json.loads(capsys.readouterr().out)["editor"] is None
    assert await run("capabilities", *servers) == 0
    assert "editor: none" in capsys.readouterr().out


async def test_capabilities_end_at_their_timeout(capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it never answers
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        servers = (f"--generator-server={address}", f"--faceswap-server={address}")
        assert await run("capabilities", "--timeout", "0.3", *servers) == 5
    assert "DEADLINE_EXCEEDED" in capsys.readouterr().err


async def test_identity_tells_how_alike_two_faces_are(deployment: Deployment, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    pictures = (str(tmp_path / "a.png"), str(tmp_path / "a.png"))
    assert await run("identity", *pictures, "--server", deployment.faceswap_address) == 0
    assert capsys.readouterr().out.startswith("identity 0.50")
    assert await run("identity", *pictures, "--json", "--server", deployment.faceswap_address) == 0
    assert json.loads(capsys.readouterr().out)["identity"] == 0.5


async def test_a_stored_answer_is_told_by_its_uri(
    deployment: Deployment, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.png").write_bytes(picture())
    swap = ("faceswap", "t.png", "t.png", "--store", "--min-score", "0.7", "--server", deployment.faceswap_address)
    assert await run(*swap) == 0
    assert capsys.readouterr().out.startswith("artifact://images/")
    request = deployment.faceswap.swaps[0]
    assert request.output.store
    assert request.min_score == pytest.approx(0.7)
    assert await run("generate", "p", "--store", "--server", deployment.generator_address) == 0
    assert capsys.readouterr().out.startswith("artifact://images/")
    assert os.listdir() == ["t.png"]
    with pytest.raises(SystemExit):
        await run(*swap, "-o", "a.png")


async def test_a_reader_that_goes_away_is_no_fault(deployment: Deployment) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "likeness.cli", "capabilities", "--json",
        f"--generator-server={deployment.generator_address}", f"--faceswap-server={deployment.faceswap_address}",
        stdout=(pipe := os.pipe())[1], stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(pipe[1])
    os.close(pipe[0])
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (141, b"")


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
    assert await run("generate", "p", "-o", str(tmp_path), "--server", server) == 3
    assert not deployment.generator.requests
    assert await run("faces", str(tmp_path / "none.png"), "--server", deployment.faceswap_address) == 3
    assert "none.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [("draw",), ("faces", "a.png", "--timeout", "nan"), ("faces", "a.png", "--timeout", "-1")],
    ids=lambda arguments: arguments[-1],
)
async def test_wrong_usage_is_status_2(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        await run(*arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize(("option", "field"), [(("--seed", "9" * 20), "seed"), (("--mode", "\udcff"), "mode")])
async def test_a_value_that_fits_no_message_is_refused_like_one_out_of_range(
    deployment: Deployment, tmp_path: Path, capsys: Capture, option: tuple[str, str], field: str
) -> None:
    out = str(tmp_path / "a.png")
    assert await run("generate", "p", *option, "-o", out, "--server", deployment.generator_address) == 3
    assert f"{field}: the value is out of range" in capsys.readouterr().err


async def test_previews_are_written_into_a_folder(deployment: Deployment, tmp_path: Path, capsys: Capture) -> None:
    out, folder = tmp_path / "a.png", tmp_path / "steps" / "of a"
    server = deployment.generator_address
    command = ("generate", "p", "-n", "2", "-o", str(out), "--previews", str(folder), "--preview-every", "2", "--json")
    assert await run(*command, "--server", server) == 0
    assert sorted(os.listdir(folder)) == ["a-1-step-002.jpg", "a-2-step-002.jpg"]
    assert (folder / "a-1-step-002.jpg").read_bytes().startswith(b"\xff\xd8")
    document = json.loads(capsys.readouterr().out)
    assert document["previews"] == [str(folder / "a-1-step-002.jpg"), str(folder / "a-2-step-002.jpg")]
    assert await run("generate", "p", "-o", str(out), "--previews", str(folder), "--server", server) == 0
    assert deployment.generator.requests[-1].preview_every == 1
    assert "3 previews in " in capsys.readouterr().out


async def test_no_previews_are_asked_for_unless_there_is_a_folder_for_them(
    deployment: Deployment, tmp_path: Path, capsys: Capture
) -> None:
    server = deployment.generator_address
    assert await run("generate", "p", "-o", str(tmp_path / "a.png"), "--server", server) == 0
    assert deployment.generator.requests[-1].preview_every == 0
    with pytest.raises(SystemExit) as ended:
        await run("generate", "p", "--preview-every", "2", "--server", server)
    assert ended.value.code == 2
    assert "goes with --previews" in capsys.readouterr().err


async def test_priority_goes_along(deployment: Deployment, tmp_path: Path) -> None:
    command = ("generate", "p", "-o", str(tmp_path / "a.png"), "--server", deployment.generator_address)
    assert await run(*command, "--priority", "low") == 0
    assert deployment.generator.requests[-1].priority == pb2.PRIORITY_LOW
    with pytest.raises(SystemExit):
        await run(*command, "--priority", "urgent")
