"""Removing the LoRA that a job has published, at the generator that keeps it."""

from __future__ import annotations

import contextlib

from likeness.calls import CallOptions
from likeness.client import AsyncClient
from likeness.errors import LoraNotFound

_TIMEOUT_SECONDS = 30.0


class LoraRemoval:
    """Asks the generator. For one event loop."""

    def __init__(self, generator_address: str) -> None:
        """Ask the generator at ``generator_address``; it is connected to when it is first needed."""
        self._generator_address = generator_address

    async def remove(self, lora_id: str, version: int) -> None:
        """Remove a version; one that is gone already is no error. Raises ServiceUnavailable."""
        async with AsyncClient(self._generator_address) as client:
            with contextlib.suppress(LoraNotFound):
                await client.delete_lora(lora_id, version, options=CallOptions(timeout_seconds=_TIMEOUT_SECONDS))
