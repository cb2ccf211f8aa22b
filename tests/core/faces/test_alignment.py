from __future__ import annotations

import cv2
import numpy as np
import pytest

from core.faces.alignment import (
    ARCFACE_112,
    FFHQ_512,
    AlignmentError,
    carry,
    compose,
    cut,
    similarity,
    swapper_template,
)


def test_similarity_undoes_a_turn_a_scale_and_a_shift() -> None:
    turn = np.array([[0.0, -2.0, 40.0], [2.0, 0.0, -7.0]])
    points = carry(turn, ARCFACE_112)
    matrix = similarity(points, ARCFACE_112)
    np.testing.assert_allclose(carry(matrix, points), ARCFACE_112, atol=1e-9)
    np.testing.assert_allclose(compose(matrix, turn), [[1, 0, 0], [0, 1, 0]], atol=1e-9)


def test_similarity_never_mirrors() -> None:
    mirrored = ARCFACE_112 * np.array([-1.0, 1.0])
    assert np.linalg.det(similarity(mirrored, ARCFACE_112)[:, :2]) > 0


@pytest.mark.parametrize(
    "points", [np.zeros((5, 2)), np.full((5, 2), 300.0), np.full((5, 2), np.nan), np.full((5, 2), np.inf)]
)
def test_points_that_make_no_face_are_refused(points: np.ndarray) -> None:
    with pytest.raises(AlignmentError):
        similarity(points, FFHQ_512)


def test_native_template_is_arcfaces_moved_by_eight_pixels() -> None:
    np.testing.assert_allclose(swapper_template(128, 128), ARCFACE_112 + np.array([8, 0]))
    np.testing.assert_allclose(swapper_template(256, 256), (ARCFACE_112 + np.array([8, 0])) * 2)


@pytest.mark.parametrize("factor", [2, 4])
def test_larger_crop_has_the_native_pixels_in_the_middle_of_its_blocks(factor: int) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)
    image = np.asarray(cv2.GaussianBlur(noise, (0, 0), 6), dtype=np.uint8)
    points = swapper_template(128, 128) * 1.0 + [120.25, 90.5]
    small = cut(image, similarity(points, swapper_template(128, 128)), 128).astype(float)
    large = cut(image, similarity(points, swapper_template(128, 128 * factor)), 128 * factor).astype(float)
    means = large.reshape(128, factor, 128, factor, 3).mean(axis=(1, 3))
    assert np.abs(means - small).mean() < 0.35


def test_cut_past_the_border_repeats_the_pixels_there() -> None:
    image = np.full((60, 60, 3), 200, dtype=np.uint8)
    crop = cut(image, np.array([[1.0, 0.0, 100.0], [0.0, 1.0, 100.0]]), 112)
    assert (crop == 200).all()
