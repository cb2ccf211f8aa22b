"""What happens to a face that a network drew before it is seen: mask, colours, grain."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from core.faces import Face, FaceAnalyser, landmarks
from core.faces.alignment import carry, cut, similarity, swapper_template
from core.faces.arrays import FloatArray, Image
from core.faces.region import region_around
from services.faceswap.engines import masks
from services.faceswap.engines.base import EngineResult
from services.faceswap.engines.colour import to_lab
from services.faceswap.engines.drawn_face import PasteSettings, match_colour, paste_mask
from services.faceswap.finishing import match_target
from tests.support.faces import BARE, BESPECTACLED, drawn, portrait


def crop_of(analyser: FaceAnalyser, image: Image, side: int = 256) -> tuple[FloatArray, FloatArray]:
    """The first face's crop, 0–1, and its mesh in the crop."""
    face = analyser.analyse(image, attributes=False)[0]
    matrix = similarity(face.landmarks, swapper_template(128, side))
    return cut(image, matrix, side).astype(np.float32) / 255, carry(matrix, face.mesh.points)


def skin_tone(crop: FloatArray, mask: FloatArray, points: FloatArray) -> FloatArray:
    skin = (mask > 0.5) & (masks.features(points, mask.shape[:2], float(np.ptp(points[:, 0]))) == 0)
    return np.asarray(to_lab(crop * 255)[skin].mean(axis=0))


@pytest.mark.parametrize("fault", ["paler", "darker", "tinted"])
def test_a_face_of_another_tone_gets_the_targets(analyser: FaceAnalyser, fault: str) -> None:
    crop, points = crop_of(analyser, portrait())
    mask = paste_mask(crop, points)
    drawn_face = {
        "paler": crop * 0.7 + 0.28,
        "darker": crop * 0.75,
        "tinted": np.clip(crop + np.array([0.08, -0.03, -0.05]), 0, 1),
    }[fault].astype(np.float32)
    target = skin_tone(crop, mask, points)
    assert np.abs(skin_tone(drawn_face, mask, points) - target).max() > 4
    matched = match_colour(drawn_face, crop, points, mask)
    assert np.abs(skin_tone(matched, mask, points) - target).max() < 1.5


def test_light_from_one_side_comes_back(analyser: FaceAnalyser) -> None:
    crop, points = crop_of(analyser, portrait())
    mask = paste_mask(crop, points)
    ramp = np.linspace(0.7, 1.0, crop.shape[1], dtype=np.float32)[None, :, None]
    lit = crop * ramp
    matched = match_colour(crop, lit, points, mask)
    inside = mask > 0.9
    assert np.abs(matched - lit)[inside].mean() < 0.4 * np.abs(crop - lit)[inside].mean()


def test_a_face_that_is_the_targets_keeps_every_value(analyser: FaceAnalyser) -> None:
    crop, points = crop_of(analyser, drawn(2, 320))
    assert np.array_equal(match_colour(crop, crop, points, paste_mask(crop, points)), crop)


def test_a_face_without_skin_to_compare_keeps_every_value(analyser: FaceAnalyser) -> None:
    crop, points = crop_of(analyser, drawn(2, 320))
    assert np.array_equal(match_colour(crop * 0.5, crop, points, np.zeros(crop.shape[:2], np.float32)), crop * 0.5)


@pytest.mark.parametrize("side", [128, 256])
@pytest.mark.parametrize("person", BESPECTACLED)
def test_the_frame_of_glasses_stays_the_targets(analyser: FaceAnalyser, person: int, side: int) -> None:
    crop, points = crop_of(analyser, drawn(person, 320), side)
    kept, covered = (paste_mask(crop, points, PasteSettings(keep_occluders=kept)) for kept in (True, False))
    hole = (covered - kept) > 0.5
    eyes = masks.fill(points, (*landmarks.RIGHT_EYE, *landmarks.LEFT_EYE), hole.shape, hull=True)
    assert 0.01 < hole.mean() < 0.2
    # A line around the eyes, and not the eyes themselves.
    assert kept[eyes > 0].mean() > 0.5


@pytest.mark.parametrize("person", BARE[:3])
def test_nothing_is_cut_out_of_a_bare_face(analyser: FaceAnalyser, person: int) -> None:
    crop, points = crop_of(analyser, drawn(person, 320))
    middle = masks.middle(points, (256, 256), float(np.ptp(points[:, 0])))
    assert paste_mask(crop, points)[middle > 0.9].mean() > 0.97


def test_a_glove_before_the_cheek_stays(analyser: FaceAnalyser) -> None:
    crop, points = crop_of(analyser, portrait())
    width = float(np.ptp(points[:, 0]))
    cheek = points[205, :2]
    corner = cheek + np.array([-0.45, 0.3]) * width
    gloved = crop.copy()
    glove = np.zeros(crop.shape[:2], dtype=np.uint8)
    ends = [tuple(int(value) for value in np.rint(place)) for place in (corner, cheek)]
    cv2.line(glove, ends[0], ends[1], 1, round(0.16 * width))
    gloved[glove > 0] = (0.1, 0.25, 0.55)
    inside = (glove > 0) & (paste_mask(crop, points) > 0.9)
    assert inside.sum() > 100
    assert paste_mask(gloved, points)[inside].mean() < 0.35


def smoothed(image: Image, face: Face) -> EngineResult:
    """The picture with its face drawn soft, as a network of few pixels draws it."""
    region = region_around(face.mesh.points, image.shape, 0.05)
    after = image.copy()
    part = after[region.rows, region.columns]
    points = face.mesh.points - [region.left, region.top, 0]
    mask = masks.inner_oval(points, part.shape[:2], float(np.ptp(points[:, 0])), 0.02, 0.08)
    soft = cv2.GaussianBlur(part, (0, 0), 2.5)
    part[:] = np.rint(part + (soft.astype(np.float32) - part) * mask[..., None]).astype(np.uint8)
    return EngineResult(after, region, mask, 1.0)


def grain(image: Image, result: EngineResult) -> float:
    """Standard deviation of the finest detail inside the mask, robustly."""
    part = image[result.region.rows, result.region.columns].astype(np.float32)
    fine = part - cv2.GaussianBlur(part, (0, 0), 0.8)
    return float(np.median(np.abs(fine[result.mask > 0.9])) * 1.4826)


def detail(image: Image, result: EngineResult) -> float:
    """Standard deviation of the finest detail inside the mask, brows and lashes among it."""
    part = image[result.region.rows, result.region.columns].astype(np.float32)
    return float((part - cv2.GaussianBlur(part, (0, 0), 0.8))[result.mask > 0.9].std())


@pytest.mark.parametrize("restored", [False, True])
def test_a_smooth_face_in_a_grainy_picture_gets_its_grain(analyser: FaceAnalyser, restored: bool) -> None:
    clean = drawn(2, 512)
    noise = np.random.default_rng(0).normal(0, 6, clean.shape)
    image = np.clip(clean + noise, 0, 255).astype(np.uint8)
    face = analyser.analyse(image, attributes=False)[0]
    result = smoothed(image, face)
    finished = match_target(image, result, face, restored=restored)
    wanted = grain(image, result)
    assert grain(result.image, result) < 0.4 * wanted
    assert 0.75 * wanted < grain(finished.image, result) < 1.2 * wanted
    again = match_target(image, result, face, restored=restored)
    assert np.array_equal(again.image, finished.image)


def test_only_pixels_that_the_engine_changed_get_grain(analyser: FaceAnalyser) -> None:
    image = np.clip(drawn(2, 512) + np.random.default_rng(0).normal(0, 6, (512, 512, 3)), 0, 255).astype(np.uint8)
    face = analyser.analyse(image, attributes=False)[0]
    result = smoothed(image, face)
    finished = match_target(image, result, face, restored=False)
    changed = (finished.image != result.image).any(axis=2)
    region = result.region
    assert changed[region.rows, region.columns].any()
    assert not changed[region.rows, region.columns][result.mask == 0].any()
    changed[region.rows, region.columns] = False
    assert not changed.any()


def test_a_restored_face_stays_sharp_in_a_soft_picture_and_a_drawn_one_does_not(analyser: FaceAnalyser) -> None:
    sharp = drawn(2, 512)
    image = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 3), dtype=np.uint8)
    face = analyser.analyse(image, attributes=False)[0]
    region = region_around(face.mesh.points, image.shape, 0.05)
    points = face.mesh.points - [region.left, region.top, 0]
    size = (region.bottom - region.top, region.right - region.left)
    mask = masks.inner_oval(points, size, float(np.ptp(points[:, 0])), 0.02, 0.08)
    result = EngineResult(sharp.copy(), region, mask, 1.0)
    kept = match_target(image, result, face, restored=True)
    softer = match_target(image, result, face, restored=False)
    assert np.array_equal(kept.image, sharp)
    assert detail(softer.image, result) < 0.8 * detail(sharp, result)


def test_a_result_that_changed_nothing_stays_as_it_is(analyser: FaceAnalyser) -> None:
    image = drawn(2, 320)
    face = analyser.analyse(image, attributes=False)[0]
    result = smoothed(image, face)
    empty = dataclasses.replace(result, image=image.copy(), mask=np.zeros_like(result.mask))
    assert match_target(image, empty, face, restored=False) is empty
