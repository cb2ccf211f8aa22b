"""The bodies of swaps and face models into messages of the contract, checked by the contract's own rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.face_bodies import CompareBody, DetectBody
from gateway.models import FaceModelBody, ReferenceBody, SwapBody, SwapFields
from gateway.translation import check, fill
from likeness._face_requests import AVERAGES, GENDERS, ORDERS
from likeness._messages import image_output
from likeness.common.v1 import image_pb2
from likeness.errors import InvalidRequest
from likeness.faceswap.v1 import face_model_service_pb2 as face_models
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap

_PLAIN = (
    "face_model_id",
    "reference_face_index",
    "all_target_faces",
    "match_threshold",
    "swap_weight",
    "restore_face",
    "restore_model",
    "restore_visibility",
    "restore_fidelity",
    "engine",
    "pixel_boost",
    "min_score",
    "thorough",
)
_LISTS = ("target_face_indexes", "reference_face_indexes", "pairing")


@dataclass(frozen=True)
class SwapPictures:
    """The pictures of a swap's body but for its target, read and fetched."""

    reference: image_pb2.ImageInput | None = None
    references: tuple[image_pb2.ImageInput | None, ...] = ()
    """One for each of the body's references; None for a face model."""
    match: image_pb2.ImageInput | None = None


def swap_request(
    body: SwapBody, *, pictures: SwapPictures, target: image_pb2.ImageInput, picture: image_pb2.ImageOutput
) -> faceswap.SwapRequest:
    """Return the checked message of a swap. Raises InvalidRequest."""
    message = _swap(body, pictures, picture)
    message.target_image.CopyFrom(target)
    check(message)
    return message


def swap_template(body: SwapFields, *, pictures: SwapPictures, picture: image_pb2.ImageOutput) -> faceswap.SwapRequest:
    """Return the checked message of a swap whose target is still to be drawn. Raises InvalidRequest."""
    message = _swap(body, pictures, picture)
    message.target_image.data = b"?"
    check(message)
    message.ClearField("target_image")
    return message


def check_swap(body: SwapFields) -> None:
    """Check a swap's body before any of its pictures is read or fetched. Raises InvalidRequest."""
    stand_in = image_pb2.ImageInput(data=b"?")

    def picture_of(item: object) -> image_pb2.ImageInput | None:
        return None if item is None or (isinstance(item, ReferenceBody) and item.image is None) else stand_in

    pictures = SwapPictures(
        picture_of(body.reference_image), tuple(map(picture_of, body.references)), picture_of(body.match_image)
    )
    swap_template(body, pictures=pictures, picture=image_pb2.ImageOutput())


def detect_request(image: image_pb2.ImageInput, swap: faceswap.SwapRequest) -> faceswap.DetectFacesRequest:
    """Return the message that asks for the faces of one of a swap's references."""
    message = faceswap.DetectFacesRequest(image=image, order=swap.reference_order)
    if swap.HasField("min_score"):
        message.min_score = swap.min_score
    return message


def check_detection(body: DetectBody) -> None:
    """Check a body before its picture is read or fetched. Raises InvalidRequest."""
    detection_request(body, image_pb2.ImageInput(data=b"?"))


def detection_request(body: DetectBody, image: image_pb2.ImageInput) -> faceswap.DetectFacesRequest:
    """Return the checked message that asks for a picture's faces. Raises InvalidRequest."""
    message = faceswap.DetectFacesRequest(image=image, order=ORDERS[body.order], thorough=body.thorough)
    fill(message, {"min_score": body.min_score})
    if body.drawing is not None:
        message.drawing.CopyFrom(image_output(body.drawing))
    check(message)
    return message


def check_comparison(body: CompareBody) -> None:
    """Check a body before its pictures are read or fetched. Raises InvalidRequest."""
    stand_in = image_pb2.ImageInput(data=b"?")
    comparison_request(body, stand_in, stand_in)


def comparison_request(
    body: CompareBody, first: image_pb2.ImageInput, second: image_pb2.ImageInput
) -> faceswap.CompareFacesRequest:
    """Return the checked message that compares two faces. Raises InvalidRequest."""
    message = faceswap.CompareFacesRequest(first_image=first, second_image=second, order=ORDERS[body.order])
    fill(message, {name: getattr(body, name) for name in ("min_score", "first_face_index", "second_face_index")})
    check(message)
    return message


def check_face_model(face_model_id: str, body: FaceModelBody) -> None:
    """Check the body of a face model before any of its photos is read or fetched. Raises InvalidRequest."""
    face_model_request(face_model_id, body, [image_pb2.ImageInput(data=b"?")] * len(body.images))


def face_model_request(
    face_model_id: str, body: FaceModelBody, images: Sequence[image_pb2.ImageInput]
) -> face_models.BuildFaceModelRequest:
    """Return the checked message that builds a face model. Raises InvalidRequest."""
    message = face_models.BuildFaceModelRequest(images=images, average=AVERAGES[body.average], replace=body.replace)
    fill(message, {"face_model_id": face_model_id, "min_score": body.min_score})
    check(message)
    return message


def _swap(body: SwapFields, pictures: SwapPictures, picture: image_pb2.ImageOutput) -> faceswap.SwapRequest:
    message = faceswap.SwapRequest(
        reference_image=pictures.reference,
        match_image=pictures.match,
        output=picture,
        target_order=ORDERS[body.target_order],
        target_gender=GENDERS[body.target_gender],
        reference_order=ORDERS[body.reference_order],
        reference_gender=GENDERS[body.reference_gender],
    )
    fill(message, {name: getattr(body, name) for name in _PLAIN})
    for name in _LISTS:
        try:
            getattr(message, name).extend(getattr(body, name))
        except ValueError:
            raise InvalidRequest(f"{name}: an index is out of range", field=name) from None
    for number, (item, image) in enumerate(zip(body.references, pictures.references, strict=True)):
        _add_reference(message.references.add(), item, image, f"references[{number}].")
    return message


def _add_reference(
    entry: faceswap.Reference,
    item: ReferenceBody | str | bytes,
    image: image_pb2.ImageInput | None,
    prefix: str,
) -> None:
    if isinstance(item, ReferenceBody):
        if image is not None and item.face_model_id:
            raise InvalidRequest(f"{prefix}image: give image or face_model_id, not both", field=f"{prefix}image")
        fill(entry, {"face_model_id": item.face_model_id, "face_index": item.face_index}, prefix=prefix)
    if image is not None:
        entry.image.CopyFrom(image)
