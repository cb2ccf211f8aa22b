"""Gender and age as HSE FaceRes estimates them from looks (Savchenko, arXiv:1807.07718)."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from core.faces.arrays import FloatArray, Image
from core.faces.mesh import FaceCrop
from core.faces.sessions import open_session
from core.faces.weights import DEFAULT_FOLDER, FACE_ATTRIBUTES

_INPUT = 224
_MEAN_BGR = np.array([103.939, 116.779, 123.68], dtype=np.float32)


class Gender(Enum):
    """Gender as estimated from looks; often wrong on drawn faces."""

    FEMALE = "female"
    MALE = "male"


@dataclass(frozen=True)
class FaceAttributes:
    """What a face looks like."""

    gender: Gender
    gender_score: float
    """How sure the gender is, 0.5–1."""
    age_years: float
    """Expected value of the network's distribution over ages 0–99."""


class AttributeEstimator:
    """Estimates attributes. Safe to use from several threads."""

    def __init__(self, folder: Path = DEFAULT_FOLDER, threads: int = 1) -> None:
        """Load the network from `folder`; raises ModelFileError."""
        self._session = open_session(FACE_ATTRIBUTES, folder=folder, threads=threads)

    def estimate(self, image: Image, crop: FaceCrop) -> FaceAttributes:
        """Estimate for the face in `crop` (1.3 × the detected box, eyes level) of an H×W×3 uint8 RGB picture."""
        window = crop.cut(image, _INPUT)
        tensor = window[:, :, ::-1].astype(np.float32)[None] - _MEAN_BGR
        names = ["gender_pred/Sigmoid:0", "age_pred/Softmax:0"]
        gender, age = self._session.run(names, {"input_1:0": tensor})
        male = float(gender.reshape(-1)[0])
        ages: FloatArray = age.reshape(-1).astype(np.float64)
        return FaceAttributes(
            gender=Gender.MALE if male > 0.5 else Gender.FEMALE,
            gender_score=max(male, 1.0 - male),
            age_years=float(ages @ np.arange(len(ages)) / max(float(ages.sum()), 1e-9)),
        )
