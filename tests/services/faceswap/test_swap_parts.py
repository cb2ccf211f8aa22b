"""Warp, blending and masks of the mesh engine."""

from __future__ import annotations

import numpy as np
import pytest

from core.faces import Face, FaceAnalyser, landmarks
from services.faceswap.engines.blend import blend_bands, seam_ratio
from services.faceswap.engines.colour import to_lab
from services.faceswap.engines.masks import blur, erode, fill, grow, inner_oval, smoothstep
from services.faceswap.engines.occluders import Occluders, find_occluders
from services.faceswap.engines.shape import mouth_triangles
from services.faceswap.engines.warp import prepare_source, rasterise, signed_areas
from tests.support.faces import BARE, BESPECTACLED, drawn, portrait


def test_triangles_of_the_canonical_face_and_the_mouth_face_the_viewer(analyser: FaceAnalyser) -> None:
    canonical = analyser.canonical
    areas = signed_areas(canonical.points, canonical.triangles)
    # Under the nose and at the jaw's rim some are seen edge-on.
    assert (areas > 0).mean() > 0.95
    assert (signed_areas(canonical.points, mouth_triangles()) >= 0).all()


def test_raster_interpolates_linearly() -> None:
    points = np.zeros((468, 3))
    points[:3] = [(1, 1, 0), (31, 1, 0), (1, 31, 0)]
    raster = rasterise(points, np.array([[0, 1, 2]]), (33, 33))
    field = raster.interpolate(points[:, :2])
    assert raster.cover[5, 5] == 0
    assert raster.cover[30, 30] == -1
    assert np.allclose(field[10, 7], (7, 10), atol=1e-3)


def test_raster_drops_back_faces_and_hides_what_is_behind() -> None:
    points = np.zeros((468, 3))
    points[:6] = [(0, 0, 5), (30, 0, 5), (0, 30, 5), (0, 0, 1), (30, 0, 1), (0, 30, 1)]
    raster = rasterise(points, np.array([[0, 1, 2], [3, 4, 5], [0, 2, 1]]), (20, 20))
    assert len(raster.triangles) == 2
    assert raster.triangles[raster.cover[3, 3]].tolist() == [3, 4, 5]


def test_source_is_shrunk_by_area_before_it_is_sampled(analyser: FaceAnalyser) -> None:
    canonical = analyser.canonical
    stripes = np.zeros((900, 900, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    points = canonical.points * 700 + (450, 450, 0)
    source = prepare_source(stripes, points, canonical.points * 70, canonical.triangles)
    sampled = source.sample(np.full((8, 8, 2), 450, dtype=np.float32))
    assert abs(sampled - 127.5).max() < 4


def test_blending_equal_pictures_changes_nothing() -> None:
    picture = np.random.default_rng(1).uniform(0, 255, (65, 80, 3)).astype(np.float32)
    mask = np.zeros((65, 80), dtype=np.float32)
    mask[20:40, 20:60] = 1
    assert np.allclose(blend_bands(picture, picture, mask, 4), picture, atol=1e-3)


def test_blending_takes_each_side_and_leaves_no_edge() -> None:
    inside, outside = np.full((128, 128, 3), 200, np.float32), np.full((128, 128, 3), 50, np.float32)
    mask = np.zeros((128, 128), dtype=np.float32)
    mask[:, 64:] = 1
    blended = blend_bands(inside, outside, mask, 5)
    assert blended[64, 2, 0] == pytest.approx(50, abs=3)
    assert blended[64, 125, 0] == pytest.approx(200, abs=3)
    assert abs(np.diff(blended[64, :, 0])).max() < 20


def test_seam_ratio_sees_a_seam_and_its_absence() -> None:
    before = np.random.default_rng(2).normal(120, 6, (96, 96, 3)).astype(np.float32)
    mask = np.zeros((96, 96), dtype=np.float32)
    mask[24:72, 24:72] = 1
    assert seam_ratio(before, before.copy(), mask) == pytest.approx(1)
    pasted = before + 60 * mask[..., None]
    assert seam_ratio(before, pasted, mask) > 3


def test_wide_blur_and_morphology_match_the_exact_ones() -> None:
    mask = np.zeros((300, 300), dtype=np.float32)
    mask[120:180, 100:200] = 1
    assert blur(mask, 12)[150, 150] == pytest.approx(0.98, abs=0.03)
    assert blur(mask, 12)[120, 150] == pytest.approx(0.5, abs=0.05)
    assert abs(grow(mask, 20)[150].sum() - 140) <= 6
    assert abs(erode(mask, 20)[150].sum() - 60) <= 6


def test_smoothstep_rises_between_its_limits() -> None:
    assert smoothstep(1, 3, np.array([0.0, 1.0, 2.0, 3.0, 4.0])).tolist() == [0, 0, 0.5, 1, 1]


def test_oval_mask_is_full_inside_and_empty_outside(reference: Face) -> None:
    size = portrait().shape[0], portrait().shape[1]
    mask = inner_oval(reference.mesh.points, size, reference.width, 0.03, 0.05)
    x, y = reference.landmarks[2].astype(int)
    assert mask[y, x] == 1
    assert mask[0, 0] == 0
    for px, py in reference.mesh.points[list(landmarks.OVAL), :2]:
        assert mask[round(py), round(px)] < 0.05


def occluders(analyser: FaceAnalyser, index: int) -> tuple[Occluders, Face]:
    (face,) = analyser.analyse(drawn(index), attributes=False)
    image = drawn(index)
    return find_occluders(to_lab(image), face.mesh.points, (image.shape[0], image.shape[1]), face.width), face


def test_fringe_is_hair_and_the_cheeks_are_not(reference: Face) -> None:
    image = portrait()
    size = image.shape[0], image.shape[1]
    found = find_occluders(to_lab(image), reference.mesh.points, size, float(np.ptp(reference.mesh.points[:, 0])))
    rim = [103, 67, 109, 10, 338, 297, 332]
    inner = [333, 299, 337, 151, 108, 69, 104]
    points = reference.mesh.points.copy()
    points[inner] = 0.6 * points[rim[::-1]] + 0.4 * points[inner]
    fringe = fill(points, rim + inner, size) > 0
    assert (found.hair[fringe] > 0.5).mean() > 0.6
    for point in (205, 425, landmarks.NOSE_TIP, landmarks.RIGHT_BROW[5], landmarks.LEFT_BROW[5]):
        x, y = reference.mesh.points[point, :2].round().astype(int)
        assert found.hair[y, x] < 0.3


@pytest.mark.parametrize("index", BARE)
def test_bare_faces_have_no_glasses(analyser: FaceAnalyser, index: int) -> None:
    found, _ = occluders(analyser, index)
    assert found.glasses.max() == 0


@pytest.mark.parametrize("index", BESPECTACLED)
def test_broad_frames_are_found_on_both_sides(analyser: FaceAnalyser, index: int) -> None:
    found, face = occluders(analyser, index)
    columns = np.flatnonzero(found.glasses.max(axis=0) > 0.5)
    assert columns.min() < face.landmarks[0, 0]
    assert columns.max() > face.landmarks[1, 0]
