"""Settings that the generator and the editor share: how the model is loaded, and the LoRAs."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from core.qwen.loading import QwenImageModel
from core.qwen.loras.library import LoraLibrary
from core.qwen.offload import Offload
from core.qwen.preflight import LoadingChoices
from core.qwen.profile import Precision, Profile, load_profile
from core.runtime.artifacts import ArtifactStore
from core.runtime.settings import ServiceSettings


class ModelSettings(ServiceSettings):
    """What a service that draws with Qwen-Image can be told, beside what every service can."""

    profile_file: Path | None = None
    """A profile of one's own, for a fine-tune or a newer model; takes the place of ``profile``."""
    offline: bool = False
    """Take weights of the hub from the local cache only."""
    precision: Precision | None = None
    """Number format of the weights: ``float32``, ``bfloat16`` or, on CUDA, ``float8``; the profile's when left out."""
    offload: Offload | None = None
    """What stays in the main memory: ``none``, ``text_encoder`` or ``blocks``; chosen by free memory when left out."""
    compiled: bool | None = None
    """Whether a GPU's transformer blocks are compiled; the profile's choice when left out."""
    guidance_device: str = ""
    """A second device that works on the negative prompt, for example ``cuda:1``; none when empty."""
    lora_cache_count: int = Field(8, ge=1, le=1000)
    """How many loaded LoRAs are kept in memory."""
    lora_cache_bytes: int = Field(4 * 2**30, ge=2**20, le=2**40)
    """How much memory the loaded LoRAs may take."""
    max_lora_bytes: int = Field(2**30, ge=2**10, le=2**34)
    """Largest file of a LoRA; one at a time is in memory while it is checked."""

    def loading_choices(self) -> LoadingChoices:
        """Return what the settings say about loading."""
        return LoadingChoices(
            device=self.device,
            guidance_device=self.guidance_device,
            precision=self.precision,
            offload=self.offload,
            compiled=self.compiled,
            offline=self.offline,
        )

    def read_profile(self) -> Profile:
        """Read the profile that the settings name. Raises ProfileError."""
        return load_profile(str(self.profile_file) if self.profile_file else self.profile)

    def make_library(self, model: QwenImageModel, artifacts: ArtifactStore) -> LoraLibrary:
        """Make the library of LoRAs for ``model``, in the registry of ``artifacts``."""
        return LoraLibrary(
            model,
            artifacts,
            max_count=self.lora_cache_count,
            max_bytes=self.lora_cache_bytes,
            max_file_bytes=self.max_lora_bytes,
        )
