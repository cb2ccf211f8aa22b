"""Where onnxruntime runs a network: the provider that was asked for, or an error, never silently another one."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import onnxruntime

from core.faces.weights import ModelFileError


class Provider(Enum):
    """An execution provider of onnxruntime; the value is its name there."""

    CPU = "CPUExecutionProvider"
    CUDA = "CUDAExecutionProvider"
    TENSORRT = "TensorrtExecutionProvider"


_LIBRARIES = Path(onnxruntime.__file__).parent / "capi"
_LIBRARY_NAMES = {
    Provider.CUDA: "libonnxruntime_providers_cuda.so",
    Provider.TENSORRT: "libonnxruntime_providers_tensorrt.so",
}


class ProviderError(RuntimeError):
    """The provider that was asked for cannot be had. The text says what is missing."""


@dataclass(frozen=True)
class Execution:
    """On what, and how, networks run."""

    provider: Provider = Provider.CPU
    device_index: int = 0
    """Which GPU."""
    threads: int = 1
    """Threads of one operator on the CPU. Left to itself onnxruntime takes every core of the machine, whatever the
    container's quota is."""

    @classmethod
    def of_device(cls, device: str, threads: int) -> Execution:
        """Read ``cpu``, ``cuda``, ``cuda:N``, ``tensorrt`` or ``tensorrt:N``; raises ValueError for anything else."""
        match = re.fullmatch(r"(cpu)|(cuda|tensorrt)(?::(\d{1,2}))?", device)
        if match is None:
            raise ValueError(f"{device!r} is no device: name cpu, cuda, cuda:N, tensorrt or tensorrt:N")
        if match[1]:
            return cls(Provider.CPU, 0, threads)
        return cls(Provider.CUDA if match[2] == "cuda" else Provider.TENSORRT, int(match[3] or 0), threads)

    @property
    def torch_device(self) -> str:
        """The same device as PyTorch names it."""
        return "cpu" if self.provider is Provider.CPU else f"cuda:{self.device_index}"


def open_network(path: Path, execution: Execution) -> onnxruntime.InferenceSession:
    """Open an ONNX file and assert that it runs where it was asked to.

    The session may be used from several threads at once.

    Raises:
        ProviderError: onnxruntime lacks the provider, or could not start it (then it would have taken the CPU).
        ModelFileError: the file is not a model that this onnxruntime can load.
    """
    wanted = execution.provider
    require_available(wanted)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = execution.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Idle spinning would take the cores from other processes of a small machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=_providers(execution))
    except Exception as error:
        raise ModelFileError(
            f"{path} is not a model that onnxruntime {onnxruntime.__version__} can load: {error}"
        ) from (error)
    session.disable_fallback()
    assert_provider(session, wanted, path.name)
    return session


def assert_provider(session: onnxruntime.InferenceSession, wanted: Provider, name: str) -> None:
    """Raise ProviderError unless the session of network `name` runs first of all on `wanted`."""
    actual = session.get_providers()[0]
    if actual != wanted.value:
        why = missing_library(wanted) or "its log names it"
        raise ProviderError(
            f"{name} was to run on {wanted.value}, but onnxruntime fell back to {actual}: a CUDA, cuDNN or TensorRT "
            f"library of the version that this onnxruntime-gpu was built for is missing ({why}); install it, or set "
            "the device to cpu"
        )


def missing_library(wanted: Provider, folder: Path = _LIBRARIES) -> str:
    """Return what the loader says against a provider's library in `folder`; empty when it loads or is not there.

    The text names the library that is missing, for example ``libcudnn.so.9: cannot open shared object file``.
    """
    path = folder / _LIBRARY_NAMES.get(wanted, "")
    if not path.is_file():
        return ""
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        return str(error)
    return ""


def require_available(wanted: Provider) -> None:
    """Raise ProviderError when the installed onnxruntime was built without a provider; costs nothing."""
    available = onnxruntime.get_available_providers()
    if wanted.value in available:
        return
    raise ProviderError(
        f"onnxruntime {onnxruntime.__version__} has no {wanted.value}, only {', '.join(available)}: install "
        "onnxruntime-gpu in place of onnxruntime (never both), or set the device to cpu"
    )


def _providers(execution: Execution) -> list[tuple[str, dict[str, Any]]]:
    gpu = {"device_id": str(execution.device_index)}
    if execution.provider is Provider.CPU:
        return [(Provider.CPU.value, {})]
    _preload_libraries()
    cuda = (Provider.CUDA.value, gpu | {"cudnn_conv_algo_search": "HEURISTIC"})
    if execution.provider is Provider.CUDA:
        return [cuda]
    return [(Provider.TENSORRT.value, dict(gpu)), cuda]


def _preload_libraries() -> None:
    """Load CUDA and cuDNN where pip installed them, which the system's loader would not find."""
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        preload()
