from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest
import pytest_asyncio

from core.faces import Face, FaceAnalyser
from core.faces.arrays import Image
from core.runtime.server import running_service
from likeness.faceswap.v1.face_model_service_pb2_grpc import FaceModelServiceStub
from likeness.faceswap.v1.faceswap_service_pb2_grpc import FaceSwapServiceStub
from services.faceswap.engines.mesh import MeshEngine
from services.faceswap.face_models import Average, FaceModel, Photo, build_face_model
from services.faceswap.service import make_spec
from services.faceswap.settings import FaceSwapSettings
from services.faceswap.swapper import FaceSwapper
from tests.support.faces import portrait, shots

if TYPE_CHECKING:
    from likeness.faceswap.v1.face_model_service_pb2_grpc import FaceModelServiceAsyncStub
    from likeness.faceswap.v1.faceswap_service_pb2_grpc import FaceSwapServiceAsyncStub


@pytest.fixture(scope="session")
def analyser() -> FaceAnalyser:
    return FaceAnalyser(threads=2)


@pytest.fixture(scope="session")
def reference(analyser: FaceAnalyser) -> Face:
    """The portrait's face."""
    (found,) = analyser.analyse(portrait())
    return found


@pytest.fixture(scope="session")
def engine(analyser: FaceAnalyser) -> MeshEngine:
    return MeshEngine(analyser.canonical)


@pytest.fixture(scope="session")
def swapper(analyser: FaceAnalyser, engine: MeshEngine) -> FaceSwapper:
    return FaceSwapper(analyser, [engine])


def build(
    analyser: FaceAnalyser, *images: Image, average: Average = Average.MEAN
) -> tuple[FaceModel, tuple[Photo, ...]]:
    photos: list[Callable[[], Image]] = [lambda image=image: image for image in images]  # type: ignore[misc]
    return build_face_model(analyser, photos, average=average, min_score=0.5)


@pytest.fixture(scope="session")
def model(analyser: FaceAnalyser) -> FaceModel:
    """A model of three drawn pictures of one person."""
    return build(analyser, *shots(0)[:3])[0]


@pytest_asyncio.fixture
async def channel(swapper: FaceSwapper, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """The service on a real port, over networks that the session's tests share."""
    settings = FaceSwapSettings.load(port=0, threads=2, artifacts_url=str(tmp_path / "artifacts"))
    spec = dataclasses.replace(make_spec(settings), load=lambda: swapper)
    async with running_service(spec, settings) as address, grpc.aio.insecure_channel(address) as opened:
        yield opened


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> FaceSwapServiceAsyncStub:
    """Calls of the faceswap service."""
    return FaceSwapServiceStub(channel)


@pytest.fixture
def face_models(channel: grpc.aio.Channel) -> FaceModelServiceAsyncStub:
    """Calls of the face models' service, in the same process."""
    return FaceModelServiceStub(channel)
