"""The command compare."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from likeness.cli import main
from tests.likeness.ways.conftest import PHOTO, REFERENCE, Services, client, services
from tests.support.services import unused_address

__all__ = ["client", "services"]
Capture = pytest.CaptureFixture[str]
SCENES = ("--scene", "at sea", "--scene", "in a garden")


async def run(*arguments: str) -> int:
    """Run the command as a terminal would: in a thread without an event loop."""
    return await asyncio.to_thread(main, arguments)


@pytest.fixture
def compare(services: Services, tmp_path: Path) -> tuple[str, ...]:
    """The command, the reference, and where everything is."""
    (tmp_path / "anna.png").write_bytes(REFERENCE)
    servers = zip(("generator", "faceswap", "editor"), services.addresses, strict=True)
    options = [f"--{name}-server={address}" for name, address in servers]
    return ("compare", str(tmp_path / "anna.png"), "-o", str(tmp_path / "sheet.png"), *SCENES, *options)


async def test_compare_prints_a_table_and_draws_a_sheet(
    compare: tuple[str, ...], services: Services, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "1.png").write_bytes(PHOTO)
    (tmp_path / "more" / "notes.txt").write_text("no photo")
    assert await run(*compare, "--photos", str(tmp_path / "more"), "--ways", "swap,edit", "--seeds", "5") == 0
    told = capsys.readouterr()
    lines = [line.split() for line in told.out.splitlines()]
    assert " ".join(lines[0]) == "way pictures identity lowest to photos one face scene kept s a picture set-up"
    assert [line[:6] for line in lines[1:4]] == [
        ["plain", "2", "of", "2", "0.10", "0.10"],
        ["swap", "2", "of", "2", "0.60", "0.60"],
        ["edit", "2", "of", "2", "0.40", "0.40"],
    ]
    assert told.out.endswith(f"{tmp_path / 'sheet.png'}\n")
    assert told.err == ""
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
    assert {request.seed for request in services.generator.requests} == {5}


async def test_compare_with_a_registered_lora_and_a_judge(
    compare: tuple[str, ...], services: Services, tmp_path: Path, capsys: Capture
) -> None:
    generator, _, _ = services.addresses
    register = ("lora", "register", "anna", str(tmp_path / "anna.png"), "--trigger-word", "annax")
    assert await run(*register, "--server", generator) == 0
    capsys.readouterr()
    program = "import sys\nfor line in sys.stdin: print(0.75)"
    judge = ("--judge", shlex.join([sys.executable, "-c", program]))
    folder = tmp_path / "pictures"
    options = ("--lora", "anna=0.8", "--ways", "lora", "--person", "a woman", "--pictures", str(folder), "--json")
    assert await run(*compare, *judge, *options) == 0
    document = json.loads(capsys.readouterr().out)
    (lora,) = document["ways"]
    assert (lora["name"], lora["made"], lora["adherence"], lora["identity"]) == ("lora", 4, 0.75, 0.5)
    assert "data" not in lora["pictures"][0]["picture"]
    assert {request.prompt for request in services.generator.requests if request.loras} == {
        "annax, a woman at sea",
        "annax, a woman in a garden",
    }
    assert sorted(file.name for file in folder.iterdir()) == [
        f"{way}-{scene}-seed-{seed}.png" for way in ("lora", "plain") for scene in (1, 2) for seed in (1, 2)
    ]


async def test_a_judge_that_fails_costs_no_pictures(compare: tuple[str, ...], tmp_path: Path, capsys: Capture) -> None:
    judge = ("--judge", shlex.join([sys.executable, "-c", "raise SystemExit('out of order')"]))
    assert await run(*compare, *judge, "--ways", "swap", "--seeds", "1") == 0
    assert "note: the judge ended with status 1: out of order" in capsys.readouterr().out
    assert (tmp_path / "sheet.png").exists()


async def test_a_way_that_is_away_is_named_beside_the_others(compare: tuple[str, ...], capsys: Capture) -> None:
    away = (f"--editor-server={unused_address()}", "--seeds", "1")
    assert await run(*compare, *away) == 0
    out = capsys.readouterr().out
    assert "edit: 2 of 2 pictures are missing: the editor service cannot be reached" in out
    assert "lora: 2 of 2 pictures are missing: no LoRA of the character was named [INVALID_REQUEST]" in out
    assert re.search(r"^swap +2 of 2 ", out, re.MULTILINE)


async def test_faults_are_told_before_anything_is_drawn(
    compare: tuple[str, ...], services: Services, tmp_path: Path, capsys: Capture
) -> None:
    faults = (
        (("--judge", "no-such-program-of-anybody"), 3, "there is no program"),
        (("--scene", "at sea"), 3, "scenes: name each once"),
        (("--photos", str(tmp_path / "missing.png")), 3, "missing.png"),
        (("-o", str(tmp_path / "no" / "sheet.png")), 3, "there is no such folder"),
        (("-o", str(tmp_path / "sheet.tiff")), 3, "sheet.tiff"),
        (("--pictures", str(tmp_path / "anna.png")), 3, "anna.png"),
        (("--denoise", "1.5"), 3, "denoise: over 0 to 1"),
        (("--denoise", "nan"), 3, "denoise: over 0 to 1"),
        (("--ways", "lora"), 3, "lora: name the character's LoRA"),
        (("--lora", "nobody"), 3, "nobody"),
        (("--job", "anna-1", f"--trainer-server={unused_address()}"), 4, "the trainer service cannot be reached"),
        ((f"--faceswap-server={unused_address()}",), 4, "the faceswap service cannot be reached"),
    )
    for options, status, text in faults:
        assert await run(*compare, *options) == status, options
        assert text in capsys.readouterr().err
    assert not services.generator.requests


@pytest.mark.parametrize("options", [("--ways", "paint"), ("--seeds", "1,-2"), ("--job", "a", "--lora", "b")])
async def test_wrong_usage_is_status_2(compare: tuple[str, ...], options: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        await run(*compare, *options)
    assert ended.value.code == 2


def test_without_pillow_compare_says_what_to_install_and_the_rest_goes_on(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['PIL'] = None; from likeness.cli import main\n"
        "print(main(['compare', 'a.png']))\n"
        "assert not {'numpy', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"
    assert "pip install 'likeness[compare]'" in done.stderr
