"""What answers of all services hold: pictures, and the weights that made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class ImageFormat(StrEnum):
    """File format of an answer's pictures."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def media_type(self) -> str:
        """Media type, for example ``image/png``."""
        return f"image/{self.value}"


@dataclass(frozen=True)
class Picture:
    """A picture: its encoded file, or where it is stored."""

    media_type: str
    """For example ``image/png``."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    sha256: str
    """SHA-256 of the encoded file, 64 lower-case hexadecimal digits."""
    data: bytes | None = field(default=None, repr=False)
    """The encoded file; None when it was stored."""
    artifact_uri: str | None = None
    """Where it is stored; None when the bytes came along."""

    def save(self, path: str | Path) -> Path:
        """Write the encoded file to ``path``, whose folder must exist. Raises ValueError when it was stored."""
        if self.data is None:
            raise ValueError(f"the picture is stored as {self.artifact_uri}; its bytes did not come along")
        target = Path(path)
        target.write_bytes(self.data)
        return target


@dataclass(frozen=True)
class ModelInfo:
    """The weights that made an answer."""

    name: str
    revision: str
    profile: str
    precision: str
    device: str
    offload: str = ""
    """What is kept in the main memory: ``none``, ``text_encoder`` or ``blocks``."""
    compiled: bool = False
    """Whether the model's blocks are compiled."""
    step_cache: str = ""
    """What lets a step reuse an earlier one's work; empty where every step is computed in full."""
    guidance_device: str = ""
    """The second device, which works on the negative prompt; empty where there is none."""
