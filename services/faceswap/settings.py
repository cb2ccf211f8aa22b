"""Settings of the faceswap service's process."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from core.runtime.settings import ServiceSettings


class FaceSwapSettings(ServiceSettings):
    """What the faceswap service can be told, beside what every service can."""

    service: ClassVar[str] = "faceswap"

    port: int = Field(50052, ge=0, le=65535)
    """Port to listen on; 0 picks a free one and prints it."""
    engine: str = Field("", pattern=r"^[a-z0-9_-]{0,32}$")
    """The engine for requests that name none; the first that the deployment has when empty."""
