from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.faces import FaceAnalyser, ModelFileError
from core.faces.weights import ALL_FILES, DEFAULT_FOLDER, FACE_MESH


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "faces"))


def test_shipped_files_are_the_ones_that_the_code_expects() -> None:
    for file in ALL_FILES:
        assert len(file.read()) == file.size_bytes


def test_notice_names_every_file_with_its_hash() -> None:
    notice = (DEFAULT_FOLDER / "NOTICE").read_text()
    for file in ALL_FILES:
        assert file.name in notice
        assert file.sha256 in notice


def test_altered_file_is_refused_by_its_hash(folder: Path) -> None:
    path = folder / FACE_MESH.name
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"face_mesh\.onnx has SHA-256"):
        FaceAnalyser(folder)


def test_truncated_file_is_refused_by_its_size(folder: Path) -> None:
    path = folder / FACE_MESH.name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match=f"expected {FACE_MESH.size_bytes}"):
        FaceAnalyser(folder)


def test_missing_file_is_named(folder: Path) -> None:
    (folder / FACE_MESH.name).unlink()
    with pytest.raises(ModelFileError, match=r"cannot read the model file .*face_mesh\.onnx"):
        FaceAnalyser(folder)
