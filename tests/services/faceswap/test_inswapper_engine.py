"""The engine inswapper over networks of the real signatures with random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra inswapper is not installed")
pytest.importorskip("insightface.model_zoo.inswapper", reason="the extra inswapper is not installed")

from core.faces import Face, FaceAnalyser
from core.faces.alignment import carry, swapper_template
from core.faces.arcface import ArcFaceEmbedder, KeyPointDetector
from core.faces.arrays import Image
from core.faces.pose import place_face
from core.faces.providers import Execution
from likeness.errors import Cancelled, FaceTooSmall, FaceTurnedTooFar, InvalidRequest, NonFiniteResult
from services.faceswap.engines.drawn_face import PasteSettings
from services.faceswap.engines.inswapper import InswapperEngine, InswapperNetworks, InswapperSettings
from services.faceswap.engines.swap_network import SwapNetwork
from tests.support import swap_networks
from tests.support.faces import drawn, portrait


def networks(folder: Path, **swapper: float) -> InswapperNetworks:
    return InswapperNetworks(
        SwapNetwork(swap_networks.inswapper(folder / "inswapper_128.onnx", **swapper), Execution()),  # type: ignore[arg-type]
        ArcFaceEmbedder(swap_networks.arcface(folder / "w600k_r50.onnx"), Execution()),
        None,
    )


@pytest.fixture(scope="module")
def target(analyser: FaceAnalyser) -> tuple[Image, Face]:
    image = drawn(2, 320)
    (face,) = analyser.analyse(image)
    return image, face


def on_the_grid(face: Face, size: int) -> Face:
    """The face with points for which the crop of `size` is the picture moved by whole pixels."""
    corner = np.rint(face.landmarks.mean(axis=0) - swapper_template(128, size).mean(axis=0))
    return dataclasses.replace(face, landmarks=swapper_template(128, size) + corner)


@pytest.mark.parametrize("size", [128, 256])
def test_network_that_changes_nothing_changes_no_pixel(
    tmp_path: Path, target: tuple[Image, Face], reference: Face, size: int
) -> None:
    image, face = target
    engine = InswapperEngine(networks(tmp_path)).drawn_at(size)
    result = engine.swap(image, on_the_grid(face, size), portrait(), reference)
    assert np.array_equal(result.image, image)
    assert result.image is not image
    assert result.mask.max() > 0.99
    assert result.seam_ratio == pytest.approx(1.0)


def test_paste_of_a_turned_and_scaled_crop_has_no_shift(
    tmp_path: Path, target: tuple[Image, Face], reference: Face
) -> None:
    image, face = target
    smooth = np.asarray(cv2.GaussianBlur(image, (0, 0), 4), dtype=np.uint8)
    tilted = carry(np.array([[0.98, -0.2, 20.3], [0.2, 0.98, -18.7]]), face.landmarks)
    result = InswapperEngine(networks(tmp_path)).swap(
        smooth, dataclasses.replace(face, landmarks=tilted), portrait(), reference
    )
    inside = result.mask > 0.9
    before = smooth[result.region.rows, result.region.columns].astype(float)
    after = result.image[result.region.rows, result.region.columns].astype(float)
    slope = np.gradient(before, axis=1)
    shift = ((after - before)[inside] * slope[inside]).sum() / (slope[inside] ** 2).sum()
    assert abs(shift) < 0.03
    assert np.abs(after - before)[inside].mean() < 1.0


@pytest.mark.parametrize("size", [128, 256, 512])
def test_only_the_face_is_changed_at_every_size(
    tmp_path: Path, target: tuple[Image, Face], reference: Face, size: int
) -> None:
    image, face = target
    settings = InswapperSettings(paste=PasteSettings(match_colour=False))
    engine = InswapperEngine(networks(tmp_path, gain=0.5), settings).drawn_at(size)
    result = engine.swap(image, face, portrait(), reference)
    changed = (result.image != image).any(axis=2)
    assert changed[result.region.rows, result.region.columns].any()
    changed[result.region.rows, result.region.columns] = False
    assert not changed.any()
    x, y = np.rint(face.mesh.points[:, :2].mean(axis=0)).astype(int)
    np.testing.assert_allclose(result.image[y, x], image[y, x] * 0.5, atol=12)


def test_identity_of_the_reference_reaches_the_network(
    tmp_path: Path, analyser: FaceAnalyser, target: tuple[Image, Face], reference: Face
) -> None:
    image, face = target
    engine = InswapperEngine(networks(tmp_path, tint=4.0))
    other = drawn(7)
    (stranger,) = analyser.analyse(other)
    first = engine.swap(image, face, portrait(), reference).image
    second = engine.swap(image, face, other, stranger).image
    again = engine.swap(image, face, portrait(), reference).image
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)


def test_person_of_several_views_is_the_mean_of_them(
    tmp_path: Path, analyser: FaceAnalyser, target: tuple[Image, Face], reference: Face
) -> None:
    image, face = target
    engine = InswapperEngine(networks(tmp_path, tint=4.0))
    other = drawn(7)
    (stranger,) = analyser.analyse(other)
    views = [(portrait(), reference), (other, stranger)]
    both = engine.identity(views)
    each = [engine.identity([view]) for view in views]
    assert np.linalg.norm(both) == pytest.approx(1)
    np.testing.assert_allclose(both @ each[0], both @ each[1], atol=1e-5)
    alone = engine.swap(image, face, portrait(), reference).image
    assert np.array_equal(engine.draw(image, face, each[0]).image, alone)
    assert not np.array_equal(engine.draw(image, face, both).image, alone)


def test_drawing_can_be_stopped_between_the_runs_of_a_boosted_face(
    tmp_path: Path, target: tuple[Image, Face], reference: Face
) -> None:
    image, face = target
    engine = InswapperEngine(networks(tmp_path)).drawn_at(512)
    runs: list[None] = []

    def stop_at_the_third() -> None:
        runs.append(None)
        if len(runs) == 3:
            raise Cancelled("gone")

    with pytest.raises(Cancelled):
        engine.draw(image, face, engine.identity([(portrait(), reference)]), stop_at_the_third)
    assert len(runs) == 3


def test_face_at_the_pictures_border_is_swapped_without_a_fringe(
    tmp_path: Path, target: tuple[Image, Face], reference: Face
) -> None:
    image, face = target
    left = int(face.mesh.points[:, 0].mean())
    part = np.ascontiguousarray(image[:, left:])
    moved = dataclasses.replace(
        face,
        landmarks=face.landmarks - [left, 0],
        mesh=dataclasses.replace(face.mesh, points=face.mesh.points - [left, 0, 0]),
    )
    result = InswapperEngine(networks(tmp_path)).swap(part, moved, portrait(), reference)
    assert np.abs(result.image.astype(int) - part)[:, :3].mean() < 2


def test_size_that_the_network_cannot_draw_is_refused_with_those_that_it_can(tmp_path: Path) -> None:
    given = dataclasses.replace(
        networks(tmp_path), swapper=SwapNetwork(swap_networks.hyperswap(tmp_path / "hyperswap.onnx"), Execution())
    )
    engine = InswapperEngine(given)
    assert engine.face_sizes == (256, 512)
    with pytest.raises(InvalidRequest, match="256, 512 pixels here, not of 128") as caught:
        engine.drawn_at(128)
    assert caught.value.field == "pixel_boost"


def test_output_that_is_no_picture_is_an_error(tmp_path: Path, target: tuple[Image, Face], reference: Face) -> None:
    image, face = target
    with pytest.raises(NonFiniteResult):
        InswapperEngine(networks(tmp_path, gain=np.nan)).swap(image, face, portrait(), reference)


def test_face_on_which_half_precision_overflows_is_drawn_by_the_fallback(
    tmp_path: Path, target: tuple[Image, Face], reference: Face, caplog: pytest.LogCaptureFixture
) -> None:
    image, face = target
    sound = SwapNetwork(swap_networks.inswapper(tmp_path / "float32.onnx"), Execution())
    engine = InswapperEngine(dataclasses.replace(networks(tmp_path, gain=np.nan), fallback=sound))
    engine.warm_up()
    result = engine.swap(image, on_the_grid(face, 128), portrait(), reference)
    assert np.array_equal(result.image, image)
    assert any("not finite" in text and "fallback" in text for text in caplog.messages)


def test_fallback_that_overflows_too_is_an_error(tmp_path: Path, target: tuple[Image, Face], reference: Face) -> None:
    image, face = target
    also = SwapNetwork(swap_networks.inswapper(tmp_path / "float32.onnx", gain=np.inf), Execution())
    engine = InswapperEngine(dataclasses.replace(networks(tmp_path, gain=np.nan), fallback=also))
    with pytest.raises(NonFiniteResult, match=r"float32\.onnx"):
        engine.swap(image, face, portrait(), reference)


def test_identity_that_is_not_finite_is_an_error(
    tmp_path: Path, target: tuple[Image, Face], reference: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, face = target
    given = networks(tmp_path)
    monkeypatch.setattr(given.embedder, "embed", lambda *_: np.full(512, np.nan, dtype=np.float32))
    with pytest.raises(NonFiniteResult, match="describes identity"):
        InswapperEngine(given).swap(image, face, portrait(), reference)


def test_network_of_half_precision_takes_its_inputs_in_it(tmp_path: Path) -> None:
    network = SwapNetwork(swap_networks.inswapper(tmp_path / "fp16.onnx", gain=0.5, half=True), Execution())
    crop = np.random.default_rng(0).random((128, 128, 3)).astype(np.float32)
    drawn_crop = network.draw(crop, network.latent(np.ones(512, dtype=np.float32)))
    assert drawn_crop.dtype == np.float32
    np.testing.assert_allclose(drawn_crop, crop * 0.5, atol=2e-3)


def test_crop_too_bright_for_half_precision_overflows_and_never_shows(tmp_path: Path) -> None:
    network = SwapNetwork(swap_networks.inswapper(tmp_path / "fp16.onnx", gain=6e4, tint=6e4, half=True), Execution())
    crop = np.random.default_rng(0).random((128, 128, 3)).astype(np.float32)
    with pytest.raises(NonFiniteResult, match=r"fp16\.onnx gave numbers that are not finite"):
        network.draw(crop * 2, network.latent(np.ones(512, dtype=np.float32)))


def test_small_and_turned_faces_are_refused_with_their_numbers(
    tmp_path: Path, analyser: FaceAnalyser, target: tuple[Image, Face], reference: Face
) -> None:
    _, face = target
    engine = InswapperEngine(networks(tmp_path))
    box = face.detection.box.copy()
    box[2] = 10
    small = dataclasses.replace(face, detection=dataclasses.replace(face.detection, box=box))
    with pytest.raises(FaceTooSmall, match="10 pixels wide, at least 16"):
        engine.check(reference, small)
    rotation = cv2.Rodrigues(np.array([0.0, np.radians(-78.0), 0.0]))[0]
    points = reference.mesh.points @ rotation.T
    turned = dataclasses.replace(reference, placement=place_face(points, analyser.canonical.points))
    with pytest.raises(FaceTurnedTooFar, match="up to 70°"):
        engine.check(turned, face)


def test_points_that_make_no_face_are_refused(tmp_path: Path, target: tuple[Image, Face], reference: Face) -> None:
    image, face = target
    flat = dataclasses.replace(face, landmarks=np.full((5, 2), 80.0))
    with pytest.raises(FaceTurnedTooFar, match="cannot be aligned"):
        InswapperEngine(networks(tmp_path)).swap(image, flat, portrait(), reference)


@pytest.mark.parametrize("quarter_turns", [0, 1, 2])
def test_detectors_points_are_carried_back_from_the_upright_window(
    tmp_path: Path, target: tuple[Image, Face], quarter_turns: int
) -> None:
    _, face = target
    offsets = np.array([[-24.0, -20], [24, -20], [0, 2], [-16, 24], [16, 24]])
    detector = KeyPointDetector(swap_networks.scrfd(tmp_path / "det_10g.onnx", offsets), Execution())
    size = 320
    middle_pixel = (size / 2 - 0.5, size / 2 - 0.5)
    turn = np.asarray(cv2.getRotationMatrix2D(middle_pixel, 90.0 * quarter_turns, 1.0), dtype=np.float64)
    middle = np.array([[160.0, 160.0]])
    spot = np.full((size, size, 3), 90, dtype=np.uint8)
    cv2.circle(spot, (160, 160), 12, (0, 255, 0), -1)
    key_points = np.array([[-30.0, 0], [30, 0], [0, 20], [0, 40], [-60, 0], [60, 0]]) + middle
    detection = dataclasses.replace(
        face.detection, box=np.array([110.0, 110, 100, 100]), key_points=carry(turn, key_points)
    )
    found = detector.find(np.ascontiguousarray(cv2.warpAffine(spot, turn, (size, size))), detection)
    assert found is not None
    expected = carry(turn, offsets * (200 / 320) + middle)
    # Any cell inside the spot may be the one that fires.
    assert np.abs(found.mean(axis=0) - expected.mean(axis=0)).max() < 12
    np.testing.assert_allclose(found - found.mean(axis=0), expected - expected.mean(axis=0), atol=1e-3)


def test_detector_that_sees_nothing_there_says_so(tmp_path: Path, target: tuple[Image, Face]) -> None:
    detector = KeyPointDetector(swap_networks.scrfd(tmp_path / "det_10g.onnx", np.zeros((5, 2))), Execution())
    assert detector.find(np.full((320, 320, 3), 90, dtype=np.uint8), target[1].detection) is None
