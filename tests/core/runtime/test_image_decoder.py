"""The one decoder against every kind of file, good and bad."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from core.runtime.images import decode_image, encode_image
from likeness.errors import (
    ImageAnimated,
    ImageEmpty,
    ImageFormatUnsupported,
    ImageTooLarge,
    ImageUnreadable,
    LikenessError,
)
from tests.support.pictures import FIELD, close, decode, picture, save


def refused(data: bytes, kind: type[LikenessError], **limits: int) -> LikenessError:
    with pytest.raises(kind) as caught:
        decode(data, **limits)
    assert type(caught.value) is kind
    assert caught.value.field == FIELD
    return caught.value


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("JPEG", {"quality": 95, "subsampling": 0}, 12),
        ("JPEG", {"quality": 95, "progressive": True, "subsampling": 0}, 12),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 24),
        ("AVIF", {"quality": 95, "subsampling": "4:4:4"}, 12),
    ],
)
def test_every_taken_format_is_decoded(kind: str, options: dict[str, Any], tolerance: int) -> None:
    data = save(Image.fromarray(picture()), kind, **options)
    assert close(decode(data), picture(), tolerance)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_of_png_is_decoded(mode: str) -> None:
    grey = Image.fromarray(picture()).convert("L")
    if mode == "I;16":
        image, expected = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), grey.convert("RGB")
    else:
        image = Image.fromarray(picture()).convert(mode)
        expected = image.convert("RGB")
    assert close(decode(save(image)), np.asarray(expected), 0)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_every_mode_of_jpeg_is_decoded(mode: str) -> None:
    image = Image.fromarray(picture()).convert(mode)
    assert close(decode(save(image, "JPEG", quality=95, subsampling=0)), np.asarray(image.convert("RGB")), 14)


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[:, 0] = (255, 0, 0, 255)
    rgba[:, 1] = (255, 0, 0, 0)
    rgba[:, 2] = (0, 0, 0, 128)
    row = decode(save(Image.fromarray(rgba)))[0].tolist()
    assert row == [[255, 0, 0], [255, 255, 255], [127, 127, 127]]


def test_transparency_of_a_palette_grey_or_16_bit_picture_is_laid_on_white() -> None:
    grey = Image.fromarray(np.array([[0, 200]], np.uint8))
    assert decode(save(grey, transparency=0))[0].tolist() == [[255] * 3, [200] * 3]
    palette = grey.convert("P")
    index = palette.getpixel((0, 0))
    assert decode(save(palette, transparency=index))[0].tolist() == [[255] * 3, [200] * 3]
    deep = Image.fromarray(np.array([[0, 200 * 257]], np.uint16))
    assert decode(save(deep, transparency=0))[0].tolist() == [[255] * 3, [200] * 3]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_the_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    upright = picture()
    undo: Any = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: Any = {
        "JPEG": {"quality": 98, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 98, "subsampling": "4:4:4"},
    }.get(kind, {})
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](upright)))
    assert close(decode(save(stored, kind, exif=exif, **options)), upright, 10)


def test_damaged_exif_does_not_matter() -> None:
    data = save(Image.fromarray(picture()), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert close(decode(data), picture(), 0)


def swapped_profile() -> bytes:
    """sRGB with the red and blue primaries exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile = bytearray(profile.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ"))
    for text in (b"sRGB", "sRGB".encode("utf-16-be")):
        profile = bytearray(profile.replace(text, text.replace(b"R", b"X")))
    return bytes(profile)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_colours_are_brought_to_srgb(kind: str) -> None:
    red = Image.new("RGB", (8, 8), (200, 10, 10))
    options: dict[str, Any] = {"quality": 98, "subsampling": 0} if kind == "JPEG" else {}
    centre = decode(save(red, kind, icc_profile=swapped_profile(), **options))[4, 4]
    assert centre[2] > 150
    assert centre[0] < 100


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_a_profile_never_stands_in_the_way(mode: str) -> None:
    image = Image.fromarray(picture()).convert(mode)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, srgb[:200], b"not a profile", b"\x00" * 128):
        assert close(decode(save(image, icc_profile=profile)), np.asarray(image.convert("RGB")), 0)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bare_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("data", [b"", bare_png(0, 10), bare_png(10, 0)])
def test_an_empty_picture_is_refused(data: bytes) -> None:
    refused(data, ImageEmpty)


@pytest.mark.parametrize(
    ("width", "height"), [(65535, 65535), (2**31 - 1, 2**31 - 1), (8000, 5001), (12000, 12000), (20000, 1000)]
)
def test_too_many_pixels_are_refused_by_the_header(width: int, height: int) -> None:
    error = refused(bare_png(width, height), ImageTooLarge)
    assert error.metadata == {"max_pixels": "40000000", "max_side": "16383"}
    assert "40,000,000 in all and 16,383 a side" in str(error)


def test_too_many_bytes_are_refused() -> None:
    data = save(Image.fromarray(picture()))
    refused(data, ImageTooLarge, max_bytes=len(data) - 1)
    decode(data, max_bytes=len(data), max_pixels=40 * 30)
    refused(data, ImageTooLarge, max_pixels=40 * 30 - 1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_an_animated_picture_is_refused(kind: str) -> None:
    frames = [Image.fromarray(picture()), Image.fromarray(picture()[::-1].copy())]
    error = refused(save(frames[0], kind, save_all=True, append_images=frames[1:]), ImageAnimated)
    assert error.metadata["frames"] == "2"


def test_a_phones_jpeg_with_a_second_view_is_a_picture() -> None:
    view = Image.fromarray(picture())
    data = save(view, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))], quality=95, subsampling=0)
    assert close(decode(data), picture(), 12)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PDF"])
def test_another_format_is_refused_by_its_name(kind: str) -> None:
    error = refused(save(Image.fromarray(picture(32, 32)), kind), ImageFormatUnsupported)
    assert error.metadata == {"format": kind, "taken": "JPEG,PNG,WEBP,AVIF,HEIC"}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\n <svg/>", "SVG"),
        (b"<?xml version='1.0'?><svg/>", "SVG or XML"),
        (b"\x00\x00\x00\x20ftypisom" + b"\0" * 20, "video"),
    ],
)
def test_a_format_that_is_never_opened_is_refused_by_its_name(data: bytes, name: str) -> None:
    assert refused(data, ImageFormatUnsupported).metadata["format"] == name


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_a_truncated_picture_is_refused_wherever_it_breaks_off(kind: str) -> None:
    data = save(Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)), kind)
    for length in {4, 12, 20, 40, len(data) // 4, len(data) // 2, len(data) * 3 // 4, len(data) - 60}:
        refused(data[:length], ImageUnreadable)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_flipped_bytes_decode_or_are_refused_but_never_crash(kind: str) -> None:
    random = np.random.default_rng(1)
    data = bytearray(save(Image.fromarray(picture()), kind))
    for _ in range(300):
        broken = bytearray(data)
        for place in random.integers(0, len(data), 3):
            broken[place] = int(random.integers(0, 256))
        try:
            decode_image(bytes(broken), field=FIELD)
        except LikenessError as error:
            assert error.field == FIELD


@pytest.mark.parametrize(
    "data", [b"hello", b"\x00" * 1000, b"RIFF\x00\x00\x00\x00WEBP", b"\xff\xd8\xff\xe0", b"PK\x03\x04"]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    refused(data, ImageUnreadable)


def test_an_archive_behind_a_picture_is_left_behind() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("payload.txt", "x" * 1000)
    data = save(Image.fromarray(picture())) + archive.getvalue()
    assert b"payload" not in encode_image(decode(data)).data


def test_a_jpeg_with_endless_scans_is_refused() -> None:
    data = save(Image.fromarray(picture()), "JPEG")
    scan = data[data.index(b"\xff\xda") : data.rindex(b"\xff\xd9")]
    refused(data[: data.index(b"\xff\xda")] + scan * 500 + b"\xff\xd9", ImageUnreadable)


def test_one_pixel_is_a_picture() -> None:
    assert decode(save(Image.new("RGB", (1, 1), (1, 2, 3)))).tolist() == [[[1, 2, 3]]]
