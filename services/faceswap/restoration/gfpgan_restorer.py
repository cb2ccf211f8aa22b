"""GFPGAN as its authors publish it: a PyTorch checkpoint, run by their package ``gfpgan``.

Source: Wang et al., "Towards Real-World Blind Face Restoration with Generative Facial Prior", arXiv:2101.04061. Only
the network is used: the package's own helper would detect faces a second time, with a detector that it downloads.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import threading
import types
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.faces.arrays import FloatArray
from core.faces.providers import Execution
from core.faces.weights import ModelFileError
from services.faceswap.engines.network_output import checked_picture
from services.faceswap.restoration.base import CROP_SIZE

_GONE = "torchvision.transforms.functional_tensor"
_IMPORTING = threading.Lock()
_MULTIPLIER = 2
"""GFPGANv1.2–1.4 have twice StyleGAN2's smallest width."""
_FULL_WIDTH = 32
"""Channels of the first layer of a GFPGAN that is not narrowed."""


class GfpganMissing(ModelFileError):
    """The gfpgan package, or one that it needs, is not installed."""


class GfpganRestorer:
    """See the module. Safe to use from several threads."""

    takes_fidelity = False

    def __init__(self, name: str, path: Path, execution: Execution) -> None:
        """Load GFPGANv1.4.pth, or a checkpoint of the same architecture, onto the device of `execution`.

        Raises ModelFileError for a file that is no such checkpoint, GfpganMissing.
        """
        self.name = name
        architecture = _import_architecture()
        import torch

        torch.set_num_threads(execution.threads)
        self._torch: Any = torch
        self._device = execution.torch_device
        if execution.torch_device != "cpu" and not torch.cuda.is_available():
            raise ModelFileError(f"the restorer '{name}' was to run on {self._device}, but PyTorch finds no CUDA there")
        weights = _read_weights(torch, path)
        try:
            with torch.device("meta"):
                network = architecture(**_configuration(weights))
            network.load_state_dict(dict(weights), strict=True, assign=True)
        except (RuntimeError, KeyError, ValueError, IndexError) as error:
            raise ModelFileError(f"{path} is not a checkpoint of GFPGAN v1.2 to v1.4: {_line(error)}") from error
        self._network = network.eval().requires_grad_(False).to(self._device)

    @property
    def provider(self) -> str:
        """PyTorch and the device."""
        return f"torch:{self._device}"

    def restore(self, crop: FloatArray, fidelity: float) -> FloatArray:
        """See `Restorer.restore`. The noise is the checkpoint's own, so the same crop gives the same result."""
        torch = self._torch
        planes = torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)[None] * 2 - 1, dtype=np.float32))
        with torch.inference_mode():
            output, _ = self._network(planes.to(self._device), return_rgb=False, randomize_noise=False)
        drawn = output[0].float().cpu().numpy().transpose(1, 2, 0)
        return checked_picture((drawn + 1) / 2, crop, f"the restorer '{self.name}'")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _read_weights(torch: Any, path: Path) -> Mapping[str, Any]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelFileError(f"{path} cannot be read as a PyTorch checkpoint of weights: {_line(error)}") from error
    if isinstance(checkpoint, Mapping):
        for key in ("params_ema", "params"):
            weights = checkpoint.get(key)
            if isinstance(weights, Mapping):
                return weights
    raise ModelFileError(f"{path} has neither 'params_ema' nor 'params': it is not a checkpoint of GFPGAN")


def _configuration(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the architecture, read off the shapes of its weights."""
    depth = len({key.split(".")[1] for key in weights if key.startswith("conv_body_down.")})
    if 2 ** (depth + 2) != CROP_SIZE:
        raise ValueError(f"it is made for faces of {2 ** (depth + 2)} pixels, not {CROP_SIZE}")
    style = int(weights["stylegan_decoder.style_mlp.1.weight"].shape[0])
    mapping = len({key.split(".")[2] for key in weights if key.startswith("stylegan_decoder.style_mlp.")})
    return {
        "out_size": CROP_SIZE,
        "num_style_feat": style,
        "channel_multiplier": _MULTIPLIER,
        "decoder_load_path": None,
        "fix_decoder": False,
        "num_mlp": mapping,
        "input_is_latent": True,
        "different_w": int(weights["final_linear.weight"].shape[0]) != style,
        "narrow": int(weights["conv_body_first.weight"].shape[0]) / _FULL_WIDTH,
        "sft_half": True,
    }


def _import_architecture() -> Any:
    try:
        with _IMPORTING, _supplied_module(), warnings.catch_warnings():
            # The packages behind it are old and use much that others have deprecated.
            warnings.simplefilter("ignore")
            return importlib.import_module("gfpgan.archs.gfpganv1_clean_arch").GFPGANv1Clean
    except ImportError as error:
        raise GfpganMissing(
            f"a GFPGAN checkpoint (.pth) needs the package gfpgan ({error}): pip install 'likeness[gfpgan]' on Python "
            "3.12 or older, or name GFPGAN's ONNX export in the profile"
        ) from error


@contextlib.contextmanager
def _supplied_module() -> Iterator[None]:
    """Supply the module of torchvision that basicsr imports and torchvision 0.17 removed, only while it is imported."""
    if _GONE in sys.modules or _exists(_GONE):
        yield
        return
    module = types.ModuleType(_GONE)
    functional = importlib.import_module("torchvision.transforms.functional")
    module.__dict__["rgb_to_grayscale"] = functional.rgb_to_grayscale
    sys.modules[_GONE] = module
    try:
        yield
    finally:
        del sys.modules[_GONE]


def _exists(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
