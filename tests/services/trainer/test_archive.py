"""Zip files of photos: what is taken, and what is refused before it is unpacked."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import pytest

from likeness.errors import InvalidRequest, PayloadTooLarge
from services.trainer.archive import MAX_PHOTO_BYTES, ArchivedPhoto, PhotoArchive


def pack(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def read_archive(data: bytes) -> list[ArchivedPhoto]:
    """Return all photos of a zip file."""
    archive = PhotoArchive(data)
    photos = list(archive)
    assert len(archive) == len(photos)
    return photos


def test_photos_come_in_the_order_of_their_names_with_the_captions_beside_them() -> None:
    photos = read_archive(
        pack(
            {
                "b.png": b"B",
                "set/a.JPG": b"A",
                "b.txt": b"eine Frau am Strand\n",
                "set/notes.txt": b"of no photo",
                "set/": b"",
                "__MACOSX/b.png": b"junk",
                ".hidden.png": b"junk",
                "readme.md": b"junk",
            }
        )
    )
    assert [(photo.name, photo.data, photo.caption) for photo in photos] == [
        ("b.png", b"B", "eine Frau am Strand"),
        ("set/a.JPG", b"A", ""),
    ]


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/etc/x.png", "..\\x.png", "C:x.png"])
def test_a_name_that_leads_outside_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="outside") as told:
        read_archive(pack({"a.png": b"A", name: b"x"}))
    assert told.value.field == "archive"


def test_a_file_that_is_larger_than_it_says_is_refused_without_being_unpacked() -> None:
    bomb = pack({"a.png": b"\0" * (MAX_PHOTO_BYTES + 1)})
    assert len(bomb) < 100_000
    with pytest.raises(PayloadTooLarge):
        PhotoArchive(bomb)
    # The same with a directory that lies: 1 byte.
    place = bomb.index(b"PK\x01\x02") + 24
    liar = PhotoArchive(bomb[:place] + (1).to_bytes(4, "little") + bomb[place + 4 :])
    with pytest.raises((PayloadTooLarge, InvalidRequest)):
        list(liar)


def test_photos_are_unpacked_one_at_a_time() -> None:
    photos = {f"{number:03d}.png": bytes([number]) * 4 * 2**20 for number in range(40)}
    data = pack(photos)
    photos.clear()
    tracemalloc.start()
    try:
        names = [photo.name for photo in PhotoArchive(data)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(names) == 40
    assert peak < 40 * 2**20, peak


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "zip file"),
        (b"PK\x03\x04 nonsense", "zip file"),
        (pack({"a.png": b"A" * 100})[:60], "zip file"),
        (pack({f"{number}.png": b"A" for number in range(101)}), "101 photos"),
        (pack({f"{number}.md": b"A" for number in range(1001)}), "files"),
        (pack({"a.png": b"A", "a.txt": b"\xff\xfe"}), "caption"),
        (pack({"a.png": b"A", "a.txt": b"x" * 1001}), "caption"),
    ],
)
def test_what_can_not_be_taken_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as told:
        read_archive(data)
    assert told.value.field == "archive"


def test_an_encrypted_file_is_refused() -> None:
    data = bytearray(pack({"a.png": b"A"}))
    directory = data.index(b"PK\x01\x02")
    data[directory + 8] |= 1
    with pytest.raises(InvalidRequest, match="password"):
        read_archive(bytes(data))
