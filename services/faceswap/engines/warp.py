"""The mesh warp: one map from the result's pixels to the reference's, and antialiased sampling through it."""

from dataclasses import dataclass

import cv2
import numpy as np

from core.faces.arrays import FloatArray, Image, IntArray

_SHIFT = 4
_MIP_THRESHOLD = 1.2


@dataclass(frozen=True)
class Raster:
    """Which triangle covers each pixel of a region, and where in it the pixel lies."""

    triangles: IntArray
    """T×3 point indexes."""
    cover: IntArray
    """H×W int32: row of `triangles`, −1 where there is none."""
    solve: FloatArray
    """T×3×3: inverse of the triangles' homogeneous corners, so that values @ solve gives an affine function."""

    def interpolate(self, values: FloatArray) -> FloatArray:
        """Carry 468×C values at the points to an H×W×C float32 field, linear in each triangle, 0 outside."""
        affine = np.einsum("tik,tic->tkc", self.solve, values[self.triangles])
        affine = np.concatenate([affine, np.zeros((1, *affine.shape[1:]))]).astype(np.float32)
        height, width = self.cover.shape
        x = np.arange(width, dtype=np.float32)[None, :]
        y = np.arange(height, dtype=np.float32)[:, None]
        planes = np.empty((values.shape[1], height, width), dtype=np.float32)
        for channel, plane in enumerate(planes):
            across, down, constant = np.ascontiguousarray(affine[:, :, channel].T)
            np.multiply(across[self.cover], x, out=plane)
            plane += down[self.cover] * y
            plane += constant[self.cover]
        return np.moveaxis(planes, 0, -1)


def signed_areas(points: FloatArray, triangles: IntArray) -> FloatArray:
    """Twice the area of each triangle in the picture's plane: positive when it faces the viewer."""
    a, b, c = (points[triangles[:, i], :2] for i in range(3))
    return np.asarray((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1]))


def rasterise(points: FloatArray, triangles: IntArray, size: tuple[int, int]) -> Raster:
    """Draw the triangles of 468×3 `points` into a region of `size` (height, width); what is nearer hides the rest.

    Triangles that face away or have no area are left out.
    """
    areas = signed_areas(points, triangles)
    front = np.flatnonzero(areas > 1e-6)
    depth = points[triangles[front], 2].mean(axis=1)
    order = front[np.argsort(-depth, kind="stable")]
    kept = triangles[order]
    cover = np.full(size, -1, dtype=np.int32)
    corners = np.rint(points[kept, :2] * (1 << _SHIFT)).astype(np.int32)
    for row, corner in enumerate(corners):
        cv2.fillConvexPoly(cover, corner, row, lineType=cv2.LINE_8, shift=_SHIFT)
    homogeneous = np.concatenate([points[kept, :2], np.ones((len(kept), 3, 1))], axis=2)
    return Raster(kept, cover, np.linalg.inv(homogeneous).transpose(0, 2, 1))


def vertex_facing(points: FloatArray, triangles: IntArray) -> FloatArray:
    """468: cosine between the surface and the viewer at each point: 1 faces the viewer, below 0 faces away."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    summed = np.zeros_like(points)
    for i in range(3):
        np.add.at(summed, triangles[:, i], normals)
    return np.asarray(summed[:, 2] / np.maximum(np.linalg.norm(summed, axis=1), 1e-9))


@dataclass(frozen=True)
class Source:
    """A part of a picture, shrunk so that one of its pixels is about one pixel of the result."""

    pixels: Image | FloatArray
    """H×W×3 0–255, or a mask H×W 0–1."""
    offset: FloatArray
    """2: where the part begins in the picture."""
    ratio: FloatArray
    """2: pixels of the picture in one of the part's."""

    def sample(self, places: FloatArray) -> FloatArray:
        """Sample at H×W×2 places in pixels of the picture; float32 0–255. Border pixels repeat."""
        x, y = (
            np.ascontiguousarray(
                (places[..., axis] - np.float32(self.offset[axis] - 0.5)) * np.float32(1 / self.ratio[axis])
                - np.float32(0.5),
                dtype=np.float32,
            )
            for axis in (0, 1)
        )
        drawn = cv2.remap(self.pixels, x, y, interpolation=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(drawn, dtype=np.float32)


def prepare_source(image: Image, points: FloatArray, result: FloatArray, triangles: IntArray) -> Source:
    """Cut the face out of `image` and shrink it by area to the scale that it has in the result.

    `points` is the mesh in the picture, `result` the mesh in the result.
    """
    low = np.maximum(np.floor(points[:, :2].min(axis=0)).astype(int) - 4, 0)
    high = np.minimum(np.ceil(points[:, :2].max(axis=0)).astype(int) + 5, image.shape[1::-1])
    high = np.maximum(high, low + 1)
    part = image[low[1] : high[1], low[0] : high[0]]
    there = np.abs(signed_areas(points, triangles)).sum()
    here = max(np.abs(signed_areas(result, triangles)).sum(), 1e-6)
    shrink = float(np.sqrt(there / here))
    ratio = np.ones(2)
    if shrink > _MIP_THRESHOLD:
        wide, tall = max(2, round(part.shape[1] / shrink)), max(2, round(part.shape[0] / shrink))
        ratio = np.array([part.shape[1] / wide, part.shape[0] / tall])
        part = np.asarray(cv2.resize(part, (wide, tall), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return Source(np.asarray(part, dtype=np.uint8), low.astype(np.float64), ratio)
