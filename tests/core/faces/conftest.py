from __future__ import annotations

import pytest

from core.faces import Face, FaceAnalyser
from tests.support.faces import portrait


@pytest.fixture(scope="session")
def analyser() -> FaceAnalyser:
    return FaceAnalyser(threads=2)


@pytest.fixture(scope="session")
def face(analyser: FaceAnalyser) -> Face:
    """The portrait's face."""
    (found,) = analyser.analyse(portrait())
    return found
