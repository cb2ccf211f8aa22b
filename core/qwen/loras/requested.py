"""A LoRA of a request, found in the registry, whose weights are loaded when its turn comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from core.qwen.loras.adapter import Adapter
from core.qwen.loras.registry import LoraRecord


class AdapterSource(Protocol):
    """Where the weights of registered LoRAs come from."""

    def adapter(self, record: LoraRecord, *, field: str) -> Adapter:
        """Return the adapter of a version. Raises InvalidRequest, LoraNotFound, ArtifactCorrupt with ``field``."""


@dataclass(frozen=True)
class RequestedLora:
    """A version of a LoRA and how strongly it acts. Equal ones draw equal pictures."""

    record: LoraRecord
    strength: float
    """−4 to 4; 0 draws what is drawn without it."""
    field_path: str = field(compare=False)
    """Path of the request's field that names it, for example ``loras[0].lora_id``."""
    source: AdapterSource = field(compare=False, repr=False)

    def load(self) -> Adapter:
        """Return its weights. Raises InvalidRequest, LoraNotFound, ArtifactCorrupt."""
        return self.source.adapter(self.record, field=self.field_path)
