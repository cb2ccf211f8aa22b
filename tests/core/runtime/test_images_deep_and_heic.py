"""HEIC files, and pictures of more than 8 bit: the same values, limits and refusals as of other files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from core.runtime.images import decode_image, decode_picture
from likeness.errors import ImageAnimated, ImageEmpty, ImageTooLarge, ImageUnreadable, LikenessError

_FILES = Path(__file__).resolve().parents[2] / "data" / "heic"


def heic(name: str) -> bytes:
    return (_FILES / f"{name}.heic").read_bytes()


def ramp(width: int = 40, height: int = 30) -> npt.NDArray[np.uint8]:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)


def worst(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> int:
    assert left.shape == right.shape
    return int(np.abs(left.astype(int) - right.astype(int)).max())


def png16(values: npt.NDArray[np.uint16], colour_type: int) -> bytes:
    """A 16-bit PNG as other programs write it; Pillow writes none of more than one channel."""
    height, width = values.shape[:2]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (2, 4), (3, 2), (4, 6)])
def test_16_bits_a_channel_are_scaled_to_8(channels: int, colour_type: int) -> None:
    deep = np.random.default_rng(3).integers(0, 65536, (20, 30, channels)).astype(np.uint16)
    if channels in (2, 4):
        deep[:, :, -1] = 65535
    shallow = deep[:, :, : 1 if channels < 3 else 3] / 257
    rgb = decode_image(png16(deep, colour_type), field="image")
    assert np.abs(rgb - shallow).max() <= 1


def test_16_bits_of_transparency_are_kept() -> None:
    deep = np.full((4, 4, 4), 65535, np.uint16)
    deep[:, :2, 3] = 0
    picture = decode_picture(png16(deep, 6), field="image")
    assert picture.alpha is not None
    assert picture.alpha[0].tolist() == [0, 0, 255, 255]


def test_heic_is_decoded() -> None:
    assert worst(decode_image(heic("colour"), field="image"), ramp()) <= 6


def test_grey_and_10_bit_heic_are_decoded() -> None:
    grey = decode_image(heic("grey"), field="image")
    assert worst(grey, np.asarray(Image.fromarray(ramp()).convert("L").convert("RGB"))) <= 6
    deep = decode_image(heic("grey_10_bit"), field="image")
    assert np.abs(deep[:, :, 0] - np.linspace(0, 255, 40)).max() <= 3


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_heic_is_turned_once_although_its_exif_says_so_too(orientation: int) -> None:
    data = heic(f"orientation_{orientation}")
    assert b"Exif" in data
    assert worst(decode_image(data, field="image"), ramp()) <= 6


def test_transparency_of_a_heic_is_kept() -> None:
    picture = decode_picture(heic("half_transparent"), field="image")
    assert picture.alpha is not None
    assert picture.alpha[0, [0, 10, 30, 39]].tolist() == [0, 0, 255, 255]
    assert picture.rgb[:, :19].min() == 255


def test_of_a_heic_with_several_pictures_the_main_one_counts() -> None:
    assert worst(decode_image(heic("two_pictures"), field="image"), ramp()) <= 6


def test_a_heic_sequence_is_refused() -> None:
    data = heic("colour")[:8] + b"hevc" + heic("colour")[12:]
    with pytest.raises(ImageAnimated):
        decode_image(data, field="image")


def test_limits_hold_for_heic_before_it_is_decoded() -> None:
    data = heic("colour")
    with pytest.raises(ImageTooLarge, match="40×30"):
        decode_image(data, field="image", max_pixels=40 * 30 - 1)
    with pytest.raises(ImageTooLarge):
        decode_image(data, field="image", max_bytes=len(data) - 1)


@pytest.mark.parametrize(
    ("size", "kind"),
    [((20000, 20000), ImageTooLarge), ((20, 10), ImageUnreadable), ((0, 30), (ImageUnreadable, ImageEmpty))],
)
def test_a_heic_whose_header_lies_about_its_size_is_refused(
    size: tuple[int, int], kind: type[LikenessError] | tuple[type[LikenessError], ...]
) -> None:
    data = heic("portrait")
    place = data.index(b"ispe") + 8
    assert struct.unpack(">II", data[place : place + 8]) == (256, 256)
    with pytest.raises(kind):
        decode_image(data[:place] + struct.pack(">II", *size) + data[place + 8 :], field="image")


def test_a_truncated_heic_is_refused_wherever_it_breaks_off() -> None:
    data = heic("portrait")
    for length in (13, 30, 100, 400, len(data) // 2, len(data) - 60):
        with pytest.raises(ImageUnreadable):
            decode_image(data[:length], field="image")


def test_flipped_bytes_of_a_heic_decode_or_are_refused_but_never_crash() -> None:
    random = np.random.default_rng(1)
    data = heic("half_transparent")
    for _ in range(300):
        broken = bytearray(data)
        for place in random.integers(0, len(data), 3):
            broken[place] = int(random.integers(0, 256))
        try:
            decode_image(bytes(broken), field="image")
        except LikenessError as error:
            assert error.field == "image"


def test_a_truncated_box_of_another_kind_is_no_picture() -> None:
    with pytest.raises(ImageUnreadable):
        decode_image(b"\x00\x00\x00\x20ftypmif1" + bytes(20), field="image")


def test_an_avif_that_calls_itself_by_the_containers_name_is_decoded() -> None:
    buffer = io.BytesIO()
    Image.fromarray(ramp()).save(buffer, "AVIF", quality=95, subsampling="4:4:4")
    data = buffer.getvalue().replace(b"ftypavif", b"ftypmif1")
    assert worst(decode_image(data, field="image"), ramp()) <= 12
