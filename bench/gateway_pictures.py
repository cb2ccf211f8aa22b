"""The process of `bench.gateway` that plays the generator."""

from __future__ import annotations

from bench.gateway import serve_pictures

if __name__ == "__main__":
    raise SystemExit(serve_pictures())
