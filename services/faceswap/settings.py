"""Settings of the faceswap service's process."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from core.runtime.settings import ServiceSettings


class FaceSwapSettings(ServiceSettings):
    """What the faceswap service can be told, beside what every service can."""

    service: ClassVar[str] = "faceswap"

    port: int = Field(50052, ge=0, le=65535)
    """Port to listen on; 0 picks a free one and prints it."""
    profile: Literal["miniature", "qwen"] = "miniature"
    """Which engines and restorers are used; ``qwen`` has none yet in this version."""
    device: str = "cpu"
    """Device of the work: the CPU, where all networks of the miniature run."""
    engine: str = Field("", pattern=r"^[a-z0-9_-]{0,32}$")
    """The engine for requests that name none; the first that the deployment has when empty."""

    @field_validator("profile")
    @classmethod
    def _has_its_engine(cls, profile: str) -> str:
        """Refuse a profile under whose name another engine would work."""
        if profile == "qwen":
            raise ValueError(
                "this version has neither the engine 'inswapper' (inswapper_128.onnx) nor the restorer GFPGAN "
                "(GFPGANv1.4) of this profile; the profile miniature, with LIKENESS_FACESWAP_PROFILE, swaps by the "
                "engine 'mesh' also beside a generator of the profile qwen"
            )
        return profile

    @field_validator("device")
    @classmethod
    def _is_the_cpu(cls, device: str) -> str:
        """Refuse a device that nothing would use."""
        if device != "cpu":
            raise ValueError("the faceswap service works on the CPU alone; set LIKENESS_FACESWAP_DEVICE=cpu")
        return device
