"""What the client answers with: small typed values in place of protobuf messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class ImageFormat(StrEnum):
    """File format of an answer's pictures."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def media_type(self) -> str:
        """Media type, for example ``image/png``."""
        return f"image/{self.value}"


class Priority(StrEnum):
    """Which work goes first where several pieces wait; it does not change the pictures."""

    HIGH = "high"
    """Before the tenant's own other work: somebody waits for it."""
    NORMAL = "normal"
    LOW = "low"
    """After everybody's other work: nobody waits for it."""


class Gender(StrEnum):
    """Gender as the attribute network sees it; an estimate from looks."""

    UNKNOWN = "unknown"
    FEMALE = "female"
    MALE = "male"


class FaceOrder(StrEnum):
    """Order in which the faces of a picture are counted."""

    LARGE_TO_SMALL = "large-to-small"
    SMALL_TO_LARGE = "small-to-large"
    LEFT_TO_RIGHT = "left-to-right"
    RIGHT_TO_LEFT = "right-to-left"
    TOP_TO_BOTTOM = "top-to-bottom"
    BOTTOM_TO_TOP = "bottom-to-top"
    BEST_SCORE = "best-score"


@dataclass(frozen=True)
class Picture:
    """A picture: its encoded file, or where it is stored."""

    media_type: str
    """For example ``image/png``."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    sha256: str
    """SHA-256 of the encoded file, 64 lower-case hexadecimal digits."""
    data: bytes | None = field(default=None, repr=False)
    """The encoded file; None when it was stored."""
    artifact_uri: str | None = None
    """Where it is stored; None when the bytes came along."""

    def save(self, path: str | Path) -> Path:
        """Write the encoded file to ``path``, whose folder must exist. Raises ValueError when it was stored."""
        if self.data is None:
            raise ValueError(f"the picture is stored as {self.artifact_uri}; its bytes did not come along")
        target = Path(path)
        target.write_bytes(self.data)
        return target


@dataclass(frozen=True)
class Queued:
    """The work waits for a device."""

    position: int
    """How many pieces of work stand before this one; 0 is next."""


@dataclass(frozen=True)
class Started:
    """A device has taken up the work."""

    queued_seconds: float
    """How long the work had waited."""


@dataclass(frozen=True)
class Step:
    """A denoising step has ended."""

    image_index: int
    """Which picture of the request, from 0."""
    step: int
    """Which step has ended, from 1."""
    total_steps: int
    """How many steps this picture takes."""


@dataclass(frozen=True)
class Preview:
    """What a picture is on its way to: small and rough."""

    image_index: int
    """Which picture of the request, from 0."""
    step: int
    """Which step has ended, from 1."""
    total_steps: int
    """How many steps this picture takes."""
    picture: Picture
    """A JPEG, at most 384 pixels along its longer side."""


@dataclass(frozen=True)
class GeneratedPicture:
    """One drawn picture."""

    index: int
    """Which picture of the request, from 0."""
    seed: int
    """The seed that draws this picture again, alone."""
    picture: Picture


@dataclass(frozen=True)
class Timings:
    """Where the time of a drawing went, in seconds."""

    queue_seconds: float = 0.0
    encode_seconds: float = 0.0
    denoise_seconds: float = 0.0
    decode_seconds: float = 0.0
    total_seconds: float = 0.0


@dataclass(frozen=True)
class ModelInfo:
    """The weights that made an answer."""

    name: str
    revision: str
    profile: str
    precision: str
    device: str
    offload: str = ""
    """What is kept in the main memory: ``none``, ``text_encoder`` or ``blocks``."""
    compiled: bool = False
    """Whether the model's blocks are compiled."""
    step_cache: str = ""
    """What lets a step reuse an earlier one's work; empty where every step is computed in full."""
    guidance_device: str = ""
    """The second device, which works on the negative prompt; empty where there is none."""


@dataclass(frozen=True)
class LoraUse:
    """A LoRA of the registry and how strongly it acts."""

    lora_id: str
    version: int = 0
    """The newest when 0."""
    strength: float = 1.0
    """−4 to 4."""


@dataclass(frozen=True)
class Finished:
    """All pictures are ready: how they were made."""

    seed: int
    """Seed of the first picture."""
    width: int
    height: int
    mode: str
    steps: int
    true_cfg_scale: float
    timings: Timings
    model: ModelInfo
    loras: tuple[LoraUse, ...] = ()


GenerationEvent = Queued | Started | Step | Preview | GeneratedPicture | Finished
"""One event of a drawing; the last one is `Finished`."""


@dataclass(frozen=True)
class Generation:
    """The pictures of one request and how they were made."""

    pictures: tuple[GeneratedPicture, ...]
    finished: Finished


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the upright picture; it may reach past the border."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Face:
    """One face of a picture."""

    index: int
    """Place in the chosen order, from 0."""
    box: Box
    score: float
    """Detection score, 0–1."""
    landmarks: tuple[tuple[float, float], ...]
    """(x, y) in pixels: right eye, left eye, nose, right and left mouth corner, as the person has them."""
    yaw: float
    """Degrees; positive when the nose points to the picture's right."""
    pitch: float
    """Degrees; positive when the nose points down."""
    roll: float
    """Degrees; positive when the head leans clockwise."""
    gender: Gender
    gender_score: float
    """0.5–1."""
    age_years: float
    sharpness: float
    """Variance of the Laplacian of the face's 112 × 112 crop; below about 30 is blurred."""


@dataclass(frozen=True)
class Faces:
    """The faces of a picture."""

    faces: tuple[Face, ...]
    width: int
    """Width of the upright picture in pixels."""
    height: int
    """Height of the upright picture in pixels."""
    drawing: Picture | None = None
    """The picture with the faces drawn on it, when it was asked for."""


class SkipReason(StrEnum):
    """Why a face of the target was left as it is."""

    UNKNOWN = "unknown"
    GENDER = "gender"
    NO_MATCH = "no-match"
    NOT_ASKED = "not-asked"
    TOO_SMALL = "too-small"
    TURNED_TOO_FAR = "turned-too-far"


@dataclass(frozen=True)
class SkippedFace:
    """A face of the target that was left as it is."""

    target_face_index: int
    """Its place in `SwapResult.target_faces`."""
    reason: SkipReason
    detail: str
    """The reason for a person, with the numbers."""
    match_score: float | None = None
    """Cosine to the face to match, −1 to 1; None when there was none."""


@dataclass(frozen=True)
class UsedReference:
    """A reference of a swap."""

    face: Face
    face_model_id: str = ""
    """Name of the face model; empty for a picture."""


@dataclass(frozen=True)
class SwappedFace:
    """One changed face. Identities are cosines to the reference's embedding, −1 to 1."""

    target_face_index: int
    identity_before: float
    identity_after: float | None
    """None when no face was found any more."""
    seam_ratio: float
    """Colour gradient across the mask's border over the target's own there; near 1 is no seam."""
    pose_change_degrees: float | None
    mouth_openness_change: float | None
    eye_openness_change: float | None
    mouth_curve_change: float | None = None
    """After minus before: positive is more of a smile."""
    reference_index: int = 0
    """Place of the reference in `SwapResult.references`."""
    match_score: float | None = None
    """Cosine to the face to match before the swap, −1 to 1; None when there was none."""
    restore_visibility: float | None = None
    """How strongly the restored face shows, 0–1; None when it was not restored."""


@dataclass(frozen=True)
class Restoration:
    """Whether the swapped faces were restored, and if not, why."""

    applied: bool
    reason: str = ""
    model: str = ""


@dataclass(frozen=True)
class SwapResult:
    """The changed picture and what was done."""

    picture: Picture
    swapped: tuple[SwappedFace, ...]
    target_faces: tuple[Face, ...]
    reference_face: Face
    engine: str
    restoration: Restoration
    warnings: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage: queue, decode, analyse, swap, score, encode, total."""
    skipped: tuple[SkippedFace, ...] = ()
    """The faces of the target that were left as they are, and why."""
    references: tuple[UsedReference, ...] = ()
    """Whom the request named, in its order."""


@dataclass(frozen=True)
class Comparison:
    """How alike two faces are."""

    identity: float
    """Cosine of the two embeddings, −1 to 1; strangers have about 0.05, two photos of one person about 0.5."""
    first_face: Face
    second_face: Face


@dataclass(frozen=True)
class Mode:
    """A way to draw: steps, guidance, scheduler and, for fast modes, the distilled LoRA."""

    name: str
    default_steps: int
    default_true_cfg_scale: float
    distilled_lora: str
    adjustable: bool
    default_negative_prompt: str
    step_cache: str = ""
    """What lets a step reuse an earlier one's work; empty where every step is computed in full."""


@dataclass(frozen=True)
class Size:
    """The picture size of an aspect ratio, in pixels."""

    aspect_ratio: str
    width: int
    height: int


@dataclass(frozen=True)
class GeneratorCapabilities:
    """What the generator of a deployment can do."""

    model: ModelInfo
    modes: tuple[Mode, ...]
    """The default first."""
    sizes: tuple[Size, ...]
    size_multiple: int
    min_pixels: int
    max_pixels: int
    max_count: int
    max_prompt_tokens: int
    queue_capacity: int
    max_loras: int = 0
    """Most LoRAs a request; 0 when the deployment keeps none."""
    max_lora_rank: int = 0
    max_total_lora_rank: int = 0
    """What the ranks of a request's LoRAs, with that of the mode's own, may add up to."""
    max_lora_bytes: int = 0
    """Largest file of a LoRA."""


@dataclass(frozen=True)
class FaceSwapCapabilities:
    """What the faceswap service of a deployment can do."""

    model: ModelInfo
    engines: tuple[str, ...]
    """The default first."""
    restorers: tuple[str, ...]
    max_pose_degrees: float
    """Largest difference of yaw or pitch between reference and target."""
    min_reference_face_pixels: int
    min_target_face_pixels: int
    queue_capacity: int
    max_reference_turn_degrees: float = 0.0
    """How far the reference may look past the camera, turn and nod together; 0 for no limit."""
    content_check: bool = False
    """Whether pictures and results are looked at by a content check."""
    execution_provider: str = ""
    """What runs the networks of the default engine, for example CUDAExecutionProvider."""
    face_sizes: tuple[int, ...] = ()
    """Sides in pixels at which the engine inswapper can draw a face."""
