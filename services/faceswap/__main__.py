"""Runs the faceswap service: ``python -m services.faceswap``."""

from __future__ import annotations

import sys

from core.runtime.server import run_service
from services.faceswap.service import make_spec
from services.faceswap.settings import FaceSwapSettings

if __name__ == "__main__":
    sys.exit(run_service(make_spec, FaceSwapSettings))
