from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from likeness.cli.loras import lora_use
from likeness.results import LoraUse
from tests.likeness.cli.test_command import run
from tests.likeness.conftest import Deployment

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("anna", LoraUse("anna")),
        ("anna:3", LoraUse("anna", 3)),
        ("anna=0.5", LoraUse("anna", 0, 0.5)),
        ("anna:3=-1", LoraUse("anna", 3, -1.0)),
    ],
)
def test_a_lora_is_named_with_its_version_and_strength(text: str, use: LoraUse) -> None:
    assert lora_use(text) == use


@pytest.mark.parametrize("text", ["", ":3", "anna:x", "anna=", "anna=x", "anna=1:3", "anna:3=1.2.3"])
def test_what_names_no_lora_is_wrong_usage(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        lora_use(text)


async def test_loras_are_registered_listed_shown_and_removed(
    deployment: Deployment, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "anna.safetensors"
    file.write_bytes(b"weights")
    server = ("--server", deployment.generator_address)
    for name in ("anna", "bob", "carl"):
        assert await run("lora", "register", name, str(file), "--trigger-word", "ohwx", *server) == 0
    assert "anna:1  rank 16, 240 modules, kohya" in capsys.readouterr().out
    assert await run("lora", "list", *server) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["anna", "bob", "carl"]
    assert await run("lora", "show", "anna", "--version", "1", "--json", *server) == 0
    shown = json.loads(capsys.readouterr().out)["lora"]
    assert (shown["version"], shown["trigger_word"]) == (1, "ohwx")
    assert shown["create_time"] == "2027-01-15T08:00:00+00:00"
    assert await run("lora", "delete", "anna", "--all", *server) == 0
    assert capsys.readouterr().out == "removed anna 1\n"
    assert await run("lora", "show", "anna", *server) == 3
    assert "LORA_NOT_FOUND" in capsys.readouterr().err
    assert await run("lora", "delete", "bob", "--version", "0", *server) == 3
    assert "bob" in deployment.generator.loras.loras


async def test_a_tenants_loras_are_named_with_it(deployment: Deployment, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "anna.safetensors"
    file.write_bytes(b"weights")
    server = ("--server", deployment.generator_address)
    assert await run("lora", "register", "anna", str(file), "--tenant", "one", *server) == 0
    assert list(deployment.generator.loras.tenants["one"]) == ["anna"]
    capsys.readouterr()
    assert await run("lora", "list", *server) == 0
    assert capsys.readouterr().out == "no LoRA\n"
    assert await run("lora", "list", "--tenant", "one", *server) == 0
    assert capsys.readouterr().out.startswith("anna:1")
    assert await run("lora", "list", "--tenant", "no name", *server) == 3
    assert "x-tenant-id" in capsys.readouterr().err


async def test_a_file_that_is_not_there_is_told(deployment: Deployment, capsys: Capture) -> None:
    assert await run("lora", "register", "anna", "/none.safetensors", "--server", deployment.generator_address) == 3
    assert "none.safetensors" in capsys.readouterr().err


async def test_deleting_says_which_version(deployment: Deployment) -> None:
    with pytest.raises(SystemExit) as ended:
        await run("lora", "delete", "anna", "--server", deployment.generator_address)
    assert ended.value.code == 2


async def test_generate_takes_loras_and_a_trigger_word(deployment: Deployment, tmp_path: Path) -> None:
    status = await run(
        "generate", "p", "-o", str(tmp_path / "a.png"), "--server", deployment.generator_address,
        "--lora", "anna:2=0.7", "--lora", "style", "--trigger-word", "ohwx",
    )  # fmt: skip
    assert status == 0
    request = deployment.generator.requests[0]
    assert [(lora.lora_id, lora.version, lora.strength) for lora in request.loras] == [
        ("anna", 2, 0.7),
        ("style", 0, 1),
    ]
    assert request.trigger_word == "ohwx"
