"""What the lock files promise: installable anywhere, one OpenCV, one onnxruntime, all that pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
RUNTIME, CUDA, DEVELOPMENT = (ROOT / f"requirements{part}.lock" for part in ("", "-cuda", "-dev"))
SERVICES = ("generator", "faceswap", "editor", "trainer", "gateway", "runtime")


def pins(*files: Path, python: str = "3.11") -> dict[str, Requirement]:
    """Read lock files: the requirements by canonical name that a version of Python gets."""
    lines = [line for file in files for line in file.read_text().splitlines() if line and not line.startswith("#")]
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    every = [Requirement(line) for line in lines]
    found = [pin for pin in every if pin.marker is None or pin.marker.evaluate(environment)]
    assert len({canonicalize_name(pin.name) for pin in found}) == len(found)
    return {canonicalize_name(pin.name): pin for pin in found}


def asked(*extras: str) -> list[Requirement]:
    """Read what pyproject.toml asks for, for a client and with extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != project["name"]]


@pytest.mark.parametrize("file", [RUNTIME, CUDA, DEVELOPMENT], ids=lambda file: file.name)
def test_the_lock_names_versions_and_no_place(file: Path) -> None:
    for line in file.read_text().splitlines():
        assert line.startswith("#") or re.match(r"[a-z0-9-]+==[a-z0-9.]+( ; [\w .<>=!()']+)?$", line), line


def test_one_opencv_without_a_screen_and_one_onnxruntime() -> None:
    names = pins(RUNTIME, CUDA, DEVELOPMENT).keys()
    assert {name for name in names if "opencv" in name} == {"opencv-python-headless"}
    assert {name for name in names if name.startswith("onnxruntime")} == {"onnxruntime"}


def test_what_cannot_be_built_or_breaks_the_type_stubs_stays_out() -> None:
    assert not pins(RUNTIME, CUDA, DEVELOPMENT).keys() & {"gfpgan", "basicsr", "googleapis-common-protos-stubs"}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.14"])
@pytest.mark.parametrize(("files", "extras"), [((RUNTIME,), SERVICES), ((RUNTIME, DEVELOPMENT), ("dev",))])
def test_the_lock_holds_what_the_project_asks_for(
    files: tuple[Path, ...], extras: tuple[str, ...], python: str
) -> None:
    locked = pins(*files, python=python)
    for requirement in asked(*extras):
        (pin,) = locked[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(pin.version), requirement


def test_a_client_needs_no_network_of_weights() -> None:
    heavy = {"torch", "numpy", "onnxruntime", "diffusers", "fastapi", "opencv-python-headless"}
    assert not {requirement.name for requirement in asked()} & heavy
