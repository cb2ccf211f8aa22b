"""Settings of the generator's process."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from core.qwen.profile import Profile, load_profile
from core.runtime.settings import ServiceSettings


class GeneratorSettings(ServiceSettings):
    """What the generator can be told, beside what every service can."""

    service: ClassVar[str] = "generator"

    port: int = Field(50051, ge=0, le=65535)
    """Port to listen on; 0 picks a free one and prints it."""
    profile_file: Path | None = None
    """A profile of one's own, for a fine-tune or a newer model; takes the place of ``profile``."""
    offline: bool = False
    """Take weights of the hub from the local cache only."""

    def read_profile(self) -> Profile:
        """Read the profile that the settings name. Raises ProfileError."""
        return load_profile(str(self.profile_file) if self.profile_file else self.profile)
