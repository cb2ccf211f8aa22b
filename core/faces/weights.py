"""The face networks' files: where they are, and the check of size and SHA-256 before one is loaded."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / "weights" / "faces"
"""The folder that ships with the product."""


class ModelFileError(RuntimeError):
    """A model file is missing or is not the one that it should be. The text names the file and the remedy."""


@dataclass(frozen=True)
class ModelFile:
    """A model file that the code was written and tested for."""

    name: str
    """File name inside the folder."""
    size_bytes: int
    """Exact size."""
    sha256: str
    """SHA-256 of the content, lower-case hexadecimal."""

    def read(self, folder: Path = DEFAULT_FOLDER) -> bytes:
        """Return the verified content; raise ModelFileError when it is missing or differs."""
        path = folder / self.name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelFileError(
                f"cannot read the model file {path}: {error.strerror or error}; it ships in weights/faces"
            ) from error
        if len(content) != self.size_bytes:
            raise ModelFileError(f"{path} has {len(content)} bytes, expected {self.size_bytes}: copy it again")
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.sha256:
            raise ModelFileError(f"{path} has SHA-256 {digest}, expected {self.sha256}: copy it again")
        return content


FACE_DETECTION = ModelFile(
    "face_detection.onnx", 1_070_581, "d176724351df69f751f1ffcadb97984cdcec99faebe054a15d5f714855611270"
)
FACE_MESH = ModelFile("face_mesh.onnx", 2_509_095, "4e641c8a497c1d56690cdce3f60eb3a88af2ea5fd6c7c006d1666045eb0abc18")
FACE_ATTRIBUTES = ModelFile(
    "face_attributes.onnx", 7_012_646, "613cd0a1e387aa6335b77c66a42a23c751723303b876524bee54190b58a2aff2"
)
FACE_EMBEDDING = ModelFile(
    "face_embedding.onnx", 1_104_156, "4f0af996d8027af4b2b62806f0d6bd35ac60cb2135695af398920157db580054"
)
CANONICAL_FACE = ModelFile(
    "canonical_face.npz", 7_901, "e7f891f73ea5fdfc40ef3ab72d7356778b6146588f3c396266b097bd19aaf307"
)

ALL_FILES = (FACE_DETECTION, FACE_MESH, FACE_ATTRIBUTES, FACE_EMBEDDING, CANONICAL_FACE)
"""Every file that a FaceAnalyser loads."""
