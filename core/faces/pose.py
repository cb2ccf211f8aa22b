"""Head pose: the similarity that carries the canonical face onto a mesh.

Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 13(4), 1991.
"""

from dataclasses import dataclass

import numpy as np

from core.faces.arrays import FloatArray
from core.faces.landmarks import RIGID


@dataclass(frozen=True)
class HeadPose:
    """Rotation of a head in degrees: first the nod, then the turn, then the tilt in the plane of the picture.

    So turning a picture adds to the roll alone, and mirroring it changes the signs of yaw and roll alone.
    """

    yaw: float
    """−90 to 90: positive when the nose points to the picture's right once the roll is undone."""
    pitch: float
    """−180 to 180: positive when the nose points to the chin's side."""
    roll: float
    """−180 to 180: positive when the head leans clockwise in the picture; ±180 is upside down."""

    def largest_difference(self, other: "HeadPose") -> float:
        """The largest difference of the three angles, in degrees; rolls of 179 and −179 differ by 2."""
        roll = (self.roll - other.roll + 180) % 360 - 180
        return max(abs(self.yaw - other.yaw), abs(self.pitch - other.pitch), abs(roll))


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
        across, down = self.rotation[:, 0], self.rotation[2]
        roll = np.degrees(np.arctan2(across[1], across[0]))
        yaw = np.degrees(np.arcsin(np.clip(down[0], -1.0, 1.0)))
        pitch = np.degrees(np.arctan2(down[1], down[2]))
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
