"""Handing a LoRA to the generator, which checks it with its own loader and keeps it: once, whatever is repeated."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from core.runtime.cancellation import CancelToken
from likeness.calls import CallOptions
from likeness.errors import DeadlineExceeded, LoraNotFound, ModelLoading, QueueFull, ServiceUnavailable
from likeness.loras import Lora
from likeness.metadata import DEFAULT_TENANT, CallMetadata
from likeness.sync import Client

_AWAY = (ServiceUnavailable, ModelLoading, QueueFull, DeadlineExceeded)
_LOOK_BACK_VERSIONS = 50
_CALL_SECONDS = 300.0
_PAUSE_SECONDS = 5.0


class LoraPublisher:
    """Publishes through the generator's ``LoraService``. All methods block."""

    def __init__(
        self,
        client: Client,
        *,
        patience_seconds: float,
        tenant_id: str = DEFAULT_TENANT,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Publish with ``client``, whose calls must not be repeated by themselves.

        Args:
            client: a client of the generator.
            patience_seconds: how long to wait for a generator that is away.
            tenant_id: whose LoRAs they are.
            pause: waits between two tries.
        """
        self._client = client
        self._tenant_id = tenant_id
        self._patience_seconds = patience_seconds
        self._pause = pause

    def publish(
        self,
        lora_id: str,
        file: Path,
        *,
        trigger_word: str,
        sha256: str,
        earlier_sha256: str | None,
        token: CancelToken,
    ) -> Lora:
        """Return the version that the file is, after handing it in unless it is there already.

        Args:
            lora_id: name in the registry.
            file: the safetensors file.
            trigger_word: the word that calls the character.
            sha256: of the file.
            earlier_sha256: of a file that an earlier attempt was about to hand in; None when none was.
            token: stops the waiting.

        Raises:
            InvalidRequest: the generator doesn't take the file.
            ServiceUnavailable: the generator was away for too long; also its neighbours ModelLoading and QueueFull.
            Cancelled: the token was cancelled.
        """
        ends = time.monotonic() + self._patience_seconds
        wanted = {sha256, earlier_sha256}
        may_be_there = earlier_sha256 is not None
        while True:
            token.check()
            try:
                found = self._find(lora_id, wanted) if may_be_there else None
                # A call that failed may have done its work all the same.
                may_be_there = True
                options = self._options()
                return found or self._client.register_lora(lora_id, file, trigger_word=trigger_word, options=options)
            except _AWAY:
                if time.monotonic() > ends:
                    raise
            self._pause(_PAUSE_SECONDS)

    def _options(self) -> CallOptions:
        return CallOptions(CallMetadata.new(tenant_id=self._tenant_id), _CALL_SECONDS)

    def _find(self, lora_id: str, wanted: set[str | None]) -> Lora | None:
        """Return a late version of one of these files, of the tenant's own."""
        options = self._options()
        try:
            newest = self._client.get_lora(lora_id, options=options)
        except LoraNotFound:
            return None
        if newest.shared != (self._tenant_id == DEFAULT_TENANT):
            return None
        if newest.sha256 in wanted:
            return newest
        for version in range(newest.version - 1, max(0, newest.version - _LOOK_BACK_VERSIONS), -1):
            try:
                lora = self._client.get_lora(lora_id, version, options=options)
            except LoraNotFound:
                continue
            if lora.sha256 in wanted:
                return lora
        return None
