"""Removing LoRAs that jobs have published, at the generator that keeps them."""

from __future__ import annotations

import contextlib

from likeness.calls import CallOptions
from likeness.errors import LoraNotFound
from likeness.metadata import CallMetadata
from likeness.sync import Client

_TIMEOUT_SECONDS = 10.0


class LoraRemoval:
    """Asks the generator, each time over a connection of its own. All methods block."""

    def __init__(self, generator_address: str) -> None:
        """Ask the generator at ``generator_address``."""
        self._generator_address = generator_address

    def remove(self, tenant_id: str, lora_id: str, version: int) -> None:
        """Remove a tenant's version; one that is gone already is no error. Raises ServiceUnavailable."""
        with Client(self._generator_address) as client, contextlib.suppress(LoraNotFound):
            client.delete_lora(lora_id, version, options=_options(tenant_id))

    def forget(self, tenant_id: str, lora_id: str) -> tuple[int, ...]:
        """Remove every trace of a tenant's LoRA; return the versions that were there. Raises ServiceUnavailable."""
        with Client(self._generator_address) as client:
            return client.delete_lora(lora_id, forget=True, options=_options(tenant_id))


def _options(tenant_id: str) -> CallOptions:
    return CallOptions(CallMetadata.new(tenant_id=tenant_id), _TIMEOUT_SECONDS)
