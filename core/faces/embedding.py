"""Identity embedding and identity score.

The face is brought to the 112 × 112 template of ArcFace (Deng et al., arXiv:1801.07698) by a similarity over five
points, and described by MobileFace in 256 numbers. Strangers have a median cosine of about 0.05.
"""

from pathlib import Path

import numpy as np

from core.faces import landmarks
from core.faces.arrays import FloatArray, Image
from core.faces.mesh import Mesh, warp_antialiased
from core.faces.sessions import open_session
from core.faces.weights import DEFAULT_FOLDER, FACE_EMBEDDING

ALIGNED_SIZE = 112
_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def five_points(mesh: Mesh) -> FloatArray:
    """5×2: right eye, left eye, tip of the nose, right and left corner of the mouth, in pixels."""
    points = mesh.points[:, :2]
    return np.stack(
        [
            points[list(landmarks.RIGHT_EYE)].mean(axis=0),
            points[list(landmarks.LEFT_EYE)].mean(axis=0),
            points[landmarks.NOSE_TIP],
            points[landmarks.MOUTH_RIGHT],
            points[landmarks.MOUTH_LEFT],
        ]
    )


def align(image: Image, points: FloatArray) -> Image:
    """Draw the face with these five points on the 112 × 112 ArcFace template."""
    source_mean, target_mean = points.mean(axis=0), _TEMPLATE.mean(axis=0)
    a, b = points - source_mean, _TEMPLATE - target_mean
    spread = max(float((a**2).sum()), 1e-9)
    cos = float((a * b).sum()) / spread
    sin = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / spread
    linear = np.array([[cos, -sin], [sin, cos]])
    matrix = np.concatenate([linear, (target_mean - linear @ source_mean)[:, None]], axis=1)
    return warp_antialiased(image, matrix, ALIGNED_SIZE)


def identity_score(first: FloatArray, second: FloatArray) -> float:
    """Cosine of two embeddings, −1 to 1."""
    return float(np.clip(first @ second, -1.0, 1.0))


def sharpness(aligned: Image) -> float:
    """Variance of the Laplacian of the luma of an aligned 112 × 112 face; below about 30 is blurred."""
    luma = aligned.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    return float(laplacian.var())


class FaceEmbedder:
    """Describes identity. Safe to use from several threads."""

    def __init__(self, folder: Path = DEFAULT_FOLDER, threads: int = 1) -> None:
        """Load the network from `folder`; raises ModelFileError."""
        self._session = open_session(FACE_EMBEDDING, folder=folder, threads=threads)

    def embed(self, aligned: Image) -> FloatArray:
        """Describe an aligned 112 × 112 face by 256 float64 numbers of Euclidean length 1."""
        (values,) = self._session.run(None, {"data:0": aligned.astype(np.float32)[None]})
        vector = values.reshape(-1).astype(np.float64)
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))
