"""Settings of the generator's process."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from core.qwen.profile import Profile
from core.qwen.settings import ModelSettings
from core.runtime.profiles import ProfileError


class GeneratorSettings(ModelSettings):
    """What the generator can be told, beside what every service can."""

    service: ClassVar[str] = "generator"

    port: int = Field(50051, ge=0, le=65535)
    """Port to listen on; 0 picks a free one and prints it."""

    def read_profile(self) -> Profile:
        """Read the profile that the settings name. Raises ProfileError, also for one that edits pictures."""
        profile = super().read_profile()
        if profile.editing is not None:
            raise ProfileError(f"profile {profile.name!r} edits pictures: start services.editor with it")
        return profile
