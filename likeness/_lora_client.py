"""What a client can do with the LoRA registry."""

from __future__ import annotations

from likeness._client_base import ClientBase
from likeness._lora_calls import LoraCalls, LoraSource
from likeness.calls import CallOptions
from likeness.loras import Lora, LoraPage


class LoraMethods(ClientBase):
    """LoRAs."""

    _loras: LoraCalls

    async def register_lora(
        self,
        lora_id: str,
        source: LoraSource,
        *,
        trigger_word: str = "",
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
    ) -> Lora:
        """Keep a LoRA's safetensors file as the next version of ``lora_id``: 1–64 characters of a-z, 0-9, _ and -.

        The file is sent in parts, whatever its size. Raises LikenessError, and OSError when a path cannot be read.
        """
        return await self._loras.register(lora_id, source, trigger_word, self._options(options, timeout_seconds))

    async def list_loras(
        self, *, page_size: int = 0, page_token: str = "", options: CallOptions | None = None
    ) -> LoraPage:
        """Return a page of the LoRAs, each in its newest version; 100 a page when 0. Raises LikenessError."""
        return await self._loras.list(page_size, page_token, options or self._default)

    async def get_lora(self, lora_id: str, version: int = 0, *, options: CallOptions | None = None) -> Lora:
        """Describe a version of a LoRA, the newest when 0. Raises LikenessError."""
        return await self._loras.get(lora_id, version, options or self._default)

    async def delete_lora(
        self, lora_id: str, version: int = 0, *, forget: bool = False, options: CallOptions | None = None
    ) -> tuple[int, ...]:
        """Remove a version of a LoRA, or all when 0, and return which were removed.

        With ``forget`` all versions go with every trace of the id; that there is none is no error then. Raises
        LikenessError.
        """
        return await self._loras.delete(lora_id, version, options or self._default, forget=forget)
