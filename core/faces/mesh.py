"""The 468-point dense mesh of a face, with refined lips and eyes.

Source: MediaPipe Face Mesh with attention (Grishchenko et al., "Attention Mesh: High-fidelity Face Mesh Prediction in
Real-time", arXiv:2006.10962).
"""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from core.faces import landmarks
from core.faces.arrays import FloatArray, Image
from core.faces.sessions import open_session
from core.faces.weights import DEFAULT_FOLDER, FACE_MESH

_INPUT = 192
_MARGIN = 1.5
_WIDER = (1.0, 1.25, 1.5)


@dataclass(frozen=True)
class FaceCrop:
    """A square, rotated window of a picture."""

    centre: tuple[float, float]
    """Centre in pixels of the picture."""
    side: float
    """Length of a side in pixels of the picture."""
    roll: float
    """Clockwise rotation of the window in radians."""

    def matrix(self, size: int) -> FloatArray:
        """2×3 matrix from pixels of the picture to pixels of the window drawn at size × size."""
        scale = size / self.side
        cos, sin = np.cos(self.roll) * scale, np.sin(self.roll) * scale
        rotation = np.array([[cos, sin], [-sin, cos]])
        # Pixel centres are at integers, so the window's middle is at (size − 1) / 2.
        shift = (size - 1) / 2 - rotation @ np.array(self.centre)
        return np.concatenate([rotation, shift[:, None]], axis=1)

    def cut(self, image: Image, size: int) -> Image:
        """Draw the window at size × size without aliasing; past the border the border pixels repeat."""
        return warp_antialiased(image, self.matrix(size), size)


def warp_antialiased(image: Image, matrix: FloatArray, size: int) -> Image:
    """Draw `image` through the 2×3 similarity `matrix` at size × size, shrunk by area before it is sampled."""
    scale = float(np.hypot(matrix[0, 0], matrix[0, 1]))
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]]) @ inverse.T
    height, width = image.shape[:2]
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, (width - 1, height - 1))
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 3, low + 1, (width, height))
    part = image[low[1] : high[1], low[0] : high[0]]
    local = np.array(matrix, dtype=np.float64)
    local[:, 2] += local[:, :2] @ low
    if scale < 0.7:
        wide, tall = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
        ratio = np.array([part.shape[1] / wide, part.shape[0] / tall])
        part = np.asarray(cv2.resize(part, (wide, tall), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        # Pixel centres: x_large + 0.5 = (x_small + 0.5) · ratio.
        local[:, 2] += local[:, :2] @ (0.5 * ratio - 0.5)
        local[:, :2] = local[:, :2] * ratio
    flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR
    drawn = cv2.warpAffine(part, local, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn, dtype=np.uint8)


@dataclass(frozen=True)
class Mesh:
    """Dense mesh of a face."""

    points: FloatArray
    """468×3 float64: x, y in pixels of the picture; z in the same unit, smaller is nearer."""
    presence: float
    """How sure the network is that there is a face, 0–1."""

    @property
    def box(self) -> FloatArray:
        """x, y, width, height of the points."""
        low, high = self.points[:, :2].min(axis=0), self.points[:, :2].max(axis=0)
        return np.concatenate([low, high - low])


def crop_of_box(box: FloatArray, right_eye: FloatArray, left_eye: FloatArray, margin: float = _MARGIN) -> FaceCrop:
    """The square window around a box (x, y, width, height), `margin` times as large, with the eyes level."""
    across = left_eye - right_eye
    side = float(max(box[2], box[3])) * margin
    centre = box[:2] + box[2:] / 2
    return FaceCrop((float(centre[0]), float(centre[1])), max(side, 1.0), float(np.arctan2(across[1], across[0])))


class FaceMesher:
    """Fits the mesh. Safe to use from several threads."""

    def __init__(self, folder: Path = DEFAULT_FOLDER, threads: int = 1) -> None:
        """Load the network from `folder`; raises ModelFileError."""
        self._session = open_session(FACE_MESH, folder=folder, threads=threads)

    def fit(self, image: Image, crop: FaceCrop) -> Mesh:
        """Fit the mesh to the face in `crop` of an H×W×3 uint8 RGB picture.

        The first fit places a second, better centred window, as MediaPipe's tracking does from frame to frame.
        """
        first = self._fit_once(image, crop)
        return self._fit_once(image, crop_of_mesh(first)) if first.presence else first

    def refit(self, image: Image, mesh: Mesh) -> Mesh:
        """Fit the mesh again where a mesh was found, for example after the face was changed."""
        again = self._fit_once(image, crop_of_mesh(mesh))
        return again if again.presence else mesh

    def _fit_once(self, image: Image, crop: FaceCrop) -> Mesh:
        # The network's second stage reads features around the first one's lips and eyes, and fails where they lie past
        # the window's border: a wider window has them inside.
        for wider in _WIDER:
            with contextlib.suppress(InvalidArgument):
                return self._run(image, replace(crop, side=crop.side * wider))
        return Mesh(np.zeros((landmarks.POINTS, 3)), 0.0)

    def _run(self, image: Image, crop: FaceCrop) -> Mesh:
        window = crop.cut(image, _INPUT)
        names = ["output_mesh_identity", "conv_faceflag", "output_lips", "output_left_eye:0", "output_right_eye:0"]
        mesh, flag, lips, first_eye, second_eye = self._session.run(
            names, {"input_1": window.astype(np.float32)[None] / 255.0}
        )
        points = mesh.reshape(landmarks.POINTS, 3).astype(np.float64)
        points[list(landmarks.LIPS_REFINED), :2] = lips.reshape(-1, 2)
        # The network calls the eye in the left half of the window its left one.
        points[list(landmarks.RIGHT_EYE_REFINED), :2] = first_eye.reshape(-1, 2)
        points[list(landmarks.LEFT_EYE_REFINED), :2] = second_eye.reshape(-1, 2)
        inverse = cv2.invertAffineTransform(crop.matrix(_INPUT))
        placed = np.empty_like(points)
        placed[:, :2] = points[:, :2] @ inverse[:, :2].T + inverse[:, 2]
        placed[:, 2] = points[:, 2] * (crop.side / _INPUT)
        return Mesh(placed, float(1.0 / (1.0 + np.exp(-float(flag.reshape(-1)[0])))))


def crop_of_mesh(mesh: Mesh) -> FaceCrop:
    """The window that the network likes best for the face of `mesh`."""
    right = mesh.points[list(landmarks.RIGHT_EYE_CORNERS), :2].mean(axis=0)
    left = mesh.points[list(landmarks.LEFT_EYE_CORNERS), :2].mean(axis=0)
    across = left - right
    roll = float(np.arctan2(across[1], across[0]))
    cos, sin = np.cos(roll), np.sin(roll)
    level = mesh.points[:, :2] @ np.array([[cos, -sin], [sin, cos]])
    low, high = level.min(axis=0), level.max(axis=0)
    middle = np.array([[cos, -sin], [sin, cos]]) @ ((low + high) / 2)
    return FaceCrop((float(middle[0]), float(middle[1])), float((high - low).max()) * _MARGIN, roll)
