from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx is not installed")

from core.faces import ModelFileError
from core.faces.providers import Execution
from likeness.errors import NonFiniteResult
from services.faceswap.restoration.onnx_restorer import OnnxRestorer
from tests.support import swap_networks

CROP = np.random.default_rng(0).random((512, 512, 3)).astype(np.float32)


def load(path: Path) -> OnnxRestorer:
    return OnnxRestorer(path.stem, path, Execution())


def test_crops_go_in_and_come_out_in_minus_one_to_one(tmp_path: Path) -> None:
    restorer = load(swap_networks.restorer(tmp_path / "restoreformer.onnx", gain=0.5))
    assert not restorer.takes_fidelity
    assert restorer.provider == "CPUExecutionProvider"
    np.testing.assert_allclose(restorer.restore(CROP, 0.5), (CROP * 2 - 1) * 0.25 + 0.5, atol=1e-6)


def test_colours_keep_their_order(tmp_path: Path) -> None:
    add = np.zeros((3, 512, 512), dtype=np.float32)
    add[0] = 0.25
    drawn = load(swap_networks.restorer(tmp_path / "gfpgan.onnx", add=add)).restore(CROP * 0.5, 0.5)
    np.testing.assert_allclose(drawn - CROP * 0.5, np.broadcast_to([0.25, 0, 0], CROP.shape), atol=1e-6)


@pytest.mark.parametrize("fidelity", [0.0, 0.5, 1.0])
def test_codeformers_weight_is_the_fidelity(tmp_path: Path, fidelity: float) -> None:
    add = np.full((3, 512, 512), 0.2, dtype=np.float32)
    restorer = load(swap_networks.restorer(tmp_path / "codeformer.onnx", add=add, fidelity=True))
    assert restorer.takes_fidelity
    np.testing.assert_allclose(restorer.restore(CROP * 0.5, fidelity), CROP * 0.5 + 0.2 * fidelity, atol=1e-5)


@pytest.mark.parametrize(("gain", "fault"), [(np.nan, "not finite"), (0.0, "one colour")])
def test_output_that_is_no_picture_is_an_error(tmp_path: Path, gain: float, fault: str) -> None:
    with pytest.raises(NonFiniteResult, match=f"'gfpgan'.*{fault}"):
        load(swap_networks.restorer(tmp_path / "gfpgan.onnx", gain=gain)).restore(CROP, 0.5)


def test_network_of_another_signature_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"w600k_r50\.onnx takes .* a restorer takes a crop 1×3×512×512"):
        load(swap_networks.arcface(tmp_path / "w600k_r50.onnx"))
