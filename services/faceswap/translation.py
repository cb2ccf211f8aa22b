"""Faces and outcomes as messages of the contract."""

from __future__ import annotations

from core.faces import Face, FaceOrder, Gender
from likeness.faceswap.v1 import faceswap_service_pb2 as pb2
from services.faceswap.outcome import MATCH_THRESHOLD, SwapChoices, SwapOutcome, SwappedFace
from services.faceswap.references import Reference, ReferenceRules
from services.faceswap.restoration.stage import RestorationChoice
from services.faceswap.selection import SkippedFace, SkipReason

MIN_SCORE = 0.5
"""Least detection score where a request names none."""

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


_BY_GENDER: dict[int, Gender | None] = {
    pb2.GENDER_UNSPECIFIED: None,
    pb2.GENDER_FEMALE: Gender.FEMALE,
    pb2.GENDER_MALE: Gender.MALE,
}
_SKIP_REASONS = {
    SkipReason.GENDER: pb2.SKIP_REASON_GENDER,
    SkipReason.NO_MATCH: pb2.SKIP_REASON_NO_MATCH,
    SkipReason.NOT_ASKED: pb2.SKIP_REASON_NOT_ASKED,
    SkipReason.TOO_SMALL: pb2.SKIP_REASON_TOO_SMALL,
    SkipReason.TURNED_TOO_FAR: pb2.SKIP_REASON_TURNED_TOO_FAR,
}


def swap_choices(request: pb2.SwapRequest) -> SwapChoices:
    """Return what a request asks for beside its pictures."""
    min_score = request.min_score if request.HasField("min_score") else MIN_SCORE
    return SwapChoices(
        target_face_indexes=tuple(request.target_face_indexes),
        all_target_faces=request.all_target_faces,
        target_order=order_of(request.target_order),
        target_gender=_BY_GENDER[request.target_gender],
        match_threshold=request.match_threshold if request.HasField("match_threshold") else MATCH_THRESHOLD,
        reference_rules=ReferenceRules(
            min_score, _BY_GENDER[request.reference_gender], order_of(request.reference_order)
        ),
        pairing=tuple(request.pairing),
        swap_weight=request.swap_weight if request.HasField("swap_weight") else 1.0,
        engine=request.engine,
        pixel_boost=request.pixel_boost,
        restoration=restoration_choice(request),
        thorough=request.thorough,
        min_score=min_score,
    )


def restoration_choice(request: pb2.SwapRequest) -> RestorationChoice:
    """Return whether and how a request wants the swapped faces restored."""
    return RestorationChoice(
        wanted=request.restore_face if request.HasField("restore_face") else True,
        model=request.restore_model,
        visibility=request.restore_visibility if request.HasField("restore_visibility") else 1.0,
        fidelity=request.restore_fidelity if request.HasField("restore_fidelity") else None,
    )


def restoration_message(outcome: SwapOutcome, choice: RestorationChoice, profile: str) -> pb2.Restoration:
    """Return whether the swapped faces were restored, and why not, as the contract describes it."""
    if not choice.wanted:
        return pb2.Restoration(reason="restore_face is false")
    if not outcome.restorer:
        return pb2.Restoration(reason=f"the profile '{profile}' has no restorer")
    if choice.visibility <= 0:
        return pb2.Restoration(reason="restore_visibility is 0")
    if not any(swapped.restore_visibility for swapped in outcome.swapped):
        return pb2.Restoration(reason=f"the restorer '{outcome.restorer}' would have cost likeness")
    return pb2.Restoration(applied=True, model=outcome.restorer)


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
        mouth_curve_change=swapped.mouth_curve_change,
        reference_index=swapped.reference_index,
        match_score=swapped.match_score,
        restore_visibility=swapped.restore_visibility or None,
    )


def skipped_message(skipped: SkippedFace) -> pb2.SkippedFace:
    """Return why a face was left as it is, as the contract describes it."""
    return pb2.SkippedFace(
        target_face_index=skipped.index,
        reason=_SKIP_REASONS[skipped.reason],
        detail=skipped.detail,
        match_score=skipped.match_score,
    )


def reference_message(reference: Reference) -> pb2.UsedReference:
    """Return a reference as the contract describes it."""
    return pb2.UsedReference(face=face_message(reference.face, reference.index), face_model_id=reference.face_model_id)
