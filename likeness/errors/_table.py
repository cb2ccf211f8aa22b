"""The error table: every class that a client can meet. Each is a few facts and no behaviour.

One rule holds for all: over HTTP it is 5xx where the server is at fault or short of something (INTERNAL, UNAVAILABLE,
DEADLINE_EXCEEDED, DATA_LOSS, UNIMPLEMENTED, and a full queue), else 4xx. What only HTTP can meet has a code too.
"""

from __future__ import annotations

from collections.abc import Sequence

from grpc import StatusCode

from likeness.errors._tree import FaceError, FieldViolation, ImageError, LikenessError


class InvalidRequest(LikenessError):
    """A field of the request is wrong."""

    reason = "INVALID_REQUEST"
    code = StatusCode.INVALID_ARGUMENT
    http_status = 400
    title = "The request is not valid"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retry_after_seconds: float | None = None,
        violations: Sequence[FieldViolation] = (),
        **metadata: str,
    ) -> None:
        """Make the error; without ``field``, the first violation's field stands for it."""
        if field is None and violations:
            field = violations[0].field or None
        super().__init__(message, field=field, retry_after_seconds=retry_after_seconds, **metadata)
        self._violations = tuple(violations)

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """Everything that is wrong with the request."""
        return self._violations or super().violations


class PromptTooLong(LikenessError):
    """The prompt has more tokens than the text encoder takes."""

    reason = "PROMPT_TOO_LONG"
    code = StatusCode.INVALID_ARGUMENT
    http_status = 400
    title = "The prompt is too long"


class UnknownMode(LikenessError):
    """The deployment has no mode of that name."""

    reason = "UNKNOWN_MODE"
    code = StatusCode.INVALID_ARGUMENT
    http_status = 400
    title = "There is no such mode"


class UnknownEngine(LikenessError):
    """The deployment has no engine of that name."""

    reason = "UNKNOWN_ENGINE"
    code = StatusCode.INVALID_ARGUMENT
    http_status = 400
    title = "There is no such engine"


class ImageUnreadable(ImageError):
    """The picture is truncated or not a picture at all."""

    reason = "IMAGE_UNREADABLE"
    title = "The picture cannot be read"


class ImageTooLarge(ImageError):
    """The picture has too many bytes or pixels."""

    reason = "IMAGE_TOO_LARGE"
    http_status = 413
    title = "The picture is too large"


class ImageAnimated(ImageError):
    """The picture has more than one frame."""

    reason = "IMAGE_ANIMATED"
    title = "The picture is animated"


class ImageEmpty(ImageError):
    """The picture has no bytes or no pixels."""

    reason = "IMAGE_EMPTY"
    title = "The picture is empty"


class ImageFormatUnsupported(ImageError):
    """The picture is in a file format that is not taken."""

    reason = "IMAGE_FORMAT_UNSUPPORTED"
    title = "The picture's file format is not taken"


class NoFace(FaceError):
    """The picture shows no face."""

    reason = "NO_FACE"
    title = "The picture shows no face"


class SeveralFaces(FaceError):
    """The picture shows several faces and nothing says which one is meant."""

    reason = "SEVERAL_FACES"
    title = "The picture shows several faces"


class FaceTooSmall(FaceError):
    """The face has too few pixels."""

    reason = "FACE_TOO_SMALL"
    title = "The face is too small"


class FaceTurnedTooFar(FaceError):
    """The head is turned further than the engine can bridge."""

    reason = "FACE_TURNED_TOO_FAR"
    title = "The face is turned too far"


class FaceIndexOutOfRange(FaceError):
    """The picture has fewer faces than the index asks for."""

    reason = "FACE_INDEX_OUT_OF_RANGE"
    title = "There is no face with that index"


class NoMatchingFace(FaceError):
    """The picture shows faces, but none that the request's gender or match leaves."""

    reason = "NO_MATCHING_FACE"
    title = "No face is of the asked kind"


class PhotosUnusable(FaceError):
    """No face model can be built from the photos: none has a usable face, or they show different people."""

    reason = "PHOTOS_UNUSABLE"
    title = "The photos make no face model"


class DatasetUnusable(FaceError):
    """No LoRA can be trained on the photos: too few are usable, or they show different people."""

    reason = "DATASET_UNUSABLE"
    title = "The photos cannot be trained on"


class FaceModelIncompatible(FaceError):
    """The face model was built for another engine, or by other networks than the deployment's."""

    reason = "FACE_MODEL_INCOMPATIBLE"
    title = "The face model does not fit"


class ContentRefused(LikenessError):
    """The deployment's content check refuses a picture or the result."""

    reason = "CONTENT_REFUSED"
    code = StatusCode.INVALID_ARGUMENT
    http_status = 422
    title = "The content is refused"


class FetchRefused(LikenessError):
    """The URL of a picture may not be fetched."""

    reason = "FETCH_REFUSED"
    code = StatusCode.INVALID_ARGUMENT
    http_status = 400
    title = "The URL may not be fetched"


class FetchFailed(LikenessError):
    """The URL of a picture may be fetched, but its server did not deliver."""

    reason = "FETCH_FAILED"
    code = StatusCode.FAILED_PRECONDITION
    http_status = 422
    title = "The URL could not be fetched"


class PayloadTooLarge(LikenessError):
    """The whole request is larger than the service takes."""

    reason = "PAYLOAD_TOO_LARGE"
    code = StatusCode.INVALID_ARGUMENT
    http_status = 413
    title = "The request is too large"


class NotAcceptable(LikenessError):
    """The client accepts none of the media types that the route can answer with."""

    reason = "NOT_ACCEPTABLE"
    code = StatusCode.INVALID_ARGUMENT
    http_status = 406
    title = "No acceptable media type"


class UnsupportedMediaType(LikenessError):
    """The body is neither JSON nor multipart/form-data."""

    reason = "UNSUPPORTED_MEDIA_TYPE"
    code = StatusCode.INVALID_ARGUMENT
    http_status = 415
    title = "The body's media type is not taken"


class MethodNotAllowed(LikenessError):
    """The route does not take the method."""

    reason = "METHOD_NOT_ALLOWED"
    code = StatusCode.INVALID_ARGUMENT
    http_status = 405
    title = "The method is not allowed here"


class BodyTooSlow(LikenessError):
    """The body did not arrive in time."""

    reason = "BODY_TOO_SLOW"
    code = StatusCode.INVALID_ARGUMENT
    http_status = 408
    title = "The body did not arrive in time"


class NotFound(LikenessError):
    """What the request names does not exist."""

    reason = "NOT_FOUND"
    code = StatusCode.NOT_FOUND
    http_status = 404
    title = "Not found"


class LoraNotFound(NotFound):
    """No LoRA of that name and version is registered."""

    reason = "LORA_NOT_FOUND"
    title = "There is no such LoRA"


class TrainingJobNotFound(NotFound):
    """The tenant has no training job of that name."""

    reason = "TRAINING_JOB_NOT_FOUND"
    title = "There is no such training job"


class FaceModelNotFound(NotFound):
    """There is no face model of that name."""

    reason = "FACE_MODEL_NOT_FOUND"
    title = "There is no such face model"


class ArtifactNotFound(NotFound):
    """The artifact store holds nothing under that URI."""

    reason = "ARTIFACT_NOT_FOUND"
    title = "There is no such artifact"


class ArtifactCorrupt(LikenessError):
    """A stored artifact is not what was put there: its hash differs."""

    reason = "ARTIFACT_CORRUPT"
    code = StatusCode.DATA_LOSS
    http_status = 500
    title = "The artifact is damaged"


class Conflict(LikenessError):
    """The request collides with another one, or with what is already there."""

    reason = "CONFLICT"
    code = StatusCode.ALREADY_EXISTS
    http_status = 409
    title = "The request collides with another one"


class Unauthenticated(LikenessError):
    """The call carries no valid key."""

    reason = "UNAUTHENTICATED"
    code = StatusCode.UNAUTHENTICATED
    http_status = 401
    title = "The key is missing or not valid"


class PermissionDenied(LikenessError):
    """The key is valid but does not allow this."""

    reason = "PERMISSION_DENIED"
    code = StatusCode.PERMISSION_DENIED
    http_status = 403
    title = "The key does not allow this"


class RateLimited(LikenessError):
    """The client has used up its own quota; others may still be served."""

    reason = "RATE_LIMITED"
    code = StatusCode.RESOURCE_EXHAUSTED
    http_status = 429
    title = "Too many requests from this client"


class QueueFull(LikenessError):
    """The service has as much waiting work as it takes."""

    reason = "QUEUE_FULL"
    code = StatusCode.RESOURCE_EXHAUSTED
    http_status = 503
    title = "The service is full"


class DeadlineTooShort(LikenessError):
    """The work cannot end before the call's deadline, so it was not begun."""

    reason = "DEADLINE_TOO_SHORT"
    code = StatusCode.DEADLINE_EXCEEDED
    http_status = 504
    title = "The deadline is too short"


class DeadlineExceeded(LikenessError):
    """The call's deadline passed before the work ended."""

    reason = "DEADLINE_EXCEEDED"
    code = StatusCode.DEADLINE_EXCEEDED
    http_status = 504
    title = "The deadline has passed"


class Cancelled(LikenessError):
    """The work was stopped: the client went away, or the server is shutting down."""

    reason = "CANCELLED"
    code = StatusCode.CANCELLED
    http_status = 499
    title = "The work was cancelled"


class ModelLoading(LikenessError):
    """The service has started but still loads its weights."""

    reason = "MODEL_LOADING"
    code = StatusCode.UNAVAILABLE
    http_status = 503
    title = "The service is still loading"


class ServiceUnavailable(LikenessError):
    """The service cannot be reached or is shutting down."""

    reason = "SERVICE_UNAVAILABLE"
    code = StatusCode.UNAVAILABLE
    http_status = 503
    title = "The service is not available"


class InsufficientResources(LikenessError):
    """The machine has too little memory or disk for the work."""

    reason = "INSUFFICIENT_RESOURCES"
    code = StatusCode.UNAVAILABLE
    http_status = 507
    title = "The machine has too little memory or disk"


class Unsupported(LikenessError):
    """The deployment does not have what was asked for."""

    reason = "UNSUPPORTED"
    code = StatusCode.UNIMPLEMENTED
    http_status = 501
    title = "Not supported here"


class NonFiniteResult(LikenessError):
    """The model's result holds NaN or infinity."""

    reason = "NON_FINITE_RESULT"
    code = StatusCode.INTERNAL
    http_status = 500
    title = "The model's result is not finite"


class Internal(LikenessError):
    """A fault of the service; its log tells more under the request id."""

    reason = "INTERNAL"
    code = StatusCode.INTERNAL
    http_status = 500
    title = "Internal error"
