from __future__ import annotations

import numpy as np
import pytest

from services.faceswap.engines.pixel_boost import put_together, take_apart


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_what_was_taken_apart_is_put_together_exactly(factor: int) -> None:
    crop = np.random.default_rng(0).random((factor * 8, factor * 8, 3)).astype(np.float32)
    parts = take_apart(crop, factor)
    assert parts.shape == (factor**2, 8, 8, 3)
    assert np.array_equal(put_together(parts, factor), crop)


def test_parts_are_strided_and_never_tiles() -> None:
    crop = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    first, second, third, _ = take_apart(crop, 2)[..., 0]
    assert first.tolist() == [[0, 2], [8, 10]]
    assert second.tolist() == [[1, 3], [9, 11]]
    assert third.tolist() == [[4, 6], [12, 14]]


def test_crop_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="no 2 strided"):
        take_apart(np.zeros((7, 8, 3), dtype=np.float32), 2)


def test_wrong_number_of_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="3 sub-images"):
        put_together(np.zeros((3, 8, 8, 3), dtype=np.float32), 2)
