"""The picture between a face and its swap."""

from __future__ import annotations

import numpy as np
import pytest

from core.faces import FaceAnalyser
from core.faces.region import region_around
from services.faceswap.weighting import mix_faces
from tests.support.faces import portrait


def test_half_way_between_a_face_and_the_same_moved_down_it_is_moved_half_as_far(analyser: FaceAnalyser) -> None:
    before = np.asarray(portrait())
    (face,) = analyser.analyse(before)
    points = face.mesh.points
    width = float(np.ptp(points[:, 0]))
    step = round(0.03 * width)
    region = region_around(points, before.shape, 0.12)
    moved = points + np.array([0.0, 2 * step, 0.0])
    after = before.copy()
    after[region.rows, region.columns] = np.roll(before, 2 * step, axis=0)[region.rows, region.columns]
    half = mix_faces(before, after, region, (points, moved), analyser.canonical, 0.5)
    middle = np.mean(points[:, :2], axis=0).astype(int)
    reach = int(0.2 * width)
    inner = (slice(middle[1] - reach, middle[1] + reach), slice(middle[0] - reach, middle[0] + reach))
    truth = np.roll(before, step, axis=0)[inner].astype(float)
    # A plain mix shows each feature twice.
    plain = (before[inner].astype(float) + after[inner]) / 2
    assert np.abs(half[inner] - truth).mean() < 0.35 * np.abs(plain - truth).mean()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_ends_are_the_two_pictures(analyser: FaceAnalyser, weight: float) -> None:
    before = np.asarray(portrait())
    (face,) = analyser.analyse(before)
    region = region_around(face.mesh.points, before.shape, 0.12)
    after = before.copy()
    after[region.rows, region.columns] //= 2
    meshes = (face.mesh.points, face.mesh.points + 2.0)
    mixed = mix_faces(before, after, region, meshes, analyser.canonical, weight)
    expected = after if weight else before
    assert np.abs(mixed.astype(int) - expected).max() <= 1


def test_outside_the_region_nothing_changes(analyser: FaceAnalyser) -> None:
    before = np.asarray(portrait())
    (face,) = analyser.analyse(before)
    region = region_around(face.mesh.points, before.shape, 0.05)
    after = before.copy()
    after[region.rows, region.columns] = 255 - after[region.rows, region.columns]
    mixed = mix_faces(before, after, region, (face.mesh.points, face.mesh.points + 3.0), analyser.canonical, 0.4)
    outside = np.ones(before.shape[:2], dtype=bool)
    outside[region.rows, region.columns] = False
    assert np.array_equal(mixed[outside], before[outside])
