"""Model files that do not ship with the product: the operator gets them, and the profile says what they have to be."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from core.faces.weights import ModelFileError

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class ExternalModelFile:
    """A model file of the operator."""

    path: Path
    """Where it lies."""
    source: str
    """Where to get it: told when it is missing."""
    licence: str
    """What its licence allows, in a few words: told when it is missing."""
    size_bytes: int | None = None
    """Exact size; None leaves it unchecked."""
    sha256: str | None = None
    """SHA-256 of the content, lower-case hexadecimal; None leaves it unchecked, which is logged with the digest."""

    def verify(self) -> str:
        """Check the file and return its SHA-256, in lower-case hexadecimal.

        Raises ModelFileError when it is missing, cut short, altered, or the pointer that a checkout without large files
        leaves behind; the text says where to get it.
        """
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as stream:
                if self.size_bytes not in (None, size):
                    pointer = stream.read(len(_POINTER)) == _POINTER
                    what = "is only the pointer of a large file" if pointer else f"has {size} bytes"
                    raise ModelFileError(f"{self.path} {what}, expected {self.size_bytes} bytes: {self._remedy}")
                digest = hashlib.sha256()
                while block := stream.read(_CHUNK):
                    digest.update(block)
        except OSError as error:
            raise ModelFileError(
                f"cannot read the model file {self.path}: {error.strerror or error}; {self._remedy}"
            ) from error
        found = digest.hexdigest()
        if self.sha256 is None:
            logger.warning("the profile pins no sha256 of %s; it is %s", self.path.name, found)
        elif found != self.sha256:
            raise ModelFileError(f"{self.path} has SHA-256 {found}, expected {self.sha256}: {self._remedy}")
        return found

    @property
    def _remedy(self) -> str:
        return f"get it from {self.source} (licence: {self.licence}) and put it there whole"
