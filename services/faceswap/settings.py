"""Settings of the faceswap service's process."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from core.faces.providers import Execution
from core.runtime.settings import ServiceSettings
from services.faceswap.profile import SwapProfile, load_swap_profile


class FaceSwapSettings(ServiceSettings):
    """What the faceswap service can be told, beside what every service can."""

    service: ClassVar[str] = "faceswap"

    port: int = Field(50052, ge=0, le=65535)
    """Port to listen on; 0 picks a free one and prints it."""
    profile_file: Path | None = None
    """TOML file of a profile of your own, in place of `profile`."""
    models_dir: Path | None = None
    """Folder of the model files that do not ship with the product; ``models`` inside `weights_dir` when left out."""
    device: str = "cpu"
    """Device of the profile's networks: ``cpu``, ``cuda:N`` or ``tensorrt:N``. What ships works on the CPU."""
    engine: str = Field("", pattern=r"^[a-z0-9_-]{0,32}$")
    """The engine for requests that name none; the first that the deployment has when empty."""
    content_check_model: Path | None = None
    """Folder of an image classifier of transformers that looks at pictures and results; none when left out."""
    content_check_labels: str = Field("nsfw", min_length=1, max_length=1000)
    """Labels of the classifier that are refused, with commas between them."""
    content_check_threshold: float = Field(0.8, gt=0, le=1)
    """Probability of these labels together from which a picture is refused."""

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, device: str) -> str:
        Execution.of_device(device, 1)
        return device

    @model_validator(mode="after")
    def _fits_the_profile(self) -> Self:
        """Refuse a profile that does not exist, and a GPU that nothing would use."""
        profile = self.swap_profile
        if self.device != "cpu" and not profile.needs_files:
            raise ValueError(
                f"everything of the profile '{profile.name}' works on the CPU alone; set LIKENESS_FACESWAP_DEVICE=cpu"
            )
        return self

    @property
    def swap_profile(self) -> SwapProfile:
        """The profile that is named; raises ProfileError."""
        return load_swap_profile(self.profile if self.profile_file is None else str(self.profile_file))

    @property
    def models_folder(self) -> Path:
        """The folder of the model files that do not ship with the product."""
        return self.weights_dir / "models" if self.models_dir is None else self.models_dir
