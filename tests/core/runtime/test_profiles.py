from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from core.runtime.profiles import ProfileError, read_profile


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Part:
    size: Annotated[int, Field(gt=0)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Example:
    name: str
    share: float = 0.5
    parts: tuple[Part, ...] = ()
    on: bool = False


def read(folder: Path, text: str) -> Example:
    (folder / "given.toml").write_text(text, encoding="utf-8")
    return read_profile(Example, "given", folder)


def test_a_profile_is_read_by_its_name_and_by_its_path(tmp_path: Path) -> None:
    expected = Example("a", 1.0, (Part(2), Part(3)), on=True)
    assert read(tmp_path, 'name = "a"\nshare = 1\nparts = [{size = 2}, {size = 3}]\non = true') == expected
    assert read_profile(Example, str(tmp_path / "given.toml"), Path("nowhere")) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "name: .*required"),
        ('name = "a"\nnmae = "b"', "nmae: .*[Uu]nexpected"),
        ('name = "a"\nparts = [{size = 1}, {size = 1, colour = 2}]', r"parts\.1\.colour"),
        ('name = "a"\nparts = [{size = 0}]', r"parts\.0\.size: .*greater than 0"),
        ('name = "a"\nparts = [{size = "7"}]', r"parts\.0\.size: .*integer"),
        ('name = "a"\nparts = [{size = 7.0}]', r"parts\.0\.size: .*integer"),
        ('name = "a"\nshare = "0.5"', "share: .*number"),
        ('name = "a"\non = "yes"', "on: .*boolean"),
        ('name = "a"\non = 1', "on: .*boolean"),
        ("name = 1979-05-27\nshare = true", "share"),
        ("name = ", r"given\.toml"),
    ],
)
def test_what_makes_no_sense_is_refused_with_file_and_entry(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ProfileError, match=rf"given\.toml.*{told}|{told}"):
        read(tmp_path, text)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"share: .*; on: "):
        read(tmp_path, 'name = "a"\nshare = "x"\non = 3')


def test_an_unknown_name_is_told_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "one.toml").touch()
    (tmp_path / "two.toml").touch()
    with pytest.raises(ProfileError, match="no profile 'three': name one of one, two, or the path"):
        read_profile(Example, "three", tmp_path)


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for name in ("folder", "bytes"):
        with pytest.raises(ProfileError, match=name):
            read_profile(Example, name, tmp_path)
