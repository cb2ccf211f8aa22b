"""A likeness between two faces: the picture before and after a swap, morphed into each other.

The classical mesh morph (Wolberg, "Image morphing: a survey", The Visual Computer 14, 1998): both pictures are bent
onto the mesh between them and then mixed, so that no feature is seen twice as in a plain mix. Both show the same pose
and light. It works on the result of any engine.
"""

from __future__ import annotations

import cv2
import numpy as np

from core.faces import CanonicalFace, landmarks
from core.faces.arrays import FloatArray, Image
from core.faces.region import Region
from services.faceswap.engines.warp import Source, rasterise

_RIM = 0.12
"""Over how much of the face's width, from its outline inwards, the bending comes in."""


def mix_faces(
    before: Image,
    after: Image,
    region: Region,
    meshes: tuple[FloatArray, FloatArray],
    canonical: CanonicalFace,
    weight: float,
) -> Image:
    """Return the picture between `before` and `after`, as a new array.

    `before` and `after` are H×W×3 uint8 RGB and differ only inside `region`; `meshes` are the face's 468×3 points in
    both; `weight` is 0 for the picture before to 1 for the one after. Points at the outline stay where they are before,
    so the mix meets its surroundings.
    """
    result = after.copy()
    old = np.ascontiguousarray(before[region.rows, region.columns])
    new = np.ascontiguousarray(after[region.rows, region.columns])
    origin = np.array([region.left, region.top, 0.0])
    first = meshes[0] - origin
    moved = (meshes[1] - origin - first) * _inside(first)[:, None]
    middle = first + weight * moved
    places = np.concatenate([-weight * moved[:, :2], (1 - weight) * moved[:, :2]], axis=1)
    shift = rasterise(middle, canonical.triangles, old.shape[:2]).interpolate(places)
    # The triangles' steps in slope would show as creases.
    shift = np.asarray(cv2.GaussianBlur(shift, (0, 0), max(0.5, 0.01 * float(np.ptp(first[:, 0])))))
    rows, columns = np.mgrid[0 : old.shape[0], 0 : old.shape[1]].astype(np.float32)
    here = np.stack([columns, rows], axis=-1)
    plain = (np.zeros(2), np.ones(2))
    old_bent = Source(old, *plain).sample(here + shift[..., :2])
    new_bent = Source(new, *plain).sample(here + shift[..., 2:])
    mixed = np.clip(old_bent + (new_bent - old_bent) * weight, 0, 255)
    changed = (old != new).any(axis=2) | (np.abs(shift) > 1e-3).any(axis=2)
    result[region.rows, region.columns] = np.where(changed[..., None], np.rint(mixed), old).astype(np.uint8)
    return result


def _inside(points: FloatArray) -> FloatArray:
    """468: how far inside the outline each point lies, from 0 on it to 1 from `_RIM` of the width on."""
    outline = points[list(landmarks.OVAL), :2].astype(np.float32)
    width = max(float(np.ptp(points[:, 0])), 1e-6)
    depth = [cv2.pointPolygonTest(outline, (float(x), float(y)), True) for x, y in points[:, :2]]
    return np.asarray(np.clip(np.array(depth) / (_RIM * width), 0.0, 1.0))
