from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from core.training.files import check_free_space, whole_folder, write_tensors, write_whole
from likeness.errors import InsufficientResources


def test_a_folder_is_not_there_until_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "000100"
    with whole_folder(folder) as draft:
        (draft / "a").write_text("1")
        assert not folder.exists()
    assert (folder / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["000100"]


def test_what_fails_half_way_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "000100"
    with whole_folder(folder) as draft:
        (draft / "a").write_text("old")
    with pytest.raises(ValueError, match="broken"), whole_folder(folder) as draft:
        (draft / "a").write_text("new")
        raise ValueError("broken")
    assert (folder / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["000100"]


def test_a_full_disk_is_told_as_such_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InsufficientResources, match="full") as caught, whole_folder(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.metadata["resource"] == "disk"
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), whole_folder(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "no")


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    file = tmp_path / "scores" / "1.json"
    write_whole(file, b"1")
    write_whole(file, b"2")
    assert file.read_bytes() == b"2" and len(list(file.parent.iterdir())) == 1


def test_too_little_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    check_free_space(tmp_path, 1)
    with pytest.raises(InsufficientResources, match="MiB"):
        check_free_space(tmp_path, 2**60)


def test_tensors_with_the_same_content_are_the_same_bytes_and_any_reader_finds_the_metadata(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(1, dtype=torch.bfloat16)}
    metadata = {f"key {k}": f"größe {k}" for k in range(20)}
    contents = set()
    for k in range(5):
        write_tensors(tmp_path / f"{k}.safetensors", tensors, metadata)
        contents.add((tmp_path / f"{k}.safetensors").read_bytes())
    assert len(contents) == 1
    with safe_open(tmp_path / "0.safetensors", framework="pt") as opened:
        assert opened.metadata() == metadata
        assert torch.equal(opened.get_tensor("b"), tensors["b"]) and torch.equal(opened.get_tensor("a"), tensors["a"])
