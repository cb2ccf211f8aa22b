"""The client's arguments into the messages of the faceswap service and of its face models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from likeness._messages import ImageSource, filled, image_input, image_output
from likeness.face_models import FaceModelAverage
from likeness.faceswap.v1 import face_model_service_pb2 as models
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.results import FaceOrder, Gender, ImageFormat

ORDERS = {
    FaceOrder.LARGE_TO_SMALL: faceswap.FACE_ORDER_LARGE_TO_SMALL,
    FaceOrder.SMALL_TO_LARGE: faceswap.FACE_ORDER_SMALL_TO_LARGE,
    FaceOrder.LEFT_TO_RIGHT: faceswap.FACE_ORDER_LEFT_TO_RIGHT,
    FaceOrder.RIGHT_TO_LEFT: faceswap.FACE_ORDER_RIGHT_TO_LEFT,
    FaceOrder.TOP_TO_BOTTOM: faceswap.FACE_ORDER_TOP_TO_BOTTOM,
    FaceOrder.BOTTOM_TO_TOP: faceswap.FACE_ORDER_BOTTOM_TO_TOP,
    FaceOrder.BEST_SCORE: faceswap.FACE_ORDER_BEST_SCORE,
}

GENDERS = {
    None: faceswap.GENDER_UNSPECIFIED,
    Gender.UNKNOWN: faceswap.GENDER_UNSPECIFIED,
    Gender.FEMALE: faceswap.GENDER_FEMALE,
    Gender.MALE: faceswap.GENDER_MALE,
}
AVERAGES = {
    FaceModelAverage.MEAN: models.FACE_MODEL_AVERAGE_MEAN,
    FaceModelAverage.MEDIAN: models.FACE_MODEL_AVERAGE_MEDIAN,
}


@dataclass(frozen=True)
class Reference:
    """One of several persons to put in: a picture or a face model."""

    image: ImageSource | None = None
    """A picture; None for a face model."""
    face_model_id: str = ""
    """Name of a face model; empty for a picture."""
    face_index: int | None = None
    """Which face of the picture; None when it holds exactly one."""


def reference(value: Reference | ImageSource) -> faceswap.Reference:
    """Return the message of a person to put in. Raises OSError when a path cannot be read."""
    entry = value if isinstance(value, Reference) else Reference(value)
    message = filled(faceswap.Reference, face_index=entry.face_index)
    if entry.image is not None:
        message.image.CopyFrom(image_input(entry.image))
    else:
        # Set also when it is empty: the rules then say what is wrong.
        message.face_model_id = entry.face_model_id
    return message


def swap_request(
    target_image: ImageSource,
    reference_image: ImageSource | None = None,
    *,
    face_model_id: str = "",
    references: Sequence[Reference | ImageSource] = (),
    target_face_indexes: Sequence[int] = (),
    all_target_faces: bool = False,
    target_gender: Gender | None = None,
    match_image: ImageSource | None = None,
    match_threshold: float | None = None,
    reference_face_index: int | None = None,
    reference_face_indexes: Sequence[int] = (),
    reference_order: FaceOrder = FaceOrder.LARGE_TO_SMALL,
    reference_gender: Gender | None = None,
    pairing: Sequence[int] = (),
    swap_weight: float | None = None,
    target_order: FaceOrder = FaceOrder.LARGE_TO_SMALL,
    restore_face: bool = True,
    restore_model: str = "",
    restore_visibility: float | None = None,
    restore_fidelity: float | None = None,
    engine: str = "",
    pixel_boost: int = 0,
    thorough: bool = False,
    min_score: float | None = None,
    output_format: ImageFormat = ImageFormat.PNG,
    quality: int | None = None,
    store: bool = False,
) -> faceswap.SwapRequest:
    """Return the message of a swap. Raises OSError when a path cannot be read."""
    return filled(
        faceswap.SwapRequest,
        target_image=image_input(target_image),
        reference_image=None if reference_image is None else image_input(reference_image),
        face_model_id=face_model_id,
        references=[reference(entry) for entry in references],
        target_face_indexes=target_face_indexes,
        all_target_faces=all_target_faces,
        target_gender=GENDERS[target_gender],
        match_image=None if match_image is None else image_input(match_image),
        match_threshold=match_threshold,
        reference_face_index=reference_face_index,
        reference_face_indexes=reference_face_indexes,
        reference_order=ORDERS[FaceOrder(reference_order)],
        reference_gender=GENDERS[reference_gender],
        pairing=pairing,
        swap_weight=swap_weight,
        target_order=ORDERS[FaceOrder(target_order)],
        restore_face=restore_face,
        restore_model=restore_model,
        restore_visibility=restore_visibility,
        restore_fidelity=restore_fidelity,
        engine=engine,
        pixel_boost=pixel_boost,
        thorough=thorough,
        min_score=min_score,
        output=image_output(output_format, quality, store),
    )


def detect_request(
    image: ImageSource,
    *,
    min_score: float | None = None,
    order: FaceOrder = FaceOrder.LARGE_TO_SMALL,
    thorough: bool = False,
    drawing: ImageFormat | None = None,
) -> faceswap.DetectFacesRequest:
    """Return the message that asks for faces. Raises OSError when a path cannot be read."""
    return filled(
        faceswap.DetectFacesRequest,
        image=image_input(image),
        min_score=min_score,
        order=ORDERS[FaceOrder(order)],
        thorough=thorough,
        drawing=None if drawing is None else image_output(drawing),
    )


def compare_request(
    first_image: ImageSource,
    second_image: ImageSource,
    *,
    first_face_index: int = 0,
    second_face_index: int = 0,
    order: FaceOrder = FaceOrder.LARGE_TO_SMALL,
    min_score: float | None = None,
) -> faceswap.CompareFacesRequest:
    """Return the message that asks how alike two faces are. Raises OSError when a path cannot be read."""
    return filled(
        faceswap.CompareFacesRequest,
        first_image=image_input(first_image),
        second_image=image_input(second_image),
        first_face_index=first_face_index,
        second_face_index=second_face_index,
        order=ORDERS[FaceOrder(order)],
        min_score=min_score,
    )


def build_face_model_request(
    face_model_id: str,
    images: Sequence[ImageSource],
    *,
    average: FaceModelAverage = FaceModelAverage.MEAN,
    min_score: float | None = None,
    replace: bool = False,
) -> models.BuildFaceModelRequest:
    """Return the message that builds a face model. Raises OSError when a path cannot be read."""
    return filled(
        models.BuildFaceModelRequest,
        face_model_id=face_model_id,
        images=[image_input(image) for image in images],
        average=AVERAGES[FaceModelAverage(average)],
        min_score=min_score,
        replace=replace,
    )


def list_face_models_request(page_size: int = 0, page_token: str = "") -> models.ListFaceModelsRequest:
    """Return the message that asks for a page of face models."""
    return filled(models.ListFaceModelsRequest, page_size=page_size, page_token=page_token)
