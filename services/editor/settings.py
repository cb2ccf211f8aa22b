"""Settings of the editor's process."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from core.qwen.profile import Profile, load_profile
from core.qwen.settings import ModelSettings
from core.runtime.profiles import ProfileError


class EditorSettings(ModelSettings):
    """What the editor can be told, beside what every service can."""

    service: ClassVar[str] = "editor"

    port: int = Field(50053, ge=0, le=65535)
    """Port to listen on; 0 picks a free one and prints it."""

    def read_profile(self) -> Profile:
        """Read the profile file, or the edit profile that ships beside ``profile``: ``qwen`` means ``qwen-edit``.

        Raises ProfileError, also for a profile that does not edit pictures.
        """
        profile = load_profile(str(self.profile_file) if self.profile_file else f"{self.profile}-edit")
        if profile.editing is None:
            raise ProfileError(f"profile {profile.name!r} has no [editing]: start services.generator with it")
        return profile
