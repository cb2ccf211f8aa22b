"""The generator as `bench.soak` starts it: with one metric more, the number of tensors that Python holds."""

from __future__ import annotations

import torch

from bench.soak_run import count_objects
from core.runtime.server import run_service
from services.generator.service import make_spec
from services.generator.settings import GeneratorSettings

if __name__ == "__main__":
    count_objects(torch.Tensor)
    raise SystemExit(run_service(make_spec, GeneratorSettings))
