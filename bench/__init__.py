"""Benchmarks: run them as modules from the root of the repository, for example ``python -m bench.gateway``."""
