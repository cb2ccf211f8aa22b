"""Faces: detection, dense mesh, head pose, attributes, identity. Needs onnxruntime, no torch."""

from core.faces.analyser import Face, FaceAnalyser, FaceOrder, order_faces
from core.faces.attributes import FaceAttributes, Gender
from core.faces.canonical import CanonicalFace
from core.faces.detector import Detection
from core.faces.embedding import identity_score
from core.faces.mesh import Mesh
from core.faces.pose import HeadPose, Placement
from core.faces.weights import ModelFile, ModelFileError

__all__ = [
    "CanonicalFace",
    "Detection",
    "Face",
    "FaceAnalyser",
    "FaceAttributes",
    "FaceOrder",
    "Gender",
    "HeadPose",
    "Mesh",
    "ModelFile",
    "ModelFileError",
    "Placement",
    "identity_score",
    "order_faces",
]
