"""The documents of answers, for the OpenAPI page. A test holds real answers against them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Document(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(extra="forbid", title=None)


class PictureDocument(Document):
    """A picture."""

    media_type: str = Field(examples=["image/png"])
    width: int
    height: int
    sha256: str
    data: str | None = Field(None, description="The encoded file as base64; absent when it was stored.")
    artifact_uri: str | None = Field(None, description="Where it is stored; absent when the bytes came along.")
    url: str | None = Field(
        None, description="Path of this gateway under which a stored picture is; absent when the bytes came along."
    )


class BoxDocument(Document):
    """A rectangle in pixels; it may reach past the border."""

    x: float
    y: float
    width: float
    height: float


class PoseDocument(Document):
    """A head's pose in degrees."""

    yaw: float = Field(description="Positive when the nose points to the picture's right.")
    pitch: float = Field(description="Positive when the nose points down.")
    roll: float = Field(description="Positive when the head leans clockwise.")


class FaceDocument(Document):
    """One face of a picture."""

    index: int
    box: BoxDocument
    score: float = Field(description="Detection score, 0–1.")
    landmarks: list[list[float]] = Field(description="Right eye, left eye, nose, mouth corners: the person's own.")
    pose: PoseDocument
    gender: str = Field(description="An estimate from looks.", examples=["female"])
    gender_score: float
    age_years: float
    sharpness: float


class FacesDocument(Document):
    """The faces of a picture, in the asked order."""

    faces: list[FaceDocument]
    width: int = Field(description="Of the upright picture, in pixels.")
    height: int
    drawing: PictureDocument | None = Field(None, description="The picture with the faces drawn on it; on request.")


class ComparisonDocument(Document):
    """How alike two faces are."""

    identity: float = Field(
        description="Cosine of the embeddings, −1 to 1: about 0.05 for strangers, 0.5 for two photos of one person."
    )
    first_face: FaceDocument
    second_face: FaceDocument


class SwappedFaceDocument(Document):
    """One changed face. Identities are cosines to the reference, −1 to 1."""

    target_face_index: int
    identity_before: float
    identity_after: float | None
    seam_ratio: float = Field(description="Gradient across the mask's border over the target's own; near 1 is no seam.")
    pose_change_degrees: float | None
    mouth_openness_change: float | None
    eye_openness_change: float | None
    mouth_curve_change: float | None = Field(description="Change of the mouth's curve; positive is more of a smile.")
    reference_index: int = Field(description="Place of the reference in references, from 0.")
    match_score: float | None = Field(description="Cosine to the face of match_image before the swap.")
    restore_visibility: float | None = Field(description="How strongly the restored face shows, 0–1.")


class SkippedFaceDocument(Document):
    """A face of the target that was left as it is, and why."""

    target_face_index: int
    reason: str = Field(examples=["gender"])
    detail: str
    match_score: float | None = Field(description="Cosine to the face of match_image.")


class UsedReferenceDocument(Document):
    """A reference of the swap."""

    face: FaceDocument
    face_model_id: str | None = Field(description="Name of the face model; null for a picture.")


class RestorationDocument(Document):
    """Whether the swapped faces were restored, and if not, why."""

    applied: bool
    reason: str
    model: str


class SwapDocument(Document):
    """What a swap did."""

    engine: str
    restoration: RestorationDocument
    swapped: list[SwappedFaceDocument]
    target_faces: list[FaceDocument]
    reference_face: FaceDocument
    references: list[UsedReferenceDocument]
    skipped: list[SkippedFaceDocument]
    warnings: list[str]
    timings: dict[str, float]


class IdentityDocument(Document):
    """Likeness of the first changed face to the reference: cosine of embeddings, −1 to 1."""

    before: float | None
    after: float | None


class ImageDocument(PictureDocument):
    """One picture of an answer."""

    index: int
    seed: int | None = Field(None, description="The seed that draws this picture again, alone.")
    original: PictureDocument | None = Field(None, description="The picture before the swap, when asked for.")
    identity: IdentityDocument | None = None
    swap: SwapDocument | None = None


class ModelDocument(Document):
    """The weights that made an answer."""

    name: str
    revision: str
    profile: str
    precision: str
    device: str
    offload: str = Field("", description="What is kept in the main memory: `none`, `text_encoder` or `blocks`.")
    compiled: bool = Field(False, description="Whether the model's blocks are compiled.")
    step_cache: str = Field("", description="What lets a step reuse an earlier one's work; empty for nothing.")
    guidance_device: str = Field("", description="The second device, for the negative prompt; empty for none.")


class LoraDocument(Document):
    """A LoRA that acted."""

    lora_id: str
    version: int
    strength: float


class AnswerDocument(Document):
    """The pictures of a request and how they were made. What concerns drawing is absent where nothing was drawn."""

    images: list[ImageDocument]
    request_id: str
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    steps: int | None = None
    true_cfg_scale: float | None = None
    model: ModelDocument | None = None
    loras: list[LoraDocument] | None = None
    timings: dict[str, float] = Field(description="Seconds; total_seconds is the whole request.")


class FaceModelViewDocument(Document):
    """One view that a face model keeps."""

    image_index: int
    pose: PoseDocument
    width_pixels: int
    sharpness: float
    similarity: float = Field(description="Cosine to the model, −1 to 1.")


class FaceModelDocument(Document):
    """A kept face model."""

    face_model_id: str
    create_time: str = Field(description="RFC 3339, UTC.")
    average: str = Field(examples=["mean"])
    photo_count: int
    agreement: float = Field(description="Mean cosine of the photos to the model, −1 to 1.")
    views: list[FaceModelViewDocument]
    engines: list[str]
    sha256: str
    size_bytes: int


class PhotoReportDocument(Document):
    """What became of one photo of a build."""

    image_index: int
    used: bool
    rejection: str | None = Field(examples=["outlier"])
    detail: str
    face: FaceDocument | None
    similarity: float | None


class FaceModelBuildDocument(Document):
    """A model that was built, and what became of each photo."""

    face_model: FaceModelDocument
    photos: list[PhotoReportDocument]


class FaceModelListDocument(Document):
    """A page of face models."""

    face_models: list[FaceModelDocument]
    next_page_token: str = Field(description="Token of the next page; empty on the last.")


class ViolationDocument(Document):
    """One thing that is wrong with one field."""

    field: str
    detail: str
    rule: str | None = None


class ProblemDocument(Document):
    """An error (RFC 9457)."""

    type: str = Field(examples=["https://likeness.dev/errors/no-face"])
    title: str
    status: int
    detail: str
    instance: str
    reason: str = Field(description="Machine-readable; never changes its meaning.", examples=["NO_FACE"])
    field: str | None = Field(None, description="The field of the request that is wrong.")
    errors: list[ViolationDocument] | None = None
    metadata: dict[str, Any] | None = None
    request_id: str | None = None
    retry_after_seconds: float | None = None
