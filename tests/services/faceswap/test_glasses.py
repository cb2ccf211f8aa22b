"""Frames of glasses are found whole or not at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.faces import Face, FaceAnalyser
from core.faces.arrays import Image
from core.faces.region import region_around
from services.faceswap.engines.colour import to_lab
from services.faceswap.engines.mesh import GLASSES_KEPT, MeshEngine
from services.faceswap.engines.occluders import find_occluders
from tests.support.faces import BARE, drawn, group_photo, portrait
from weights.recipe.draw import draw
from weights.recipe.people import sample_person, sample_shot


def frame_of(image: Image, face: Face) -> np.ndarray:
    """The frame, looked for in the face's region as the engine does, in the whole picture's pixels."""
    region = region_around(face.mesh.points, image.shape, 0.12)
    part = np.ascontiguousarray(image[region.rows, region.columns])
    points = face.mesh.points - np.array([region.left, region.top, 0.0])
    found = np.zeros(image.shape[:2], np.float32)
    size, width = (part.shape[0], part.shape[1]), float(np.ptp(points[:, 0]))
    found[region.rows, region.columns] = find_occluders(to_lab(part), points, size, width, face.pose.yaw).glasses
    return found


def pair(seed: int, kind: str) -> tuple[Image, Image]:
    """The same person without and with glasses."""
    rng = np.random.default_rng((31, seed))
    person = replace(sample_person(rng), skin=0.2, hair_style="short", fringe=False)
    shot = sample_shot(rng, person)
    without = draw(replace(person, glasses="none"), shot)
    return without, draw(replace(person, glasses=kind, glasses_colour="black"), shot)


@pytest.mark.parametrize("kind", ["round", "square", "thin"])
def test_the_frame_is_found_where_the_pictures_with_and_without_differ(analyser: FaceAnalyser, kind: str) -> None:
    found = []
    for seed in range(3):
        without, image = pair(seed, kind)
        (face,) = analyser.analyse(image, attributes=False)
        frame = frame_of(image, face) > 0.5
        if not frame.any():
            continue
        truth = np.abs(image.astype(int) - without).sum(axis=2) > 60
        low, high = face.mesh.points[:, :2].min(axis=0).astype(int), face.mesh.points[:, :2].max(axis=0).astype(int)
        inside = (slice(low[1], high[1]), slice(low[0], high[0]))
        found.append((frame & truth)[inside].sum() / truth[inside].sum())
    assert len(found) >= 2
    assert np.mean(found) > 0.6


@pytest.mark.parametrize("grain", [0.0, 9.0])
def test_nobody_without_glasses_is_given_some(analyser: FaceAnalyser, grain: float) -> None:
    for index in BARE[:4]:
        image = drawn(index)
        (face,) = analyser.analyse(image, attributes=False)
        noise = np.random.default_rng(1).normal(0, grain, image.shape) if grain else np.zeros(image.shape)
        assert not frame_of(np.clip(image + noise, 0, 255).astype(np.uint8), face).any()


def test_hard_shadows_around_the_eyes_of_a_photo_are_no_glasses(analyser: FaceAnalyser) -> None:
    photo = group_photo()
    if photo is None:
        pytest.skip("the insightface package is not installed")
    for image in (photo, portrait()):
        for face in analyser.analyse(image, attributes=False):
            assert not frame_of(image, face).any()


def test_a_swap_lays_the_frame_over_the_new_face_and_says_so(
    analyser: FaceAnalyser, engine: MeshEngine, reference: Face
) -> None:
    _, image = pair(1, "round")
    (face,) = analyser.analyse(image, attributes=False)
    result = engine.swap(image, face, portrait(), reference)
    frame = frame_of(image, face) > 0.9
    assert frame.any()
    assert np.abs(result.image[frame].astype(int) - image[frame]).mean() < 6
    assert GLASSES_KEPT in result.warnings
    (bare,) = analyser.analyse(drawn(BARE[0]), attributes=False)
    assert GLASSES_KEPT not in engine.swap(drawn(BARE[0]), bare, portrait(), reference).warnings
