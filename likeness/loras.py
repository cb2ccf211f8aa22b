"""LoRAs of the registry as the client answers with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Lora:
    """One version of a registered LoRA."""

    lora_id: str
    version: int
    """From 1; the number of a deleted version is never given again."""
    trigger_word: str
    """Put in front of prompts that don't hold it; empty for none."""
    format: str
    """Key format of the file, for example ``diffusers`` or ``kohya``."""
    rank: int
    """Highest rank among its modules."""
    modules: int
    """How many modules of the model it changes."""
    base_model: str
    """Name of the model that it was checked against."""
    size_bytes: int
    sha256: str
    """Of the file, 64 lower-case hexadecimal digits."""
    create_time: datetime
    """UTC."""
    shared: bool = False
    """Whether every tenant may use it: the default tenant registered it."""


@dataclass(frozen=True)
class LoraPage:
    """A page of LoRAs, each in its newest version."""

    loras: tuple[Lora, ...]
    next_page_token: str
    """Empty on the last page."""
