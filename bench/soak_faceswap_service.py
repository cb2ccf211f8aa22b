"""The faceswap service as `bench.soak_faceswap` starts it: with one metric more, the number of Python's objects."""

from __future__ import annotations

from bench.soak_run import count_objects
from core.runtime.server import run_service
from services.faceswap.service import make_spec
from services.faceswap.settings import FaceSwapSettings

if __name__ == "__main__":
    count_objects()
    raise SystemExit(run_service(make_spec, FaceSwapSettings))
