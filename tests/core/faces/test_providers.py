from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from core.faces import ModelFileError
from core.faces.providers import Execution, Provider, ProviderError, assert_provider, missing_library, open_network
from core.faces.weights import DEFAULT_FOLDER, FACE_EMBEDDING

SHIPPED = DEFAULT_FOLDER / FACE_EMBEDDING.name
WITHOUT_CUDA = Provider.CUDA.value not in onnxruntime.get_available_providers()


@pytest.mark.parametrize(
    ("device", "provider", "index"),
    [
        ("cpu", Provider.CPU, 0),
        ("cuda", Provider.CUDA, 0),
        ("cuda:3", Provider.CUDA, 3),
        ("tensorrt:1", Provider.TENSORRT, 1),
    ],
)
def test_device_names_provider_and_card(device: str, provider: Provider, index: int) -> None:
    assert Execution.of_device(device, 2) == Execution(provider, index, 2)


@pytest.mark.parametrize("device", ["", "gpu", "cpu:1", "cuda:", "cuda:-1", "CUDA", "cuda:0 "])
def test_other_devices_are_refused(device: str) -> None:
    with pytest.raises(ValueError, match="no device"):
        Execution.of_device(device, 1)


def test_session_runs_with_the_asked_threads_on_the_asked_provider() -> None:
    session = open_network(SHIPPED, Execution(threads=2))
    assert session.get_providers() == [Provider.CPU.value]
    assert session.get_session_options().intra_op_num_threads == 2


@pytest.mark.skipif(not WITHOUT_CUDA, reason="this onnxruntime has CUDA")
@pytest.mark.parametrize("provider", [Provider.CUDA, Provider.TENSORRT])
def test_provider_that_onnxruntime_lacks_is_an_error_and_never_the_cpu(provider: Provider) -> None:
    with pytest.raises(ProviderError, match=r"has no .*ExecutionProvider.*onnxruntime-gpu"):
        open_network(SHIPPED, Execution(provider))


def test_session_that_fell_back_to_the_cpu_is_an_error() -> None:
    session = open_network(SHIPPED, Execution())
    with pytest.raises(ProviderError, match=r"fell back to CPUExecutionProvider.*cuDNN"):
        assert_provider(session, Provider.CUDA, SHIPPED.name)


def test_the_library_that_keeps_a_provider_from_starting_is_named(tmp_path: Path) -> None:
    assert missing_library(Provider.CUDA, tmp_path) == ""
    (tmp_path / "libonnxruntime_providers_cuda.so").write_bytes(b"\x7fELF cut short")
    assert "libonnxruntime_providers_cuda.so" in missing_library(Provider.CUDA, tmp_path)
    assert missing_library(Provider.TENSORRT, tmp_path) == missing_library(Provider.CPU, tmp_path) == ""


def test_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(SHIPPED.read_bytes()[:5000])
    with pytest.raises(ModelFileError, match=r"broken\.onnx is not a model"):
        open_network(path, Execution())
