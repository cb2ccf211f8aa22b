"""Profiles whose networks are in half precision: what overflows is drawn by the float32 file, or told at the start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from prometheus_client import REGISTRY

pytest.importorskip("onnx", reason="the extra inswapper is not installed")
pytest.importorskip("insightface.model_zoo.inswapper", reason="the extra inswapper is not installed")

from core.faces import FaceAnalyser, ModelFileError
from core.faces.providers import Execution, Provider, ProviderError
from likeness.errors import NonFiniteResult
from services.faceswap.engines.inswapper import InswapperEngine
from services.faceswap.loading import load_models
from services.faceswap.profile import load_swap_profile
from tests.support import swap_networks
from tests.support.faces import drawn, portrait

GREY = np.full((512, 512, 3), 0.5, dtype=np.float32)


def entry(path: Path) -> str:
    return f'file = "{path}"\nsource = "the test"\nlicence = "none"\n'


def profile(folder: Path, network: Path, fallback: Path | None, restorers: str = "") -> Path:
    text = 'name = "half"\nengines = ["inswapper"]\n'
    text += f"[inswapper.network]\n{entry(network)}"
    text += f"[inswapper.embedder]\n{entry(swap_networks.arcface(folder / 'w600k_r50.onnx'))}"
    text += "" if fallback is None else f"[inswapper.fallback]\n{entry(fallback)}"
    path = folder / "half.toml"
    path.write_text(text + restorers)
    return path


def test_a_swapper_that_overflows_is_replaced_by_its_float32_file(analyser: FaceAnalyser, tmp_path: Path) -> None:
    half = swap_networks.inswapper(tmp_path / "inswapper_128_fp16.onnx", gain=np.inf, half=True)
    full = swap_networks.inswapper(tmp_path / "inswapper_128.onnx")
    loaded = load_models(load_swap_profile(str(profile(tmp_path, half, full))), analyser, tmp_path, Execution())
    (engine,) = loaded.engines
    assert isinstance(engine, InswapperEngine)
    assert len(loaded.digests) == 3
    target, reference = (analyser.analyse(image)[0] for image in (drawn(2, 320), portrait()))
    image = engine.swap(drawn(2, 320), target, portrait(), reference).image
    # This network draws its target: nothing is black, and nothing far from what it was.
    assert np.abs(image.astype(int) - drawn(2, 320)).mean() < 2


def test_a_swapper_that_overflows_alone_ends_the_start(analyser: FaceAnalyser, tmp_path: Path) -> None:
    half = swap_networks.inswapper(tmp_path / "inswapper_128_fp16.onnx", gain=np.inf, half=True)
    with pytest.raises(NonFiniteResult, match=r"inswapper_128_fp16\.onnx.*fallback"):
        load_models(load_swap_profile(str(profile(tmp_path, half, None))), analyser, tmp_path, Execution())


def test_a_fallback_of_another_size_is_refused(analyser: FaceAnalyser, tmp_path: Path) -> None:
    small = swap_networks.inswapper(tmp_path / "a.onnx")
    large = swap_networks.inswapper(tmp_path / "b.onnx", size=256)
    with pytest.raises(ModelFileError, match="same network in float32"):
        load_models(load_swap_profile(str(profile(tmp_path, small, large))), analyser, tmp_path, Execution())


def test_a_missing_fallback_is_named(analyser: FaceAnalyser, tmp_path: Path) -> None:
    given = profile(tmp_path, swap_networks.inswapper(tmp_path / "a.onnx"), tmp_path / "gone.onnx")
    with pytest.raises(ModelFileError, match=r"gone\.onnx"):
        load_models(load_swap_profile(str(given)), analyser, tmp_path, Execution())


def test_a_restorer_that_overflows_is_replaced_by_its_float32_file(analyser: FaceAnalyser, tmp_path: Path) -> None:
    half = swap_networks.restorer(tmp_path / "half.onnx", gain=np.nan)
    full = swap_networks.restorer(tmp_path / "full.onnx", gain=0.5)
    text = f'[[restorers]]\nname = "gfpgan"\nkind = "onnx"\n[restorers.network]\n{entry(half)}'
    text += f"[restorers.fallback]\n{entry(full)}"
    given = profile(tmp_path, swap_networks.inswapper(tmp_path / "a.onnx"), None, text)
    (restorer,) = load_models(load_swap_profile(str(given)), analyser, tmp_path, Execution()).restorers
    np.testing.assert_allclose(restorer.restore(GREY * 0.5, 0.5), GREY * 0.5 * 0.5 + 0.25, atol=1e-6)
    assert (restorer.name, restorer.takes_fidelity, restorer.provider) == ("gfpgan", False, "CPUExecutionProvider")


def test_a_restorers_fallback_of_another_kind_is_refused(analyser: FaceAnalyser, tmp_path: Path) -> None:
    half = swap_networks.restorer(tmp_path / "half.onnx")
    other = swap_networks.restorer(tmp_path / "codeformer.onnx", fidelity=True)
    text = f'[[restorers]]\nname = "gfpgan"\nkind = "onnx"\n[restorers.network]\n{entry(half)}'
    text += f"[restorers.fallback]\n{entry(other)}"
    given = profile(tmp_path, swap_networks.inswapper(tmp_path / "a.onnx"), None, text)
    with pytest.raises(ModelFileError, match="not the network"):
        load_models(load_swap_profile(str(given)), analyser, tmp_path, Execution())


@pytest.mark.parametrize("provider", [Provider.CUDA, Provider.TENSORRT])
def test_a_device_that_onnxruntime_lacks_is_told_before_a_file_is_read(
    analyser: FaceAnalyser, tmp_path: Path, provider: Provider
) -> None:
    if provider.value in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has it")
    with pytest.raises(ProviderError, match=rf"has no {provider.value}.*onnxruntime-gpu"):
        load_models(load_swap_profile("qwen"), analyser, tmp_path, Execution(provider))


def test_what_runs_a_network_stands_in_the_metrics(analyser: FaceAnalyser, tmp_path: Path) -> None:
    given = profile(tmp_path, swap_networks.inswapper(tmp_path / "a.onnx"), None)
    load_models(load_swap_profile(str(given)), analyser, tmp_path, Execution())
    labels = {"network": "engine inswapper", "provider": "CPUExecutionProvider"}
    assert REGISTRY.get_sample_value("likeness_network_provider", labels) == 1
