"""Swaps that would turn the head: made once more with the reference's form leaned back, or told."""

from __future__ import annotations

import numpy as np
import pytest

from core.faces import Face, FaceAnalyser
from core.faces.arrays import Image
from core.faces.pose import HeadPose
from core.runtime.cancellation import CancelToken
from services.faceswap.engines.base import EngineResult
from services.faceswap.engines.mesh import MeshEngine
from services.faceswap.engines.shape import UPRIGHT
from services.faceswap.outcome import SwapChoices, SwapOutcome
from services.faceswap.pose_keeping import POSE_LIMIT, counter_lean
from services.faceswap.references import Reference, View
from services.faceswap.swapper import FaceSwapper
from tests.support.faces import drawn, group_photo

ALONE = HeadPose(0.0, 0.0, 0.0)


class Recording(MeshEngine):
    """Remembers every swap, and leans by `share` of what is asked for."""

    def __init__(self, analyser: FaceAnalyser, share: float = 1.0) -> None:
        super().__init__(analyser.canonical)
        self._share = share
        self.targets: list[Image] = []
        self.images: list[Image] = []

    def swap(
        self, target_image: Image, target: Face, reference_image: Image, reference: Face, lean: HeadPose = UPRIGHT
    ) -> EngineResult:
        lean = HeadPose(*(self._share * angle for angle in (lean.yaw, lean.pitch, lean.roll)))
        result = super().swap(target_image, target, reference_image, reference, lean)
        self.targets.append(target_image)
        self.images.append(result.image)
        return result


@pytest.fixture(scope="module")
def group(analyser: FaceAnalyser) -> list[Reference]:
    """The six people of the group photo, from left to right."""
    photo = group_photo()
    if photo is None:
        pytest.skip("the insightface package is not installed")
    faces = sorted(analyser.analyse(photo, attributes=False), key=lambda face: float(face.mesh.points[:, 0].mean()))
    return [Reference((View(photo, face),), face.embedding) for face in faces]


def swapped(analyser: FaceAnalyser, engine: MeshEngine, target: Image, reference: Reference) -> SwapOutcome:
    return FaceSwapper(analyser, [engine]).swap(target, [reference], SwapChoices(), CancelToken())


def change(analyser: FaceAnalyser, before: Image, after: Image) -> float:
    (face,) = analyser.analyse(before, attributes=False)
    again = analyser.analyse_again(after, face)
    assert again is not None
    return again.pose.largest_difference(face.pose)


@pytest.mark.parametrize(("index", "person"), [(0, 2), (19, 0)], ids=["nod", "turn"])
def test_a_swap_that_changes_the_pose_is_made_once_more_and_ends_within_the_limit(
    analyser: FaceAnalyser, group: list[Reference], index: int, person: int
) -> None:
    target, engine = drawn(index, 512), Recording(analyser)
    outcome = swapped(analyser, engine, target, group[person])
    (face,) = outcome.swapped
    assert change(analyser, target, engine.images[0]) > POSE_LIMIT
    assert face.pose_change_degrees is not None
    assert face.pose_change_degrees <= POSE_LIMIT
    assert face.pose_change_degrees == pytest.approx(change(analyser, target, outcome.image), abs=0.01)
    assert not any("pose" in warning for warning in outcome.warnings)
    assert len(engine.images) == 2
    assert all(np.array_equal(given, target) for given in engine.targets)


def test_a_second_try_that_is_no_nearer_is_dropped_and_the_change_is_told(
    analyser: FaceAnalyser, group: list[Reference]
) -> None:
    target, engine = drawn(0, 512), Recording(analyser, share=-1.0)
    outcome = swapped(analyser, engine, target, group[2])
    assert len(engine.images) == 2
    assert np.array_equal(outcome.image, engine.images[0])
    (face,) = outcome.swapped
    assert face.pose_change_degrees is not None
    assert face.pose_change_degrees > POSE_LIMIT
    assert f"target face 0: the head's pose changed by {face.pose_change_degrees:.1f}°" in outcome.warnings


def test_a_swap_that_keeps_the_pose_is_made_once(analyser: FaceAnalyser, group: list[Reference]) -> None:
    engine = Recording(analyser)
    outcome = swapped(analyser, engine, drawn(14, 512), group[0])
    (face,) = outcome.swapped
    assert face.pose_change_degrees is not None
    assert face.pose_change_degrees <= POSE_LIMIT
    assert len(engine.images) == 1


def test_lean_is_against_what_is_beyond_the_limit_only() -> None:
    assert counter_lean(ALONE, HeadPose(4.9, -4.9, 4.9)) is None
    lean = counter_lean(ALONE, HeadPose(3.0, 8.0, -6.0))
    assert lean is not None
    assert lean.yaw == 0
    assert lean.pitch < 0 < lean.roll
    assert abs(lean.pitch) > abs(lean.roll)


def test_lean_takes_the_short_way_round_and_is_bounded() -> None:
    assert counter_lean(HeadPose(0, 0, 179), HeadPose(0, 0, -179)) is None
    lean = counter_lean(HeadPose(0, 0, 176), HeadPose(0, 0, -176))
    assert lean is not None
    assert -20 < lean.roll < 0
    assert counter_lean(ALONE, HeadPose(0, 80, 0)) == HeadPose(0, -20, 0)
