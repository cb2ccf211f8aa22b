"""The command line explains itself, and the documentation names all of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from likeness.cli.arguments import build_parser

ROOT = Path(__file__).resolve().parents[3]


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return a command's own commands by name."""
    return {
        name: found
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, found in action.choices.items()
    }


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command and every action, ``train`` and ``train create``."""
    for name, parser in subparsers(build_parser()).items():
        yield name, parser
        for action, found in subparsers(parser).items():
            yield f"{name} {action}", found


@pytest.mark.parametrize("parser", [pytest.param(parser, id=name) for name, parser in commands()])
def test_every_argument_is_explained(parser: argparse.ArgumentParser) -> None:
    arguments = [action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    texts = {"/".join(action.option_strings) or str(action.metavar or action.dest): action.help for action in arguments}
    unexplained = [argument for argument, text in texts.items() if not text or text.startswith("(")]
    assert not unexplained
    assert parser.format_help()


def test_the_documentation_names_every_command_and_action() -> None:
    text = (ROOT / "docs" / "07-client-and-cli.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for name, _ in commands():
        assert any(all(f"`{word}`" in row for word in name.split()) for row in rows), name
