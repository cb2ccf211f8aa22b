"""The canonical face: a mean, symmetric, frontal mesh with a fixed triangulation.

It gives head pose its frame and the mesh warp its triangles. `weights/faces/make_canonical_face.py` makes the file.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.faces.arrays import FloatArray, IntArray
from core.faces.weights import CANONICAL_FACE, DEFAULT_FOLDER


@dataclass(frozen=True)
class CanonicalFace:
    """A mean face that looks straight ahead."""

    points: FloatArray
    """468×3: x to the picture's right, y down, z away from the viewer; the face is 1 wide, its centre at 0."""
    triangles: IntArray
    """T×3 point indexes; clockwise in the picture when they face the viewer. The mouth's opening is left out."""
    mirror: IntArray
    """468: for each point the index of the same point on the other side of the face."""


def load_canonical_face(folder: Path = DEFAULT_FOLDER) -> CanonicalFace:
    """Load the verified canonical face from `folder`; raises ModelFileError."""
    with np.load(io.BytesIO(CANONICAL_FACE.read(folder)), allow_pickle=False) as arrays:
        loaded = CanonicalFace(
            points=arrays["points"].astype(np.float64),
            triangles=arrays["triangles"].astype(np.int64),
            mirror=arrays["mirror"].astype(np.int64),
        )
    for array in (loaded.points, loaded.triangles, loaded.mirror):
        array.setflags(write=False)
    return loaded
