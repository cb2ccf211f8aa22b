"""The one image decoder and encoder: untrusted files to upright RGB and back, and the contract's image messages."""

from __future__ import annotations

import enum
import hashlib
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from core.runtime.artifacts import ArtifactStore
from core.runtime.decoded_image import AlphaArray, DecodedImage, RgbArray
from core.runtime.image_decoder import MAX_BYTES, MAX_PIXELS, MAX_SIDE, decode_image, decode_picture
from likeness.common.v1 import image_pb2

__all__ = [
    "DEFAULT_QUALITY",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "DecodedImage",
    "EncodedImage",
    "ImageFormat",
    "RgbArray",
    "decode_image",
    "decode_picture",
    "encode_image",
    "encode_like",
    "encode_output",
    "read_image_input",
    "read_picture_input",
    "to_image_message",
    "write_image_output",
]

DEFAULT_QUALITY = 95
"""Quality of JPEG and WebP when nothing says otherwise."""
IMAGE_PREFIX = "images"
"""Prefix of pictures in the artifact store."""


class ImageFormat(enum.Enum):
    """File formats that are written; the value is Pillow's name."""

    PNG = "PNG"
    JPEG = "JPEG"
    WEBP = "WEBP"

    @property
    def media_type(self) -> str:
        """Media type, for example ``image/png``."""
        return f"image/{self.value.lower()}"

    @property
    def suffix(self) -> str:
        """File name suffix with its dot, for example ``.png``."""
        return ".jpg" if self is ImageFormat.JPEG else f".{self.value.lower()}"

    @property
    def has_alpha(self) -> bool:
        """Whether the format can carry transparency."""
        return self is not ImageFormat.JPEG

    @classmethod
    def from_proto(cls, value: int) -> ImageFormat:
        """Return the format of a ``likeness.common.v1.ImageFormat``; PNG when unspecified. Raises KeyError."""
        return _FROM_PROTO[value]


_FROM_PROTO: dict[int, ImageFormat] = {
    image_pb2.IMAGE_FORMAT_UNSPECIFIED: ImageFormat.PNG,
    image_pb2.IMAGE_FORMAT_PNG: ImageFormat.PNG,
    image_pb2.IMAGE_FORMAT_JPEG: ImageFormat.JPEG,
    image_pb2.IMAGE_FORMAT_WEBP: ImageFormat.WEBP,
}


@dataclass(frozen=True)
class EncodedImage:
    """An image file that was written."""

    data: bytes
    """The file."""
    media_type: str
    """Media type, for example ``image/png``."""
    width: int
    """Width in pixels."""
    height: int
    """Height in pixels."""
    sha256: str
    """SHA-256 of the file, 64 lower-case hexadecimal digits."""


def encode_image(
    rgb: npt.NDArray[np.uint8],
    image_format: ImageFormat = ImageFormat.PNG,
    quality: int = DEFAULT_QUALITY,
    *,
    alpha: AlphaArray | None = None,
    icc_profile: bytes | None = None,
) -> EncodedImage:
    """Write a picture as a file, without any metadata but its profile. Blocking: 10–130 ms a megapixel.

    Args:
        rgb: uint8, H×W×3, RGB.
        image_format: PNG (lossless, compression level 1: 5 times as fast as 6 for a tenth more bytes), JPEG with 4:4:4
            chroma, or lossy WebP.
        quality: 1–100 for JPEG and WebP; PNG ignores it.
        alpha: uint8, H×W, 255 is opaque; None for an opaque picture. PNG and WebP only.
        icc_profile: ICC profile of the RGB values; None for sRGB.

    Raises:
        ValueError: An array has another shape or dtype, the quality is out of range, or JPEG shall have an alpha.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ValueError(f"expected uint8 H×W×3, got {rgb.dtype} {rgb.shape}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality {quality} is not in 1–100")
    if alpha is not None and not image_format.has_alpha:
        raise ValueError("JPEG has no transparency")
    if alpha is not None and (alpha.dtype != np.uint8 or alpha.shape != rgb.shape[:2]):
        raise ValueError(f"expected a uint8 alpha of the picture's size, got {alpha.dtype} {alpha.shape}")
    pixels = rgb if alpha is None else np.dstack([rgb, alpha])
    picture = PillowImage.fromarray(np.ascontiguousarray(pixels))
    buffer = io.BytesIO()
    if image_format is ImageFormat.PNG:
        picture.save(buffer, "PNG", compress_level=1, icc_profile=icc_profile)
    elif image_format is ImageFormat.JPEG:
        picture.save(buffer, "JPEG", quality=quality, subsampling=0, icc_profile=icc_profile)
    else:
        picture.save(buffer, "WEBP", quality=quality, icc_profile=icc_profile)
    data = buffer.getvalue()
    height, width = rgb.shape[:2]
    return EncodedImage(data, image_format.media_type, width, height, hashlib.sha256(data).hexdigest())


def encode_output(rgb: npt.NDArray[np.uint8], output: image_pb2.ImageOutput) -> EncodedImage:
    """Write a picture as the request's ``ImageOutput`` says. Errors as `encode_image`."""
    return encode_image(rgb, ImageFormat.from_proto(output.format), _quality(output))


def encode_like(
    source: DecodedImage, rgb: RgbArray, output: image_pb2.ImageOutput
) -> tuple[EncodedImage, tuple[str, ...]]:
    """Write a changed picture as the request's ``ImageOutput`` says, with the source's transparency and ICC profile.

    Args:
        source: The picture as it was handed in.
        rgb: `source.rgb` after the work: uint8, the same shape, sRGB, transparency on white.
        output: Format and quality.

    Returns:
        The file, and for the answer's warnings what could not be kept; empty when all was.

    Raises:
        ValueError: `rgb` has another shape.
    """
    image_format = ImageFormat.from_proto(output.format)
    colours, alpha = source.restored(rgb), source.alpha
    lost: tuple[str, ...] = ()
    if alpha is not None and not image_format.has_alpha:
        colours, alpha = source.flattened(colours), None
        lost = ("the target's transparency was laid on white, since JPEG has none: ask for PNG or WebP to keep it",)
    encoded = encode_image(colours, image_format, _quality(output), alpha=alpha, icc_profile=source.icc_profile)
    return encoded, lost


def _quality(output: image_pb2.ImageOutput) -> int:
    return output.quality if output.HasField("quality") else DEFAULT_QUALITY


def read_image_input(message: image_pb2.ImageInput, artifacts: ArtifactStore, field: str) -> RgbArray:
    """Decode what a person sees of the picture that a request hands in; as `read_picture_input`.

    Returns:
        uint8, H×W×3, sRGB, contiguous.
    """
    return read_picture_input(message, artifacts, field).rgb


def read_picture_input(message: image_pb2.ImageInput, artifacts: ArtifactStore, field: str) -> DecodedImage:
    """Decode the picture that a request hands in, from its bytes or from the artifact store. Blocking.

    Args:
        message: The message; its source is set (validation has seen to it).
        artifacts: Where artifact URIs are looked up.
        field: Path of the message in the request, for example ``reference_image``.

    Raises:
        ImageError: As `decode_picture`.
        InvalidRequest, ArtifactNotFound, ArtifactCorrupt, PayloadTooLarge: As `ArtifactStore.get`.
    """
    if message.WhichOneof("source") == "artifact_uri":
        path = f"{field}.artifact_uri"
        return decode_picture(artifacts.get(message.artifact_uri, field=path, max_bytes=MAX_BYTES), field=path)
    return decode_picture(message.data, field=f"{field}.data")


def to_image_message(
    encoded: EncodedImage, output: image_pb2.ImageOutput, artifacts: ArtifactStore | None
) -> image_pb2.Image:
    """Return the message that answers with a picture: its bytes, or its URI after storing it. Blocking when it stores.

    Raises:
        ValueError: ``output.store`` is set and there is no store.
    """
    message = image_pb2.Image(
        media_type=encoded.media_type, width=encoded.width, height=encoded.height, sha256=encoded.sha256
    )
    if not output.store:
        message.data = encoded.data
        return message
    if artifacts is None:
        raise ValueError("output.store needs an artifact store")
    suffix = next(f.suffix for f in ImageFormat if f.media_type == encoded.media_type)
    message.artifact_uri = artifacts.put(IMAGE_PREFIX, encoded.data, suffix)
    return message


def write_image_output(
    rgb: npt.NDArray[np.uint8], output: image_pb2.ImageOutput, artifacts: ArtifactStore | None
) -> image_pb2.Image:
    """Write a picture (uint8 height×width×3, sRGB) as ``output`` asks, and return its message. Blocking.

    Raises:
        ValueError: ``output.store`` is set and there is no store.
    """
    return to_image_message(encode_output(rgb, output), output, artifacts)
