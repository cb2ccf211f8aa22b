"""Runs the generator: ``python -m services.generator``."""

from __future__ import annotations

import sys

from core.runtime.server import run_service
from services.generator.service import make_spec
from services.generator.settings import GeneratorSettings

if __name__ == "__main__":
    sys.exit(run_service(make_spec, GeneratorSettings))
