"""Transparency and colour profile of a picture come back after work on its sRGB."""

from __future__ import annotations

import io
import math
import struct
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from core.runtime.images import DecodedImage, ImageFormat, decode_image, decode_picture, encode_image, encode_like
from likeness.common.v1 import image_pb2

_PNG = image_pb2.ImageOutput()
_JPEG = image_pb2.ImageOutput(format=image_pb2.IMAGE_FORMAT_JPEG)
_WEBP = image_pb2.ImageOutput(format=image_pb2.IMAGE_FORMAT_WEBP)


@cache  # a profile holds the time at which it was made
def wide_profile() -> bytes:
    """An RGB profile with the primaries of Display P3."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for tag, values in (
        (b"rXYZ", (0.515, 0.241, -0.001)),
        (b"gXYZ", (0.292, 0.692, 0.042)),
        (b"bXYZ", (0.157, 0.067, 0.784)),
    ):
        entry = profile.index(tag)
        offset = struct.unpack(">I", profile[entry + 4 : entry + 8])[0]
        profile[offset + 8 : offset + 20] = struct.pack(">iii", *(math.floor(value * 65536) for value in values))
    for text in (b"sRGB", "sRGB".encode("utf-16-be")):
        profile = profile.replace(text, text.replace(b"R", b"X"))
    return bytes(profile)


def scene(width: int = 60, height: int = 40) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(5).integers(20, 236, (height, width, 3), dtype=np.uint8)


def saved(array: npt.NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(array: npt.NDArray[np.uint8], kind: str = "PNG", **options: Any) -> DecodedImage:
    return decode_picture(saved(array, kind, **options), field="image")


def transparent() -> npt.NDArray[np.uint8]:
    alpha = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))
    return np.dstack([scene(), alpha])


def painted(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    changed = rgb.copy()
    changed[10:30, 20:50] = (180, 120, 100)
    return changed


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_plain_picture_has_neither_transparency_nor_profile() -> None:
    picture = decoded(scene())
    assert (picture.alpha, picture.icc_profile, picture.stored) == (None, None, None)
    changed = painted(picture.rgb)
    assert picture.restored(changed) is changed


def test_an_opaque_alpha_channel_is_no_transparency() -> None:
    assert decoded(np.dstack([scene(), np.full((40, 60), 255, np.uint8)])).alpha is None


@pytest.mark.parametrize("output", [_PNG, _WEBP])
def test_transparency_comes_back(output: image_pb2.ImageOutput) -> None:
    source = decoded(transparent())
    encoded, lost = encode_like(source, painted(source.rgb), output)
    assert lost == ()
    with opened(encoded.data) as image:
        assert image.mode == "RGBA"
        assert (np.asarray(image.getchannel("A")) == transparent()[:, :, 3]).all()


def test_pixels_that_were_not_changed_keep_their_values_even_where_nothing_shows() -> None:
    source = decoded(transparent())
    encoded, _ = encode_like(source, painted(source.rgb), _PNG)
    result = np.asarray(opened(encoded.data))
    untouched = (painted(source.rgb) == source.rgb).all(axis=2)
    assert (result[untouched] == transparent()[untouched]).all()


def test_changed_pixels_look_the_same_on_white() -> None:
    source = decoded(transparent())
    changed = painted(source.rgb)
    changed[10:30, 20:50] = (230, 215, 200)  # light enough to show through half transparency
    encoded, _ = encode_like(source, changed, _PNG)
    again = decode_image(encoded.data, field="image")
    showing = transparent()[:, :, 3] > 120
    assert np.abs(again.astype(int) - changed.astype(int))[showing].max() <= 1


def test_jpeg_lays_transparency_on_white_and_says_so() -> None:
    source = decoded(transparent())
    encoded, lost = encode_like(source, painted(source.rgb), _JPEG)
    assert "transparency" in lost[0]
    rgb = decode_image(encoded.data, field="image")
    assert np.abs(rgb[:, :2].astype(int) - 255).max() < 12


@pytest.mark.parametrize("output", [_PNG, _JPEG, _WEBP])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_the_profile_comes_back(kind: str, output: image_pb2.ImageOutput) -> None:
    source = decoded(scene(), kind, icc_profile=wide_profile())
    assert source.icc_profile == wide_profile()
    encoded, lost = encode_like(source, painted(source.rgb), output)
    assert lost == ()
    assert opened(encoded.data).info["icc_profile"] == wide_profile()


def test_work_is_done_in_srgb_and_undone_in_the_pictures_own_space() -> None:
    source = decoded(scene(), icc_profile=wide_profile())
    assert np.abs(source.rgb.astype(int) - scene().astype(int)).max() > 10
    changed = painted(source.rgb)
    encoded, _ = encode_like(source, changed, _PNG)
    stored = np.asarray(opened(encoded.data))
    untouched = (changed == source.rgb).all(axis=2)
    assert (stored[untouched] == scene()[untouched]).all()
    assert np.abs(stored[15, 30].astype(int) - (180, 120, 100)).max() > 3
    again = decode_image(encoded.data, field="image")
    assert np.abs(again[15, 30].astype(int) - (180, 120, 100)).max() <= 2


def test_an_srgb_profile_is_kept_as_it_is() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = decoded(scene(), icc_profile=srgb)
    assert source.stored is None
    assert source.icc_profile == srgb


@pytest.mark.parametrize("profile", [b"no profile", wide_profile()[:300]])
def test_a_damaged_profile_is_dropped(profile: bytes) -> None:
    source = decoded(scene(), icc_profile=profile)
    assert source.icc_profile is None
    assert (source.rgb == scene()).all()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_profile_that_does_not_fit_the_colours_is_not_answered(mode: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(scene()).convert(mode).save(buffer, "JPEG", icc_profile=wide_profile())
    assert decode_picture(buffer.getvalue(), field="image").icc_profile is None


def test_transparency_and_profile_follow_the_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source = decoded(transparent(), icc_profile=wide_profile(), exif=exif)
    assert source.rgb.shape == (60, 40, 3)
    assert source.alpha is not None
    assert (source.alpha == np.rot90(transparent()[:, :, 3], -1)).all()
    assert source.stored is not None
    assert (source.stored == np.rot90(transparent()[:, :, :3], -1)).all()


def test_another_size_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="shape"):
        decoded(scene()).restored(scene(10, 10))
    with pytest.raises(ValueError, match="transparency"):
        encode_image(scene(), ImageFormat.JPEG, alpha=transparent()[:, :, 3])
    with pytest.raises(ValueError, match="alpha"):
        encode_image(scene(), alpha=np.zeros((2, 2), np.uint8))
