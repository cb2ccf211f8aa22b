"""What the pages name exists: links, commands, modules, settings, errors, routes, methods; and every page is found."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FileDescriptor

from core.runtime.settings import ProcessSettings, ServiceSettings
from gateway.app import create_app
from gateway.settings import GatewaySettings
from likeness.cli.arguments import parse_arguments
from likeness.editor.v1 import editor_service_pb2
from likeness.errors import ERRORS
from likeness.faceswap.v1 import face_model_service_pb2, faceswap_service_pb2
from likeness.generator.v1 import generator_service_pb2, lora_service_pb2
from likeness.trainer.v1 import trainer_service_pb2
from services.editor.settings import EditorSettings
from services.faceswap.settings import FaceSwapSettings
from services.generator.settings import GeneratorSettings
from services.trainer.settings import TrainerSettings

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
INDEX = DOCS / "decisions" / "README.md"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.glob("*.md"),
        *DOCS.glob("decisions/*.md"),
        *ROOT.glob("examples/*.md"),
        *ROOT.glob("weights/*/README.md"),
    ]
)
PROCESSES: list[type[ProcessSettings]] = [
    GeneratorSettings,
    FaceSwapSettings,
    EditorSettings,
    TrainerSettings,
    GatewaySettings,
]
CONTRACT: list[FileDescriptor] = [
    module.DESCRIPTOR
    for module in (
        generator_service_pb2,
        lora_service_pb2,
        faceswap_service_pb2,
        face_model_service_pb2,
        editor_service_pb2,
        trainer_service_pb2,
    )
]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """Return a page without its blocks of code, in which brackets and hashes are neither links nor headings."""
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """Return all blocks of code in a language, each with its page's name."""
    found = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(name_of(page), code) for page in PAGES for code in found.findall(read(page))]


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield the links of a page that stay in the repository: as written, the file, the anchor."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield target, (page.parent / path).resolve() if path else page, anchor


def anchors(page: Path) -> set[str]:
    """Return the anchors that headings get: lower case, without signs, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of the tables below a heading, of rows whose first cell has a name in backticks."""
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^## |\Z)", read(page), re.MULTILINE | re.DOTALL)
    assert found, heading
    lines = [line.strip("|").split(" | ") for line in found[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in lines if names(cells[0])]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target, file, anchor in links(page):
        assert file.is_relative_to(ROOT) and file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            linked = [file / "README.md" if file.is_dir() else file for _, file, _ in links(page)]
            waiting += [file for file in linked if file.suffix == ".md" and file.exists()]
    assert {name_of(page) for page in PAGES} == {name_of(page) for page in reached}


def test_every_decision_has_its_own_number_and_one_line_in_the_index() -> None:
    titles = {}
    for page in DECISIONS:
        heading = re.fullmatch(r"# (\d+)\. (.+)", read(page).splitlines()[0])
        assert heading and int(heading[1]) == int(page.name[:4]), name_of(page)
        titles[page.name] = f"{heading[1]}. {heading[2]}"
    assert len({page.name[:4] for page in DECISIONS}) == len(DECISIONS)
    listed = re.findall(r"^- \[(\d+\. .+)\]\((\S+\.md)\)", read(INDEX), re.MULTILINE)
    assert sorted((file, title) for title, file in listed) == sorted(titles.items())


def test_commands_of_the_command_line_are_understood() -> None:
    commands = [
        (page, command)
        for page, code in blocks("sh")
        for command in re.findall(r"^(?:\.venv/bin/)?likeness (.+)$", code.replace("\\\n", " "), re.MULTILINE)
    ]
    assert commands
    for page, command in commands:
        try:
            parse_arguments(shlex.split(command, comments=True))
        except SystemExit:
            pytest.fail(f"{page}: likeness {command}")


def test_modules_and_scripts_that_pages_start_are_there() -> None:
    for page in PAGES:
        for module in re.findall(r"python -m ((?:services|gateway|scripts|bench|weights)[\w.]*)", read(page)):
            path = ROOT / module.rstrip(".").replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), (name_of(page), module)
        for script in re.findall(r"\b((?:weights|scripts|examples)/[\w/]+\.(?:sh|py))\b", read(page)):
            assert (ROOT / script).is_file(), (name_of(page), script)


def test_targets_of_make_are_those_of_the_page() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", read(ROOT / "Makefile"), re.MULTILINE))
    written = {names(row[0])[0].removeprefix("make ") for row in rows(DOCS / "09-development.md", "## Make")}
    assert written == targets - {"help", "setup", "setup-dev"}
    for page in PAGES:
        assert set(re.findall(r"`make ([a-z-]+)", read(page))) <= targets, name_of(page)


def test_examples_in_python_and_data_can_be_read() -> None:
    for page, code in blocks("python"):
        for node in ast.walk(ast.parse(code, page)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "likeness":
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names), (page, ast.unparse(node))
    for _, code in blocks("toml"):
        tomllib.loads(code)
    for _, code in blocks("json"):
        json.loads(code)


def test_every_setting_is_a_row_and_no_other() -> None:
    written: dict[str, set[str]] = {}
    for row in rows(DOCS / "03-runtime.md", "## Settings"):
        readers = row[0].partition("`")[0].strip(": ") or "every"
        for reader in readers.split(", "):
            written.setdefault(reader, set()).update(names(row[0]))
    assert written.pop("every") == ServiceSettings.model_fields.keys()
    for settings in PROCESSES:
        inherited = ServiceSettings if issubclass(settings, ServiceSettings) else ProcessSettings
        own = settings.model_fields.keys() - inherited.model_fields.keys()
        assert own <= written.pop(settings.service) <= settings.model_fields.keys(), settings.service
    assert not written


def test_the_table_of_errors_is_the_one_of_the_code() -> None:
    page = DOCS / "02-contract.md"
    written = {}
    for row in rows(page, "## Errors"):
        (reason,) = names(row[0])
        code = "INVALID_ARGUMENT" if row[1].isdecimal() else row[1]
        written[reason] = (code, int(row[1] if row[1].isdecimal() else row[2]))
    assert written == {kind.reason: (kind.code.name, kind.http_status) for kind in ERRORS.values()}


def test_every_method_of_the_contract_is_a_row_and_no_other() -> None:
    written, service = set(), ""
    for line in read(DOCS / "02-contract.md").partition("## Services")[2].partition("## Events")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and names(cells[1]):
            service = names(cells[0])[0] if names(cells[0]) else service
            written |= {f"{service}.{method}" for method in names(cells[1])}
    assert written == {
        f"{service.full_name}.{method.name}"
        for file in CONTRACT
        for service in file.services_by_name.values()
        for method in service.methods
    }


def test_every_route_of_the_gateway_is_a_row_and_no_other(tmp_path: Path) -> None:
    written = {names(row[0])[0] for row in rows(DOCS / "06-gateway.md", "## Routes")}
    values: dict[str, Any] = {"artifacts_url": str(tmp_path)}
    paths = create_app(GatewaySettings(**values)).openapi()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    forms = [re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route))) for route in served]
    assert [route for route in sorted(written) if not any(form.fullmatch(route) for form in forms)] == []
    assert [form.pattern for form in forms if not any(form.fullmatch(route) for route in written)] == []
