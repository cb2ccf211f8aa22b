"""The `likeness` command: pictures and faces from a terminal, over gRPC."""

from likeness.cli.command import main

__all__ = ["main"]
