from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra inswapper is not installed")
pytest.importorskip("insightface.model_zoo.inswapper", reason="the extra inswapper is not installed")

import onnx
from insightface.model_zoo.inswapper import INSwapper

from core.faces import ModelFileError
from core.faces.providers import Execution
from likeness.errors import NonFiniteResult
from services.faceswap.engines.swap_network import SwapNetwork
from tests.support import swap_networks

CROP = np.random.default_rng(0).random((128, 128, 3)).astype(np.float32)
EMBEDDING = np.random.default_rng(1).normal(size=512).astype(np.float32)


def load(path: Path) -> SwapNetwork:
    return SwapNetwork(path, Execution())


def test_latent_is_the_embedding_through_emap_and_of_length_one(tmp_path: Path) -> None:
    latent = load(swap_networks.inswapper(tmp_path / "i.onnx")).latent(EMBEDDING)
    mapped = EMBEDDING @ swap_networks.random_emap()
    np.testing.assert_allclose(latent[0], mapped / np.linalg.norm(mapped), rtol=1e-4)


def test_drawn_face_is_what_insightfaces_own_class_draws(tmp_path: Path) -> None:
    path = swap_networks.inswapper(tmp_path / "inswapper_128.onnx", tint=0.4, gain=0.7)
    network = load(path)
    latent = network.latent(EMBEDDING)
    theirs = INSwapper(str(path)).forward(CROP.transpose(2, 0, 1)[None] * 255, latent)
    np.testing.assert_allclose(network.draw(CROP, latent), np.clip(theirs[0].transpose(1, 2, 0), 0, 1), atol=1e-6)


def test_network_of_256_pixels_is_taken_by_its_signature(tmp_path: Path) -> None:
    network = load(swap_networks.inswapper(tmp_path / "reswapper_256.onnx", size=256))
    assert network.size == 256


def test_hyperswap_takes_signed_crops_and_the_embedding_itself(tmp_path: Path) -> None:
    network = load(swap_networks.hyperswap(tmp_path / "hyperswap_1a_256.onnx"))
    latent = network.latent(EMBEDDING)
    np.testing.assert_allclose(latent[0], EMBEDDING / np.linalg.norm(EMBEDDING), rtol=1e-5)
    crop = np.random.default_rng(0).random((256, 256, 3)).astype(np.float32)
    np.testing.assert_allclose(network.draw(crop, latent), crop, atol=1e-6)


@pytest.mark.parametrize(
    "emap", [np.zeros((512, 512), np.float32), np.ones((512, 3), np.float32), np.full((512, 512), np.nan, np.float32)]
)
def test_file_without_its_emap_is_refused(tmp_path: Path, emap: np.ndarray) -> None:
    path = swap_networks.inswapper(tmp_path / "i.onnx", emap=emap)
    with pytest.raises(ModelFileError, match=r"last initializer.*take the released one"):
        load(path)


def test_file_whose_initializers_moved_is_refused(tmp_path: Path) -> None:
    path = swap_networks.inswapper(tmp_path / "i.onnx")
    model = onnx.load(str(path))
    model.graph.initializer.insert(0, model.graph.initializer.pop())
    onnx.save(model, str(path))
    with pytest.raises(ModelFileError, match="map of embeddings"):
        load(path)


@pytest.mark.parametrize("make", [swap_networks.arcface, swap_networks.restorer])
def test_network_of_another_signature_is_refused_at_the_start(tmp_path: Path, make: object) -> None:
    path = make(tmp_path / "other.onnx")  # type: ignore[operator]
    with pytest.raises(ModelFileError, match=r"other\.onnx takes .* a swap network takes"):
        load(path)


def test_swapper_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="128 or 256"):
        load(swap_networks.inswapper(tmp_path / "i.onnx", size=96))


def test_corrupt_file_is_refused_at_the_start(tmp_path: Path) -> None:
    path = swap_networks.inswapper(tmp_path / "i.onnx")
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ModelFileError, match="not a model"):
        load(path)


@pytest.mark.parametrize(("gain", "fault"), [(np.nan, "not finite"), (np.inf, "not finite"), (0.0, "one colour")])
def test_output_that_is_no_picture_is_an_error_and_never_a_black_face(tmp_path: Path, gain: float, fault: str) -> None:
    network = load(swap_networks.inswapper(tmp_path / "inswapper_128_fp16.onnx", gain=gain))
    with pytest.raises(NonFiniteResult, match=f"inswapper_128_fp16.*{fault}.*float32"):
        network.draw(CROP, network.latent(EMBEDDING))


def test_flat_output_for_a_flat_crop_is_no_fault(tmp_path: Path) -> None:
    network = load(swap_networks.inswapper(tmp_path / "i.onnx"))
    flat = np.full((128, 128, 3), 0.4, dtype=np.float32)
    np.testing.assert_allclose(network.draw(flat, network.latent(EMBEDDING)), flat, atol=1e-6)
