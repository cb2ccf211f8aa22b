"""Head pose: the similarity that carries the canonical face onto a mesh.

Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 13(4), 1991.
"""

from dataclasses import dataclass

import numpy as np

from core.faces.arrays import FloatArray
from core.faces.landmarks import RIGID


@dataclass(frozen=True)
class HeadPose:
    """Rotation of a head in degrees."""

    yaw: float
    """Positive when the nose points to the picture's right."""
    pitch: float
    """Positive when the nose points down."""
    roll: float
    """Positive when the head leans clockwise in the picture."""

    def largest_difference(self, other: "HeadPose") -> float:
        """The largest difference of the three angles, in degrees."""
        return max(abs(self.yaw - other.yaw), abs(self.pitch - other.pitch), abs(self.roll - other.roll))


@dataclass(frozen=True)
class Placement:
    """Where and how a face stands: `point = scale · rotation @ canonical + shift`."""

    rotation: FloatArray
    """3×3 rotation."""
    scale: float
    """Pixels for one width of the canonical face."""
    shift: FloatArray
    """3: pixels."""

    def normalise(self, points: FloatArray) -> FloatArray:
        """Carry N×3 points in pixels into the canonical, frontal frame."""
        return np.asarray((points - self.shift) @ self.rotation / self.scale)

    def place(self, points: FloatArray) -> FloatArray:
        """Carry N×3 points of the canonical frame into the picture's pixels."""
        return np.asarray(points @ self.rotation.T * self.scale + self.shift)

    @property
    def pose(self) -> HeadPose:
        """The rotation as angles."""
        forward = -self.rotation[:, 2]
        yaw = np.degrees(np.arctan2(forward[0], -forward[2]))
        pitch = np.degrees(np.arcsin(np.clip(forward[1], -1.0, 1.0)))
        upright = _rotation_y(-yaw) @ self.rotation
        upright = _rotation_x(pitch) @ upright
        roll = np.degrees(np.arctan2(upright[1, 0], upright[0, 0]))
        return HeadPose(float(yaw), float(pitch), float(roll))

    @property
    def turn_degrees(self) -> float:
        """Angle between where the face looks and the direction to the viewer, 0 when it looks straight at them."""
        return float(np.degrees(np.arccos(np.clip(self.rotation[2, 2], -1.0, 1.0))))


def place_face(points: FloatArray, canonical: FloatArray) -> Placement:
    """Fit the canonical 468×3 points to a mesh by least squares over the points that expressions move little."""
    rigid = list(RIGID)
    return similarity(canonical[rigid], points[rigid])


def similarity(source: FloatArray, target: FloatArray) -> Placement:
    """The similarity that carries N×3 `source` onto `target` with the least squared error."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    a, b = source - source_mean, target - target_mean
    u, d, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = float((d * sign).sum() / (a**2).sum())
    return Placement(rotation, scale, target_mean - scale * rotation @ source_mean)


def _rotation_y(degrees: float) -> FloatArray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def _rotation_x(degrees: float) -> FloatArray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
