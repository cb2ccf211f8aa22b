"""Photos are decoded when they are asked for, and let go again: however many there are, few are in memory."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.faces import FaceAnalyser
from core.runtime.cancellation import CancelToken
from core.training.dataset import prepare_dataset
from core.training.photos import PhotoFiles
from core.training.spec import Photo, PhotoFile
from likeness.errors import Cancelled
from tests.core.training.conftest import MakeSpec, shots_of, write_photos


class Watched(Sequence[Photo]):
    """Photos that count how many of those handed out are still held."""

    def __init__(self, photos: Sequence[Photo]) -> None:
        self._photos = photos
        self._given: list[weakref.ref[Any]] = []
        self.most = 0
        self.asked = 0

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, place: Any) -> Any:
        photo = self._photos[place]
        self._given.append(weakref.ref(photo.rgb))
        self.asked += 1
        self.most = max(self.most, sum(given() is not None for given in self._given))
        return photo


def test_a_dataset_holds_the_pixels_of_no_more_than_two_photos(
    make_spec: MakeSpec, analyser: FaceAnalyser, tmp_path: Path
) -> None:
    files = PhotoFiles(write_photos(tmp_path, shots_of(1, 6)), tmp_path)
    watched = Watched(files)
    dataset = prepare_dataset(watched, make_spec(), analyser)
    assert dataset.report.accepted == 6
    assert (watched.asked, watched.most) == (12, 2)
    whole = prepare_dataset(list(files), make_spec(), analyser)
    assert dataset.report == whole.report
    assert dataset.hashes == whole.hashes
    assert [sample.digest for sample in dataset.samples] == [sample.digest for sample in whole.samples]


def test_a_cancel_stops_before_the_next_photo(tmp_path: Path) -> None:
    token = CancelToken()
    photos = PhotoFiles(write_photos(tmp_path, [np.full((20, 30, 3), 90, np.uint8)] * 3), tmp_path, token)
    assert photos[0].rgb is not None
    token.cancel("the job was cancelled")
    for rest in (photos, photos[1:]):
        with pytest.raises(Cancelled):
            rest[1]


def test_a_damaged_file_is_a_photo_with_its_reason(tmp_path: Path) -> None:
    entries = write_photos(tmp_path, [np.full((20, 30, 3), 90, np.uint8)] * 3)
    (tmp_path / entries[1].file).write_bytes(b"\x89PNG but no more")
    photos = PhotoFiles(entries, tmp_path)
    assert len(photos) == 3
    assert [photo.rgb is None for photo in photos] == [False, True, False]
    assert photos[1].error and photos[1].name == "shot 1"
    assert [photo.name for photo in photos[1:]] == ["shot 1", "shot 2"]
    with pytest.raises(IndexError):
        photos[3]
    with pytest.raises(OSError, match="gone"):
        PhotoFiles([PhotoFile(file="photos/gone.png", name="gone")], tmp_path)[0]
