from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest

from core.faces import ModelFileError
from core.faces.model_files import ExternalModelFile

CONTENT = b"weights" * 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "net.onnx"
    file.write_bytes(CONTENT)
    return file


def pinned(path: Path) -> ExternalModelFile:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return ExternalModelFile(path, "the hub", "non-commercial", len(CONTENT), digest)


def test_whole_file_is_told_by_its_digest(path: Path) -> None:
    assert pinned(path).verify() == hashlib.sha256(CONTENT).hexdigest()


def test_missing_file_is_named_with_its_source_and_licence(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"gone\.onnx: No such file.*the hub.*non-commercial"):
        pinned(tmp_path / "gone.onnx").verify()


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="directory"):
        ExternalModelFile(tmp_path, "the hub", "free").verify()


def test_file_that_was_cut_short_is_refused_by_its_size(path: Path) -> None:
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ModelFileError, match=f"{len(CONTENT) - 1} bytes, expected {len(CONTENT)}"):
        pinned(path).verify()


def test_altered_file_is_refused_by_its_digest(path: Path) -> None:
    path.write_bytes(b"W" + CONTENT[1:])
    with pytest.raises(ModelFileError, match=r"has SHA-256 .* expected"):
        pinned(path).verify()


def test_pointer_of_a_large_file_is_called_one(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7000\n")
    with pytest.raises(ModelFileError, match="only the pointer of a large file"):
        pinned(path).verify()


def test_file_that_is_not_pinned_is_logged_with_its_digest(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ExternalModelFile(path, "the hub", "free").verify()
    assert hashlib.sha256(CONTENT).hexdigest() in caplog.text
