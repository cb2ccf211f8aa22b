from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.training.hashing import hash_distance, perceptual_hash


def test_the_same_picture_smaller_and_compressed_has_nearly_the_same_hash(
    one_person: list[npt.NDArray[np.uint8]],
) -> None:
    for rgb in one_person[:4]:
        buffer = io.BytesIO()
        Image.fromarray(rgb).resize((150, 150)).save(buffer, "JPEG", quality=60)
        again = np.asarray(Image.open(buffer))
        assert hash_distance(perceptual_hash(rgb), perceptual_hash(again)) <= 4


def test_two_shots_of_one_person_are_no_duplicates(one_person: list[npt.NDArray[np.uint8]]) -> None:
    hashes = [perceptual_hash(rgb) for rgb in one_person]
    assert min(hash_distance(a, b) for k, a in enumerate(hashes) for b in hashes[:k]) > 6


def test_distance_counts_bits() -> None:
    assert hash_distance(0b1010, 0b0110) == 2
