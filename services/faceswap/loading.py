"""Loading a profile: its files are verified, its networks opened, each where it was asked to run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.faces import FaceAnalyser
from core.faces.arcface import ArcFaceEmbedder, KeyPointDetector
from core.faces.model_files import ExternalModelFile
from core.faces.providers import Execution, require_available
from core.faces.weights import ModelFileError
from core.runtime.telemetry import NETWORK_PROVIDER
from services.faceswap.engines.base import SwapEngine
from services.faceswap.engines.inswapper import InswapperEngine, InswapperNetworks
from services.faceswap.engines.mesh import MeshEngine
from services.faceswap.engines.swap_network import SwapNetwork
from services.faceswap.profile import InswapperFiles, ModelFileEntry, RestorerEntry, SwapProfile
from services.faceswap.restoration.base import CROP_SIZE, DEFAULT_FIDELITY, Restorer
from services.faceswap.restoration.fallback import RestorerWithFallback
from services.faceswap.restoration.gfpgan_restorer import GfpganRestorer
from services.faceswap.restoration.onnx_restorer import OnnxRestorer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModels:
    """What a profile gives."""

    engines: tuple[SwapEngine, ...]
    """The engines, the default first."""
    restorers: tuple[Restorer, ...]
    """The restorers, the default first."""
    digests: tuple[str, ...]
    """SHA-256 of every file that does not ship with the product."""


def load_models(profile: SwapProfile, analyser: FaceAnalyser, folder: Path, execution: Execution) -> LoadedModels:
    """Verify all files of a profile, then load them; relative files are inside `folder`.

    Raises ModelFileError for a file that is missing, altered or of another signature, and ProviderError for a device
    that cannot be had: each says what to do. Raises NonFiniteResult for a network that overflows on that device.
    """
    if profile.inswapper is not None or any(entry.kind == "onnx" for entry in profile.restorers):
        # Before gigabytes of files are read.
        require_available(execution.provider)
    files = _Files(folder)
    engines = [_engine(name, profile, files) for name in profile.engines]
    restorers = [_restorer(entry, files) for entry in profile.restorers]
    # Every file has been looked at by now, so a missing one does not cost the loading of the others.
    loaded = LoadedModels(
        tuple(load(analyser, execution) for load in engines),
        tuple(load(execution) for load in restorers),
        tuple(files.digests),
    )
    _warm_up(loaded)
    return loaded


def _warm_up(loaded: LoadedModels) -> None:
    """Run every loaded network once: what overflows is found at the start, and what a GPU prepares is prepared."""
    for engine in loaded.engines:
        if isinstance(engine, InswapperEngine):
            engine.warm_up()
            _told(f"engine {engine.name}", engine.provider)
    grey = np.full((CROP_SIZE, CROP_SIZE, 3), 0.5, dtype=np.float32)
    for restorer in loaded.restorers:
        restorer.restore(grey, DEFAULT_FIDELITY)
        _told(f"restorer {restorer.name}", restorer.provider)


def _told(network: str, provider: str) -> None:
    """Say in the log and in the metrics what runs a network."""
    logger.info("%s runs on %s", network, provider)
    NETWORK_PROVIDER.labels(network, provider).set(1)


class _Files:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.digests: list[str] = []

    def verified(self, entry: ModelFileEntry) -> Path:
        path = self._folder / entry.file
        file = ExternalModelFile(path, entry.source, entry.licence, entry.size_bytes, entry.sha256)
        self.digests.append(file.verify())
        return path


def _engine(name: str, profile: SwapProfile, files: _Files) -> Callable[[FaceAnalyser, Execution], SwapEngine]:
    if profile.inswapper is not None and name == "inswapper":
        return _inswapper(profile.inswapper, files)
    return lambda analyser, execution: MeshEngine(analyser.canonical)


def _inswapper(entries: InswapperFiles, files: _Files) -> Callable[[FaceAnalyser, Execution], SwapEngine]:
    network, embedder = files.verified(entries.network), files.verified(entries.embedder)
    detector = None if entries.detector is None else files.verified(entries.detector)
    fallback = None if entries.fallback is None else files.verified(entries.fallback)

    def load(analyser: FaceAnalyser, execution: Execution) -> SwapEngine:
        networks = InswapperNetworks(
            swapper=SwapNetwork(network, execution),
            embedder=ArcFaceEmbedder(embedder, execution),
            detector=None if detector is None else KeyPointDetector(detector, execution),
            fallback=None if fallback is None else SwapNetwork(fallback, execution),
        )
        other = networks.fallback
        if other is not None and other.size != networks.swapper.size:
            raise ModelFileError(
                f"{fallback} draws faces of {other.size} pixels, {network} of {networks.swapper.size}: a fallback is "
                "the same network in float32"
            )
        return InswapperEngine(networks)

    return load


def _restorer(entry: RestorerEntry, files: _Files) -> Callable[[Execution], Restorer]:
    path = files.verified(entry.network)
    fallback = None if entry.fallback is None else files.verified(entry.fallback)
    kind: type[GfpganRestorer] | type[OnnxRestorer] = GfpganRestorer if entry.kind == "gfpgan" else OnnxRestorer

    def load(execution: Execution) -> Restorer:
        first = kind(entry.name, path, execution)
        if fallback is None:
            return first
        second = kind(entry.name, fallback, execution)
        if second.takes_fidelity != first.takes_fidelity:
            raise ModelFileError(f"{fallback} is not the network that {path} is: a fallback is the same in float32")
        return RestorerWithFallback(first, second)

    return load
