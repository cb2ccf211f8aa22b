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
from core.faces.providers import Execution
from services.faceswap.engines.base import SwapEngine
from services.faceswap.engines.inswapper import InswapperEngine, InswapperNetworks
from services.faceswap.engines.mesh import MeshEngine
from services.faceswap.engines.swap_network import SwapNetwork
from services.faceswap.profile import InswapperFiles, ModelFileEntry, RestorerEntry, SwapProfile
from services.faceswap.restoration.base import CROP_SIZE, DEFAULT_FIDELITY, Restorer
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
            logger.info("engine %s runs on %s", engine.name, engine.provider)
    grey = np.full((CROP_SIZE, CROP_SIZE, 3), 0.5, dtype=np.float32)
    for restorer in loaded.restorers:
        restorer.restore(grey, DEFAULT_FIDELITY)
        logger.info("restorer %s runs on %s", restorer.name, restorer.provider)


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

    def load(analyser: FaceAnalyser, execution: Execution) -> SwapEngine:
        networks = InswapperNetworks(
            swapper=SwapNetwork(network, execution),
            embedder=ArcFaceEmbedder(embedder, execution),
            detector=None if detector is None else KeyPointDetector(detector, execution),
        )
        return InswapperEngine(networks)

    return load


def _restorer(entry: RestorerEntry, files: _Files) -> Callable[[Execution], Restorer]:
    path = files.verified(entry.network)
    kind: type[GfpganRestorer] | type[OnnxRestorer] = GfpganRestorer if entry.kind == "gfpgan" else OnnxRestorer
    return lambda execution: kind(entry.name, path, execution)
