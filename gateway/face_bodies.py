"""The bodies of requests that look at faces and change nothing."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from gateway.models import DATA_URL, Body, ImageValue, choice, limited
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.results import FaceOrder, ImageFormat


class _LookFields(Body):
    order: Annotated[FaceOrder, BeforeValidator(choice(FaceOrder))] = Field(
        FaceOrder.LARGE_TO_SMALL, description="Order in which faces are listed and indexes count."
    )
    min_score: float | None = limited(
        faceswap.DetectFacesRequest, "min_score", None, "Faces below this detection score do not count; 0.5 when left "
        "out.",
    )  # fmt: skip
    timeout_seconds: float | None = Field(
        None,
        description="The answer is wanted within so many seconds.",
        json_schema_extra={"exclusiveMinimum": 0},
    )


class DetectBody(_LookFields):
    """A picture whose faces are wanted."""

    image: ImageValue
    thorough: bool = Field(False, description="Also look for small, dark and turned faces where others are found.")
    drawing: Annotated[ImageFormat | None, BeforeValidator(choice(ImageFormat))] = Field(
        None, description="Answer also with the picture and the faces drawn on it, in this format."
    )
    model_config = ConfigDict(json_schema_extra={"examples": [{"image": DATA_URL, "order": "left-to-right"}]})


class CompareBody(_LookFields):
    """Two pictures whose faces are compared."""

    first_image: ImageValue
    second_image: ImageValue
    first_face_index: int = limited(
        faceswap.CompareFacesRequest, "first_face_index", 0, "Which face of the first picture, in the order."
    )
    second_face_index: int = limited(
        faceswap.CompareFacesRequest, "second_face_index", 0, "Which face of the second picture, in the order."
    )
    model_config = ConfigDict(json_schema_extra={"examples": [{"first_image": DATA_URL, "second_image": DATA_URL}]})
