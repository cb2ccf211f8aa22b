"""Restoring a swapped face, over restorers of the real signatures."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from core.faces import Face, FaceAnalyser
from core.faces.alignment import FFHQ_512, carry, similarity
from core.faces.arrays import FloatArray, Image
from core.faces.region import Region
from services.faceswap.engines.base import EngineResult
from services.faceswap.engines.mesh import MeshEngine
from services.faceswap.restoration.base import CROP_SIZE
from services.faceswap.restoration.change import add_change
from services.faceswap.restoration.stage import RestorationChoice, restore_face
from tests.support.faces import drawn, portrait


@dataclasses.dataclass(frozen=True)
class Painter:
    """A restorer that adds a picture."""

    change: FloatArray
    name: str = "painter"
    takes_fidelity: bool = False
    provider: str = "CPUExecutionProvider"

    def restore(self, crop: FloatArray, fidelity: float) -> FloatArray:
        return np.clip(crop + self.change, 0, 1)


NOTHING = Painter(np.zeros((CROP_SIZE, CROP_SIZE, 3), dtype=np.float32))


def dot(x: float, y: float, sigma: float = 6.0, height: float = 0.5) -> FloatArray:
    rows, columns = np.mgrid[0:CROP_SIZE, 0:CROP_SIZE]
    bump = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)) * height
    return np.repeat(bump[..., None], 3, axis=2).astype(np.float32)


def swapped_everywhere(image: Image) -> EngineResult:
    height, width = image.shape[:2]
    return EngineResult(image, Region(0, 0, width, height), np.ones((height, width), dtype=np.float32), 1.0)


def at(face: Face, centre: tuple[float, float], eyes: float, degrees: float) -> Face:
    """The face with its points moved to `centre`, the eyes `eyes` pixels apart, turned clockwise."""
    scale = eyes / np.linalg.norm(FFHQ_512[1] - FFHQ_512[0])
    cos, sin = np.cos(np.radians(degrees)) * scale, np.sin(np.radians(degrees)) * scale
    points = (FFHQ_512 - FFHQ_512.mean(axis=0)) @ np.array([[cos, sin], [-sin, cos]]) + centre
    return dataclasses.replace(face, landmarks=points)


def constant(image: Image, points: FloatArray) -> FloatArray:
    return np.array([1.0, 0.0])


SAME = np.array([1.0, 0.0])


@pytest.mark.parametrize(
    ("eyes", "degrees"),
    [(126.0, 0.0), (40.0, 17.0), (25.3, -140.0), (240.0, 33.0)],
    ids=["as-is", "small", "tiny", "large"],
)
def test_what_the_restorer_draws_lands_where_the_face_is_to_a_tenth_of_a_pixel(
    reference: Face, eyes: float, degrees: float
) -> None:
    image = np.full((700, 800, 3), 60, dtype=np.uint8)
    face = at(reference, (410.3, 340.7), eyes, degrees)
    x, y = (float(value) for value in FFHQ_512[2])
    result = restore_face(
        swapped_everywhere(image), face, SAME, Painter(dot(x, y, sigma=16)), RestorationChoice(), constant
    )
    weight = result.image[..., 0].astype(float) - 60
    rows, columns = np.mgrid[0:700, 0:800]
    centre = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    np.testing.assert_allclose(centre, face.landmarks[2], atol=0.1)


def test_restorer_that_changes_nothing_changes_no_pixel_of_a_turned_face(reference: Face) -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    face = at(reference, (150.4, 140.2), 61.7, 23.0)
    result = restore_face(swapped_everywhere(image), face, SAME, NOTHING, RestorationChoice(), constant)
    assert np.array_equal(result.image, image)
    assert result.visibility == 1.0


@pytest.mark.parametrize("visibility", [0.0, 0.3, 1.0])
def test_visibility_says_how_strongly_the_restored_face_shows(reference: Face, visibility: float) -> None:
    image = np.full((512, 512, 3), 100, dtype=np.uint8)
    face = dataclasses.replace(reference, landmarks=FFHQ_512)
    flat = Painter(np.full((CROP_SIZE, CROP_SIZE, 3), 0.2, dtype=np.float32))
    choice = RestorationChoice(visibility=visibility)
    result = restore_face(swapped_everywhere(image), face, SAME, flat, choice, constant)
    assert result.visibility == visibility
    assert result.image[256, 256, 0] == round(100 + 51 * visibility)


def test_only_what_the_swap_replaced_is_restored(analyser: FaceAnalyser, engine: MeshEngine, reference: Face) -> None:
    image = drawn(2, 320)
    (target,) = analyser.analyse(image)
    swap = engine.swap(image, target, portrait(), reference)
    bright = Painter(np.full((CROP_SIZE, CROP_SIZE, 3), 0.2, dtype=np.float32))
    restored = restore_face(swap, target, SAME, bright, RestorationChoice(), constant)
    changed = (restored.image != swap.image).any(axis=2)
    assert changed[swap.region.rows, swap.region.columns][swap.mask > 0.5].mean() > 0.95
    assert not changed[swap.region.rows, swap.region.columns][cv2.dilate(swap.mask, np.ones((7, 7))) == 0].any()
    changed[swap.region.rows, swap.region.columns] = False
    assert not changed.any()


def test_restoring_that_would_cost_likeness_is_weakened(reference: Face) -> None:
    image = np.full((512, 512, 3), 100, dtype=np.uint8)
    face = dataclasses.replace(reference, landmarks=FFHQ_512)
    flat = Painter(np.full((CROP_SIZE, CROP_SIZE, 3), 0.2, dtype=np.float32))

    def embed(picture: Image, points: FloatArray) -> FloatArray:
        angle = max(0.0, (float(picture[256, 256, 0]) - 130) / 40)
        return np.array([np.cos(angle), np.sin(angle)])

    result = restore_face(swapped_everywhere(image), face, SAME, flat, RestorationChoice(), embed)
    assert result.visibility == 0.75
    assert 0 <= result.identity_lost <= 0.02
    assert result.image[256, 256, 0] == round(100 + 51 * 0.75)


def test_restoring_that_always_costs_likeness_leaves_the_swap_as_it_is(reference: Face) -> None:
    image = np.full((512, 512, 3), 100, dtype=np.uint8)
    face = dataclasses.replace(reference, landmarks=FFHQ_512)
    flat = Painter(np.full((CROP_SIZE, CROP_SIZE, 3), 0.2, dtype=np.float32))

    def embed(picture: Image, points: FloatArray) -> FloatArray:
        return SAME if picture[256, 256, 0] == 100 else -SAME

    result = restore_face(swapped_everywhere(image), face, SAME, flat, RestorationChoice(), embed)
    assert result.visibility == 0.0
    assert np.array_equal(result.image, image)


def test_likeness_is_measured_at_the_faces_points_in_the_crop(reference: Face) -> None:
    seen: list[FloatArray] = []

    def embed(picture: Image, points: FloatArray) -> FloatArray:
        assert picture.shape == (CROP_SIZE, CROP_SIZE, 3)
        seen.append(points)
        return SAME

    face = at(reference, (150.4, 140.2), 61.7, 23.0)
    image = np.full((300, 300, 3), 100, dtype=np.uint8)
    restore_face(swapped_everywhere(image), face, SAME, NOTHING, RestorationChoice(), embed)
    np.testing.assert_allclose(seen[0], carry(similarity(face.landmarks, FFHQ_512), face.landmarks))
    np.testing.assert_allclose(seen[0], FFHQ_512, atol=1e-6)


def test_change_outside_the_picture_changes_nothing() -> None:
    image = np.full((40, 40, 3), 100, dtype=np.uint8)
    far = np.array([[1.0, 0.0, 900.0], [0.0, 1.0, 900.0]])
    change = np.full((CROP_SIZE, CROP_SIZE, 3), 0.5, dtype=np.float32)
    assert np.array_equal(add_change(image, change, np.ones((CROP_SIZE, CROP_SIZE), dtype=np.float32), far), image)


def test_large_face_keeps_the_detail_that_the_crop_cannot_hold(reference: Face) -> None:
    image = np.tile(np.array([[80, 120], [120, 80]], dtype=np.uint8), (600, 600))[..., None].repeat(3, axis=2)
    face = at(reference, (600.0, 600.0), 500.0, 0.0)
    flat = Painter(np.full((CROP_SIZE, CROP_SIZE, 3), 0.1, dtype=np.float32))
    result = restore_face(swapped_everywhere(image), face, SAME, flat, RestorationChoice(), constant)
    part = result.image[500:700, 500:700, 0].astype(float)
    assert part.std() > 19
    assert part.mean() == pytest.approx(100 + 25.5, abs=1)
