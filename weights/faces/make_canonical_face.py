"""Make canonical_face.npz: the mean of the meshes of some portraits, symmetric, frontal, with its triangles.

    python weights/faces/make_canonical_face.py portraits/*.png

Pictures with one near-frontal face each are enough: the mean only has to be a plausible face. The file in the
repository was made from scikit-image's astronaut and the miniature's drawn people. After a change, put the new size
and SHA-256 into core/faces/weights.py.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from scipy.optimize import linear_sum_assignment
from scipy.spatial import Delaunay

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core.faces import landmarks
from core.faces.arrays import FloatArray, Image, IntArray
from core.faces.detector import FaceDetector
from core.faces.mesh import FaceMesher, crop_of_box
from core.faces.pose import similarity

_OUTPUT = Path(__file__).resolve().parent / "canonical_face.npz"


def main(paths: Sequence[str]) -> None:
    """Write the file from the portraits at `paths`."""
    detector, mesher = FaceDetector(threads=2), FaceMesher(threads=2)
    meshes, mirrored = [], []
    for path in paths:
        picture = np.asarray(PillowImage.open(path).convert("RGB"), dtype=np.uint8)
        flipped = np.ascontiguousarray(picture[:, ::-1])
        pair = [_fit(detector, mesher, image) for image in (picture, flipped)]
        if pair[0] is None or pair[1] is None:
            print(f"{path}: no face, left out")
            continue
        pair[1][:, 0] = picture.shape[1] - 1 - pair[1][:, 0]
        meshes.append(pair[0])
        mirrored.append(pair[1])
    mirror = _mirror_indexes(meshes, mirrored)
    points = _mean_face(meshes, mirror)
    triangles = _triangulate(points)
    np.savez_compressed(
        _OUTPUT,
        points=points.astype(np.float32),
        triangles=triangles.astype(np.int16),
        mirror=mirror.astype(np.int16),
    )
    print(f"{_OUTPUT.name}: {len(meshes)} portraits, {len(triangles)} triangles")


def _fit(detector: FaceDetector, mesher: FaceMesher, image: Image) -> FloatArray | None:
    found = detector.detect(image)
    if len(found) != 1:
        return None
    return mesher.fit(image, crop_of_box(found[0].box, found[0].key_points[0], found[0].key_points[1])).points


def _mirror_indexes(meshes: list[FloatArray], mirrored: list[FloatArray]) -> IntArray:
    """Match each point with the one that lies there when the picture is mirrored: one to one, over all portraits."""
    cost = np.zeros((landmarks.POINTS, landmarks.POINTS))
    for mesh, other in zip(meshes, mirrored, strict=True):
        size = np.ptp(mesh[:, 0])
        cost += np.minimum(np.linalg.norm(mesh[:, None] - other[None], axis=2) / size, 0.2)
    _, match = linear_sum_assignment(cost + cost.T)
    if not np.array_equal(match[match], np.arange(landmarks.POINTS)):
        raise SystemExit("the mirror images do not match one to one: use other portraits")
    return np.asarray(match)


def _mean_face(meshes: list[FloatArray], mirror: IntArray) -> FloatArray:
    """Generalised Procrustes mean over the meshes and their mirror images, then turned to face the viewer."""
    both = []
    for mesh in meshes:
        both += [mesh, mesh[mirror] * (-1, 1, 1)]
    mean = both[0]
    for _ in range(10):
        aligned = []
        for mesh in both:
            fit = similarity(mesh, mean)
            aligned.append(fit.place(mesh))
        mean = np.mean(aligned, axis=0)
        mean = (mean - mean.mean(axis=0)) / np.ptp(mean[:, 0])
    # The mean over mirrored pairs is symmetric about some plane: find the frame in which that plane is x = 0.
    fit = similarity(mean[mirror] * (-1, 1, 1), mean)
    half = cv2.Rodrigues(cv2.Rodrigues(fit.rotation)[0] / -2)[0]
    mean = mean @ half.T
    mean -= mean.mean(axis=0)
    mean = (mean + mean[mirror] * (-1, 1, 1)) / 2
    # By convention a level head has the top of its forehead and its chin at one depth.
    tall = mean[landmarks.CHIN] - mean[landmarks.FOREHEAD_TOP]
    nod = np.arctan2(tall[2], tall[1])
    cos, sin = np.cos(nod), np.sin(nod)
    mean = mean @ np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]]).T
    return np.asarray(mean / np.ptp(mean[:, 0]))


def _triangulate(points: FloatArray) -> IntArray:
    """Delaunay on the face unrolled about a vertical axis, inside the oval and outside the mouth's opening."""
    axis = points[:, 2].max() + 0.25
    flat = np.stack([np.arctan2(points[:, 0], axis - points[:, 2]) * 0.8, points[:, 1]], axis=1)
    triangles = Delaunay(flat).simplices
    middle = flat[triangles].mean(axis=1)
    oval = flat[list(landmarks.OVAL)].astype(np.float32)
    inside = [cv2.pointPolygonTest(oval, (float(x), float(y)), False) >= 0 for x, y in middle]
    mouth = np.isin(triangles, landmarks.LIPS_INNER).all(axis=1)
    triangles = triangles[np.array(inside) & ~mouth]
    a, b, c = (flat[triangles[:, i]] for i in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    triangles[area < 0] = triangles[area < 0][:, ::-1]
    return np.asarray(triangles[np.abs(area) > 1e-9])


if __name__ == "__main__":
    main(sys.argv[1:])
