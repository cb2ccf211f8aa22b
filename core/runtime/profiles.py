"""Profiles: TOML files beside the code that say what a deployment has. The one reader of all of them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


class ProfileError(ValueError):
    """A profile that does not exist or does not make sense; the message names the file and the entry."""


def read_profile(kind: type[T], name_or_path: str, shipped: Path) -> T:
    """Read a profile of the folder `shipped` by its name, or any other by the path of its TOML file.

    `kind` is a pydantic dataclass that forbids what it does not know. Types are strict: a number in quotes is no
    number, a list stands for a tuple.

    Raises:
        ProfileError: when there is no such profile, or entries of it are missing, unknown, of another type or out of
            range. All of them are named, by their paths: ``modes.0.steps``.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = shipped / f"{name_or_path}.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = ", ".join(sorted(file.stem for file in shipped.glob("*.toml")))
        raise ProfileError(f"no profile {name_or_path!r}: name one of {names}, or the path of a .toml file") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: {error}") from error
    try:
        # As JSON, whose strict reading takes a list for a tuple; dates, which no profile has, become text.
        return TypeAdapter(kind).validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ProfileError(f"{path}: {faults}") from error
