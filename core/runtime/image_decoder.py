"""Decodes untrusted picture files: cheap checks on the header first, then one decode to upright RGB."""

from __future__ import annotations

import io
import re
import struct

import numpy as np
import pi_heif
from PIL import Image, UnidentifiedImageError

from core.runtime.colours import is_rgb, is_srgb, on_white, read_profile, to_srgb
from core.runtime.decoded_image import DecodedImage, RgbArray
from likeness.errors import ImageAnimated, ImageEmpty, ImageFormatUnsupported, ImageTooLarge, ImageUnreadable

# Only the picture itself is wanted, not what else a phone keeps in its HEIC files.
pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)

MAX_BYTES = 20 * 2**20
"""Largest file, in bytes."""
MAX_PIXELS = 40_000_000
"""Largest area, in pixels: an 8K frame has 33 million."""
MAX_SIDE = 16_383
"""Longest side, in pixels: the longest that WebP can be written with."""

_TAKEN = ("JPEG", "PNG", "WEBP", "AVIF", "HEIC")
_TAKEN_TEXT = "JPEG, PNG, WebP, AVIF and HEIC are taken"
# Pillow's names; AVIF comes before HEIF, since either may call itself mif1.
_PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")
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
    (4, b"ftyphevc", "HEIC sequence"),
    (4, b"ftyphevx", "HEIC sequence"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (4, b"ftyp", "video"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"8BPS", "PSD"),
    (0, b"%PDF", "PDF"),
    (0, b"<?xml", "SVG or XML"),
    (0, b"<svg", "SVG"),
)
# A progressive JPEG has about ten scans; each further one costs a pass over all pixels for a few bytes of file.
_MAX_JPEG_SCANS = 200
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
    """Decode a picture file to what a person sees on a white page; arguments and errors are those of `decode_picture`.

    Returns:
        uint8, H×W×3, sRGB, contiguous.
    """
    return decode_picture(data, field=field, max_pixels=max_pixels, max_bytes=max_bytes).rgb


def decode_picture(
    data: bytes, *, field: str, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> DecodedImage:
    """Decode a picture file with its transparency and its colour profile. Blocking: 10–50 ms a megapixel.

    The orientation that the file tells (EXIF; HEIC's own) is applied. Colours are brought to sRGB where the file has a
    usable ICC profile. More than 8 bit a channel are scaled to 8. All other metadata stays behind.

    Args:
        data: A JPEG, PNG, WebP, AVIF or HEIC file with a single frame; of a phone's file with several pictures the main
            one counts. What follows the picture in the file is ignored.
        field: Path of the request's field, which the errors carry.
        max_pixels: Largest width × height.
        max_bytes: Largest file.

    Raises:
        ImageEmpty: There are no bytes, or no pixels.
        ImageTooLarge: There are too many bytes or pixels, or a side is over `MAX_SIDE`; seen before decoding.
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
            return _decode(picture)
    except MemoryError:
        raise
    except _DAMAGE as error:
        raise ImageUnreadable("the picture is damaged or truncated", field=field) from error


# Damaged files make the parsers raise whatever they stumble over.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    struct.error,
    EOFError,
    RuntimeError,
)


def _check_format(data: bytes, field: str) -> None:
    head = data[:64].lstrip() if data[:1].isspace() else data[:64]
    found = next((name for offset, magic, name in _MAGIC if head[offset : offset + len(magic)] == magic), None)
    if found is None:
        raise ImageUnreadable(f"this is not a picture: {_TAKEN_TEXT}", field=field)
    if found == "HEIC sequence":
        raise ImageAnimated("the HEIC file is a sequence of frames; a single one is taken", field=field)
    if found not in _TAKEN:
        raise ImageFormatUnsupported(
            f"this looks like {found}; {_TAKEN_TEXT}", field=field, format=found, taken=",".join(_TAKEN)
        )


def _open(data: bytes, field: str, max_pixels: int) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        counted = re.search(r"\d{6,}", str(error))
        raise _too_large(f"{int(counted[0]):,} pixels" if counted else "too many pixels", field, max_pixels) from error
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
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise _too_large(f"{width}×{height} pixels", field, max_pixels)
    # MPO is a JPEG photo with further views (depth, gain map) behind it, as phones write it; the first is the photo. Of
    # several pictures in a HEIC file Pillow is given the main one.
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format not in ("MPO", "HEIF"):
        raise ImageAnimated(f"the picture has {frames} frames; a single one is taken", field=field, frames=str(frames))
    if picture.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > _MAX_JPEG_SCANS:
        raise ImageUnreadable("the JPEG has too many scans", field=field)


def _too_large(found: str, field: str, max_pixels: int) -> ImageTooLarge:
    return ImageTooLarge(
        f"the picture has {found}; at most {max_pixels:,} in all and {MAX_SIDE:,} a side are taken: make it smaller",
        field=field,
        max_pixels=str(max_pixels),
        max_side=str(MAX_SIDE),
    )


def _decode(picture: Image.Image) -> DecodedImage:
    orientation = _orientation(picture)
    data = picture.info.get("icc_profile")
    profile = read_profile(data)
    picture.load()
    colour, transparency = _split_alpha(picture)
    converted = None
    if profile is not None and not (is_srgb(profile) and colour.mode == "RGB"):
        converted = to_srgb(colour, profile)
    # A profile of grey or CMYK values cannot describe the RGB of an answer, nor one that the colours do not fit.
    own = (
        profile is not None and colour.mode == "RGB" and is_rgb(profile) and (converted is not None or is_srgb(profile))
    )
    plain = colour if colour.mode == "RGB" else colour.convert("RGB")
    rgb = _array(converted or plain, orientation)
    alpha = None if transparency is None else _array(transparency, orientation)
    if alpha is not None and int(alpha.min()) == 255:
        alpha = None
    stored = None
    if own and converted is not None:
        stored = _array(plain, orientation)
    elif alpha is not None:
        stored = rgb
    if alpha is not None:
        rgb = on_white(rgb, alpha)
    return DecodedImage(rgb, alpha, data if own else None, stored)


def _array(picture: Image.Image, orientation: int) -> RgbArray:
    """The upright pixels as a new, contiguous, writeable array."""
    if orientation in _ORIENTATIONS:
        picture = picture.transpose(_ORIENTATIONS[orientation])
    return np.array(picture, dtype=np.uint8, order="C")


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
