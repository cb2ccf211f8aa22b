"""Decodes untrusted picture files: cheap checks on the header first, then one decode to upright RGB."""

from __future__ import annotations

import io
import struct
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

from likeness.errors import ImageAnimated, ImageEmpty, ImageFormatUnsupported, ImageTooLarge, ImageUnreadable

RgbArray: TypeAlias = npt.NDArray[np.uint8]
"""A picture: uint8, H×W×3, RGB, contiguous."""

MAX_BYTES = 20 * 2**20
"""Largest file, in bytes."""
MAX_PIXELS = 40_000_000
"""Largest area, in pixels."""

_TAKEN = ("JPEG", "PNG", "WEBP")
# Files that people hand in by mistake, named so that the error can say what was found. WebP and AVIF hide their name
# behind a length.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WEBP"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftyp", "video"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"8BPS", "PSD"),
    (0, b"%PDF", "PDF"),
    (0, b"<?xml", "SVG or XML"),
    (0, b"<svg", "SVG"),
)
# A progressive JPEG has about ten scans; each further one costs a pass over all pixels for a few bytes of file.
_MAX_JPEG_SCANS = 200
_MAX_ICC_BYTES = 4 * 2**20
_ORIENTATION_TAG = 0x0112
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(data: bytes, *, field: str, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> RgbArray:
    """Decode a picture file. Blocking: 10–50 ms a megapixel.

    The EXIF orientation is applied, transparency is laid on white, colours are brought to sRGB where the file has a
    usable ICC profile, 16-bit grey is scaled to 8 bit. All metadata stays behind.

    Args:
        data: A JPEG, PNG or WebP file with a single frame. What follows the picture in the file is ignored.
        field: Path of the request's field, which the errors carry.
        max_pixels: Largest width × height.
        max_bytes: Largest file.

    Returns:
        uint8, H×W×3, RGB, contiguous.

    Raises:
        ImageEmpty: There are no bytes, or no pixels.
        ImageTooLarge: There are too many bytes or pixels; seen before decoding.
        ImageFormatUnsupported: It is another file format.
        ImageAnimated: There is more than one frame.
        ImageUnreadable: It is damaged or truncated.
    """
    if not data:
        raise ImageEmpty("the picture has no bytes", field=field)
    if len(data) > max_bytes:
        raise ImageTooLarge(
            f"the picture has {len(data):,} bytes; at most {max_bytes:,} are taken",
            field=field,
            max_bytes=str(max_bytes),
        )
    _check_format(data, field)
    try:
        with _open(data, field, max_pixels) as picture:
            _check_header(picture, data, field, max_pixels)
            return _to_rgb(picture)
    except MemoryError:
        raise
    # Damaged files make Pillow raise whatever its parsers stumble over.
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, struct.error, EOFError) as error:
        raise ImageUnreadable("the picture is damaged or truncated", field=field) from error


def _check_format(data: bytes, field: str) -> None:
    head = data[:64].lstrip() if data[:1].isspace() else data[:64]
    found = next((name for offset, magic, name in _MAGIC if head[offset : offset + len(magic)] == magic), None)
    if found is None:
        raise ImageUnreadable("this is not a picture: JPEG, PNG and WebP are taken", field=field)
    if found not in _TAKEN:
        raise ImageFormatUnsupported(
            f"this looks like {found}; JPEG, PNG and WebP are taken", field=field, format=found, taken=",".join(_TAKEN)
        )


def _open(data: bytes, field: str, max_pixels: int) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_TAKEN)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(
            f"the picture has more than {max_pixels:,} pixels", field=field, max_pixels=str(max_pixels)
        ) from error
    except UnidentifiedImageError as error:
        # Pillow gives no size for these, and says so no better than for damage.
        if _has_no_pixels(data):
            raise ImageEmpty("the picture has no pixels", field=field) from error
        raise


def _has_no_pixels(data: bytes) -> bool:
    return data[:4] == b"\x89PNG" and data[12:16] == b"IHDR" and 0 in struct.unpack(">II", data[16:24].ljust(8, b"\1"))


def _check_header(picture: Image.Image, data: bytes, field: str, max_pixels: int) -> None:
    width, height = picture.size
    if width < 1 or height < 1:
        raise ImageEmpty("the picture has no pixels", field=field)
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the picture has {width}×{height} pixels; at most {max_pixels:,} are taken",
            field=field,
            max_pixels=str(max_pixels),
        )
    # MPO is a JPEG photo with further views (depth, gain map) behind it, as phones write it; the first is the photo.
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":
        raise ImageAnimated(f"the picture has {frames} frames; a single one is taken", field=field, frames=str(frames))
    if picture.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > _MAX_JPEG_SCANS:
        raise ImageUnreadable("the JPEG has too many scans", field=field)


def _to_rgb(picture: Image.Image) -> RgbArray:
    orientation = _orientation(picture)
    profile = picture.info.get("icc_profile")
    picture.load()
    colour, alpha = _split_alpha(picture)
    colour = _to_srgb(colour, profile)
    if alpha is not None:
        white = Image.new("RGB", colour.size, "white")
        white.paste(colour, mask=alpha)
        colour = white
    if orientation in _ORIENTATIONS:
        colour = colour.transpose(_ORIENTATIONS[orientation])
    return np.array(colour, dtype=np.uint8, order="C")


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF is no reason to refuse the picture
        return 1


def _split_alpha(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours as L, RGB or CMYK, and the transparency as L where there is any."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _grey16(picture)
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        return rgba.convert("RGB"), rgba.getchannel("A")
    if picture.mode in ("L", "RGB", "CMYK"):
        return picture, None
    return picture.convert("L" if picture.mode == "1" else "RGB"), None


def _grey16(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    values = np.clip(np.asarray(picture).astype(np.int64), 0, 65535)
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    clear = picture.info.get("transparency")
    if not isinstance(clear, int):
        return grey, None
    return grey, Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))


def _to_srgb(colour: Image.Image, profile: Any) -> Image.Image:
    """Convert by the file's ICC profile; a profile that cannot be used, or is sRGB itself, counts as none."""
    if isinstance(profile, bytes) and len(profile) <= _MAX_ICC_BYTES:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(source):
                converted = ImageCms.profileToProfile(colour, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                if converted is not None:
                    return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return colour.convert("RGB")
