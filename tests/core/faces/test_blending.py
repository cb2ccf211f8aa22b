"""Pasting a crop back into its picture."""

import cv2
import numpy as np
import pytest

from core.faces.blending import covered_region, match_detail, paste, paste_into


def _matrix(scale: float, degrees: float, centre: tuple[float, float], size: int) -> np.ndarray:
    turn = np.radians(degrees)
    linear = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    shift = (size - 1) / 2 - linear @ np.array(centre)
    return np.concatenate([linear, shift[:, None]], axis=1)


def _smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    wave = [120 + 60 * np.sin(x / 11 + phase) + 50 * np.cos(y / 13 + phase) for phase in (0, 1, 2)]
    return np.stack(wave, axis=-1).clip(0, 255).astype(np.uint8)


def _cut(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    return cv2.warpAffine(
        image.astype(np.float32), matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 0.0), (0.9, 17.0), (0.6, -40.0), (2.5, 8.0), (1.3, 180.0)])
def test_a_crop_that_was_not_changed_comes_back_to_within_a_gray_level_or_two(scale: float, degrees: float) -> None:
    image = _smooth(220, 260)
    matrix = _matrix(scale, degrees, (120.3, 101.7), 128)
    result = paste(image, _cut(image, matrix, 128), np.ones((128, 128), np.float32), matrix)
    assert np.abs(result.astype(int) - image).max() <= 3
    assert np.abs(result.astype(int) - image).mean() < 0.3


@pytest.mark.parametrize("scale", [0.14, 0.5, 1.0, 3.0])
def test_a_crop_lands_where_it_was_cut_to_a_fraction_of_a_pixel(scale: float) -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    centre = (90.4, 77.2)
    y, x = np.mgrid[0:128, 0:128]
    spot = 255 * np.exp(-((x - 63.5) ** 2 + (y - 63.5) ** 2) / (2 * (6 * scale) ** 2))
    crop = np.repeat(spot[..., None], 3, axis=2)
    result = paste(image, crop, np.ones((128, 128), np.float32), _matrix(scale, 30, centre, 128))[..., 0].astype(float)
    rows, columns = np.mgrid[0:200, 0:200]
    found = ((columns * result).sum() / result.sum(), (rows * result).sum() / result.sum())
    assert np.abs(np.array(found) - centre).max() < 0.05


def test_a_crop_that_is_drawn_much_larger_looks_as_if_it_were_sampled_by_cubics() -> None:
    def sampled(pixels: np.ndarray, interpolation: int, border: int) -> np.ndarray:
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(pixels, matrix, (700, 600), flags=flags, borderMode=border))

    matrix = _matrix(1 / 12, 9, (330.7, 290.2), 64)
    crop, everywhere = _smooth(64, 64).astype(np.float32), np.ones((64, 64), np.float32)
    result = paste(np.zeros((600, 700, 3), np.uint8), crop, everywhere, matrix)
    inside = sampled(everywhere, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT) >= 1
    difference = np.abs(result - sampled(crop, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE))[inside]
    assert inside.mean() > 0.5
    assert difference.max() < 2
    assert difference.mean() < 0.4


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_transparency_changes_nothing_about_the_colours(scale: float) -> None:
    rng = np.random.default_rng(7)
    image = rng.integers(0, 256, (300, 300, 4), dtype=np.uint8)
    crop = rng.uniform(0, 255, (48, 48, 3)).astype(np.float32)
    mask = np.asarray(cv2.GaussianBlur(rng.uniform(0, 1, (48, 48)).astype(np.float32), (0, 0), 3), dtype=np.float32)
    matrix = _matrix(scale, 20, (140, 150), 48)
    result = paste(image, crop, mask, matrix)
    assert (result[..., :3] == paste(np.ascontiguousarray(image[..., :3]), crop, mask, matrix)).all()
    assert (result[..., 3] == image[..., 3]).all()
    assert (result != image).any()


def test_pixels_outside_the_mask_and_the_alpha_channel_stay_exactly_as_they_are() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (150, 150, 4), dtype=np.uint8)
    mask = np.zeros((64, 64), np.float32)
    mask[20:44, 20:44] = 1
    matrix = _matrix(1.0, 12, (70, 80), 64)
    result = paste(image, np.zeros((64, 64, 3), np.uint8), mask, matrix)
    changed = (result != image).any(axis=2)
    region = covered_region(mask, matrix, image.shape)
    assert region is not None
    outside = np.ones((150, 150), bool)
    outside[region.rows, region.columns] = False
    assert changed.sum() > 400
    assert not (changed & outside).any()
    assert (result[..., 3] == image[..., 3]).all()
    assert region.right - region.left < 45


def test_a_face_that_the_border_cuts_gets_no_fringe() -> None:
    image = np.full((120, 120, 3), 180, np.uint8)
    matrix = _matrix(1.0, 0, (4.5, 60.2), 96)
    crop = np.full((96, 96, 3), 180, np.uint8)
    result = paste(image, crop, np.ones((96, 96), np.float32), matrix)
    assert (result == 180).all()


def test_a_crop_beside_the_picture_changes_nothing() -> None:
    image = _smooth(60, 60)
    matrix = _matrix(1.0, 0, (400, 400), 32)
    crop, mask = np.zeros((32, 32, 3), np.uint8), np.ones((32, 32), np.float32)
    assert (paste(image, crop, mask, matrix) == image).all()
    assert paste_into(image, crop, mask, matrix) is None
    assert paste_into(image, crop, mask * 0, _matrix(1.0, 0, (30, 30), 32)) is None


def test_shapes_that_do_not_fit_and_matrices_without_inverse_are_refused() -> None:
    image = _smooth(60, 60)
    crop, mask = np.zeros((32, 32, 3), np.uint8), np.ones((32, 32), np.float32)
    with pytest.raises(ValueError, match="mask"):
        paste(image, crop, mask[:31], np.eye(2, 3))
    with pytest.raises(ValueError, match="invertible"):
        paste(image, crop, mask, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="invertible"):
        paste(image, crop, mask, np.full((2, 3), np.nan))


def _grainy(pixels: np.ndarray, deviation: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, deviation, pixels.shape[:2])[..., None]
    return (pixels + noise).astype(np.float32)


def _finest(pixels: np.ndarray) -> float:
    return float((pixels - cv2.GaussianBlur(pixels, (0, 0), 0.8)).std())


def test_a_smooth_face_gets_the_targets_grain_and_the_same_every_time() -> None:
    face = _smooth(120, 120).astype(np.float32)
    everywhere = np.ones((120, 120), np.float32)
    target = _grainy(face, 6)
    result = match_detail(face, target, everywhere, everywhere)
    assert _finest(result) == pytest.approx(_finest(target), rel=0.15)
    assert np.abs(cv2.GaussianBlur(result - face, (0, 0), 6)).max() < 2
    assert (result == match_detail(face, target, everywhere, everywhere)).all()


def test_a_face_of_many_rows_is_measured_in_strips_and_gets_the_same_grain() -> None:
    face = _smooth(1600, 200).astype(np.float32)
    everywhere = np.ones(face.shape[:2], np.float32)
    target = _grainy(face, 6)
    result = match_detail(face, target, everywhere, everywhere)
    assert _finest(result) == pytest.approx(_finest(target), rel=0.1)
    # Skin in a place that no strip shows is looked at all the same.
    hidden = np.zeros_like(everywhere)
    hidden[90:110] = 1
    assert _finest(match_detail(face, target, hidden, hidden)) == pytest.approx(_finest(target), rel=0.2)


def test_grain_that_is_there_already_is_not_added_again() -> None:
    face = _smooth(120, 120).astype(np.float32)
    everywhere = np.ones((120, 120), np.float32)
    result = match_detail(_grainy(face, 6, seed=2), _grainy(face, 6), everywhere, everywhere)
    assert _finest(result) == pytest.approx(_finest(_grainy(face, 6)), rel=0.15)


def test_a_sharp_face_is_softened_for_a_soft_target_and_never_the_other_way_round() -> None:
    y, x = np.mgrid[0:120, 0:120]
    sharp = np.repeat((((x // 30 + y // 30) % 2) * 120 + 60).astype(np.float32)[..., None], 3, axis=2)
    soft = cv2.GaussianBlur(sharp, (0, 0), 2).astype(np.float32)
    everywhere = np.ones((120, 120), np.float32)
    assert _finest(match_detail(sharp, soft, everywhere, everywhere)) < 0.75 * _finest(sharp)
    assert np.allclose(match_detail(soft, sharp, everywhere, everywhere), soft, atol=0.5)


def test_a_face_without_plain_skin_stays_as_it_is() -> None:
    face = _smooth(60, 60).astype(np.float32)
    nowhere = np.zeros((60, 60), np.float32)
    assert match_detail(face, _grainy(face, 8), nowhere, nowhere) is face
