"""Faces and outcomes as messages of the contract."""

from __future__ import annotations

from core.faces import Face, FaceOrder, Gender
from likeness.faceswap.v1 import faceswap_service_pb2 as pb2
from services.faceswap.swapper import SwappedFace

_ORDERS: dict[int, FaceOrder] = {
    pb2.FACE_ORDER_UNSPECIFIED: FaceOrder.LARGE_TO_SMALL,
    pb2.FACE_ORDER_LARGE_TO_SMALL: FaceOrder.LARGE_TO_SMALL,
    pb2.FACE_ORDER_SMALL_TO_LARGE: FaceOrder.SMALL_TO_LARGE,
    pb2.FACE_ORDER_LEFT_TO_RIGHT: FaceOrder.LEFT_TO_RIGHT,
    pb2.FACE_ORDER_RIGHT_TO_LEFT: FaceOrder.RIGHT_TO_LEFT,
    pb2.FACE_ORDER_TOP_TO_BOTTOM: FaceOrder.TOP_TO_BOTTOM,
    pb2.FACE_ORDER_BOTTOM_TO_TOP: FaceOrder.BOTTOM_TO_TOP,
    pb2.FACE_ORDER_BEST_SCORE: FaceOrder.BEST_SCORE,
}
_GENDERS = {Gender.FEMALE: pb2.GENDER_FEMALE, Gender.MALE: pb2.GENDER_MALE}


def order_of(value: int) -> FaceOrder:
    """Return the order that a request names."""
    return _ORDERS[value]


def face_message(face: Face, index: int) -> pb2.Face:
    """Return a face as the contract describes it."""
    x, y, width, height = (float(value) for value in face.detection.box)
    message = pb2.Face(
        index=index,
        box=pb2.BoundingBox(x=x, y=y, width=width, height=height),
        score=face.detection.score,
        landmarks=[pb2.Point(x=float(px), y=float(py)) for px, py in face.landmarks],
        pose=pb2.HeadPose(yaw=face.pose.yaw, pitch=face.pose.pitch, roll=face.pose.roll),
        sharpness=face.sharpness,
    )
    if face.attributes is not None:
        message.gender = _GENDERS[face.attributes.gender]
        message.gender_score = face.attributes.gender_score
        message.age_years = face.attributes.age_years
    return message


def swapped_message(swapped: SwappedFace) -> pb2.SwappedFace:
    """Return what was done to a face as the contract describes it."""
    return pb2.SwappedFace(
        target_face_index=swapped.index,
        identity_before=swapped.identity_before,
        identity_after=swapped.identity_after,
        seam_ratio=swapped.seam_ratio,
        pose_change_degrees=swapped.pose_change_degrees,
        mouth_openness_change=swapped.mouth_openness_change,
        eye_openness_change=swapped.eye_openness_change,
    )
