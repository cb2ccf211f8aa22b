"""What docs/04-generator.md promises in its tables is what the contract, the profiles and the settings say."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from core.qwen.loras.library import MAX_LORAS
from core.qwen.profile import Profile, Size, load_profile
from core.qwen.request import DEFAULT_ASPECT_RATIO, resolve_request
from core.runtime.images import DEFAULT_QUALITY
from gateway.limits import field_limits
from gateway.models import DrawBody, LoraBody
from likeness.cli.arguments import build_parser
from likeness.common.v1.image_pb2 import ImageOutput
from likeness.errors import LikenessError
from likeness.generator.v1.generator_service_pb2 import GenerateRequest, LoraSelection
from services.generator.settings import GeneratorSettings

PAGE = (Path(__file__).parents[1] / "docs" / "04-generator.md").read_text(encoding="utf-8")
MINIATURE, QWEN = load_profile("miniature"), load_profile("qwen")
PARTS: dict[str, type[Message]] = {"loras.": LoraSelection, "output.": ImageOutput}
# What other documents tell of, since it is no parameter of drawing.
NOT_OF_DRAWING = {"--help", "--json", "--timeout", "--server", "--output", "--tenant"}


def table(first_column: str) -> Iterator[list[str]]:
    """Yield the cells of the table whose head begins with ``first_column``, row by row, without its head."""
    found = re.search(rf"^\| ?{re.escape(first_column)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found, f"no table begins with {first_column!r}"
    for line in found[1].splitlines():
        yield [cell.strip() for cell in line.strip("|").split("|")]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def numbers(cell: str) -> set[float]:
    """Return the numbers of a cell: ``4,096``, ``−4`` and ``2⁵³ − 1`` are numbers too; a range has two."""
    plain = cell.replace("2⁵³ − 1", str(2**53 - 1))
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", plain).replace("–", " ").replace("−", "-")
    return {float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", plain)}


def parameters() -> dict[str, list[str]]:
    """Return the row of each parameter, by its name in gRPC."""
    return {name: row for row in table("gRPC") for name in names(row[0])}


PARAMETERS = parameters()


def limits_of(name: str) -> dict[str, Any]:
    message: type[Message] = GenerateRequest
    for prefix, part in PARTS.items():
        if name.startswith(prefix):
            name, message = name.removeprefix(prefix), part
    return field_limits(message, name)


def test_every_field_of_the_contract_is_a_row_and_no_other() -> None:
    fields = {field.name for field in GenerateRequest.DESCRIPTOR.fields} - {"output"}
    for prefix, part in PARTS.items():
        fields |= {prefix + field.name for field in part.DESCRIPTOR.fields}
    assert PARAMETERS.keys() == fields


def test_every_field_of_a_rest_body_is_named() -> None:
    fields = (DrawBody.model_fields.keys() | LoraBody.model_fields.keys()) - {"timeout_seconds"}
    assert {name for row in PARAMETERS.values() for name in names(row[1])} == fields


def test_every_option_of_the_command_line_is_named() -> None:
    commands = next(
        action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)
    )  # argparse has no public way to a command's options.
    options = {option for action in commands.choices["generate"]._actions for option in action.option_strings}
    named = {name.split(" ")[0] for row in PARAMETERS.values() for name in names(row[2])}
    assert named == {option for option in options if option.startswith("--") or option == "-n"} - NOT_OF_DRAWING


@pytest.mark.parametrize("name", PARAMETERS)
def test_limits_are_those_of_the_contract(name: str) -> None:
    limits = limits_of(name)
    cell = PARAMETERS[name][4]
    expected = {limits[rule] for rule in ("minimum", "maximum", "maxLength", "maxItems") if limits.get(rule)}
    expected |= {limits["exclusiveMaximum"] - 1} if "exclusiveMaximum" in limits else set()
    assert expected <= numbers(cell), cell
    assert all(choice in cell for choice in limits.get("enum", [])), cell


def test_defaults_are_those_of_an_empty_request() -> None:
    request = resolve_request(MINIATURE, prompt="a man", seed=1)
    defaults = {name: row[3] for name, row in PARAMETERS.items()}
    assert defaults["mode"] == f"`{request.mode.name}`"
    assert defaults["aspect_ratio"] == f"`{DEFAULT_ASPECT_RATIO}`"
    assert request.size == MINIATURE.sizes.by_aspect_ratio[DEFAULT_ASPECT_RATIO]
    assert defaults["count"] == str(request.count)
    assert numbers(defaults["preview_every"]) == {request.preview_every}
    assert (request.steps, request.true_cfg_scale) == (request.mode.steps, request.mode.true_cfg_scale)
    assert defaults["steps"] == defaults["true_cfg_scale"] == defaults["negative_prompt"] == "the mode's own"
    assert float(defaults["loras.strength"]) == LoraBody(lora_id="x").strength
    assert int(defaults["output.quality"]) == DEFAULT_QUALITY


@pytest.mark.parametrize("name", PARAMETERS)
def test_errors_are_of_the_table(name: str) -> None:
    assert set(names(PARAMETERS[name][5])) <= {kind.reason for kind in every_error()}


def every_error(kind: type[LikenessError] = LikenessError) -> Iterator[type[LikenessError]]:
    for child in kind.__subclasses__():
        yield child
        yield from every_error(child)


def _size(size: Size) -> str:
    return f"{size.width} × {size.height}"


def _sizes(ratios: str, profile: Profile) -> str:
    return ", ".join(_size(profile.sizes.by_aspect_ratio[ratio]) for ratio in ratios.split(", "))


def _mode(profile: Profile, index: int) -> str:
    mode = profile.modes[index]
    return f"{mode.steps} steps, guidance {mode.true_cfg_scale:g}"


FACTS: dict[str, Callable[[Profile], str]] = {
    "`full`": lambda profile: _mode(profile, 0),
    "`fast`": lambda profile: _mode(profile, 1),
    **{ratios: partial(_sizes, ratios) for ratios in ("1:1", "16:9, 9:16", "4:3, 3:4", "3:2, 2:3")},
    "area": lambda profile: f"{profile.sizes.min_pixels:,}–{profile.sizes.max_pixels:,} pixels",
    "tokens of a prompt": lambda profile: str(profile.max_prompt_tokens),
    "number format": lambda profile: profile.precision.cuda,
    "LoRAs a request": lambda profile: str(MAX_LORAS),
    "`max_rank` of a LoRA": lambda profile: str(profile.loras.max_rank),
}


@pytest.mark.parametrize("row", FACTS)
def test_figures_of_the_profiles_are_theirs(row: str) -> None:
    cells = {cells[0]: cells[1:] for head in ("", "limit") for cells in table(head)}[row]
    for profile, cell in zip((MINIATURE, QWEN), cells, strict=False):
        told = FACTS[row](profile)
        # guidance 3.0 and 3 are one number.
        assert told in cell.replace(".0,", ","), cell


def test_limits_of_loras_are_those_of_profiles_and_settings() -> None:
    rows = {cells[0]: cells for cells in table("limit")}
    together = next(cells for name, cells in rows.items() if name.startswith("ranks of a request together"))
    assert [int(cell) for cell in together[1:3]] == [profile.loras.widths[-1] for profile in (MINIATURE, QWEN)]
    fields = GeneratorSettings.model_fields
    count, size = fields["lora_cache_count"].default, fields["lora_cache_bytes"].default
    assert rows["loaded at once"][1] == rows["loaded at once"][2] == f"{count}, {size >> 30} GiB"
    assert rows["file"][1] == rows["file"][2] == f"{fields['max_lora_bytes'].default >> 30} GiB"
