"""Photos in a zip file: bounded before anything is unpacked, and never written under a name of the file's."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from likeness.errors import InvalidRequest, PayloadTooLarge

MAX_PHOTOS = 100
MAX_PHOTO_BYTES = 20 * 2**20
MAX_CAPTION_CHARACTERS = 1000
_MAX_ENTRIES = 1000
_MAX_TOTAL_BYTES = 2**30
_FIELD = "archive"
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif"})
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class ArchivedPhoto:
    """A photo of an archive."""

    name: str
    """Its name within the archive."""
    data: bytes
    caption: str
    """What the text file beside it says; empty without one."""


class PhotoArchive:
    """The photos of a zip file, in the order of their names. Folders, hidden files and other kinds are passed over.

    All is checked that the archive's directory tells; photos are unpacked one at a time.
    """

    def __init__(self, data: bytes) -> None:
        """Read the directory of a zip file.

        Raises:
            InvalidRequest: it is no zip file, is damaged or encrypted, names a file outside itself, or has too many
                files.
            PayloadTooLarge: a photo, or all together, would be too large.
        """
        self._data = data
        self._pictures: dict[str, zipfile.ZipInfo] = {}
        self._captions: dict[str, zipfile.ZipInfo] = {}
        with _open(data) as archive:
            self._list(archive.infolist())

    def __len__(self) -> int:
        """How many photos there are."""
        return len(self._pictures)

    def __iter__(self) -> Iterator[ArchivedPhoto]:
        """Unpack the photos, one after the other.

        Raises:
            InvalidRequest: one is damaged, or its caption is no text.
            PayloadTooLarge: one is larger than the directory says.
        """
        with _open(self._data) as archive:
            for name in sorted(self._pictures):
                beside = self._captions.get(str(PurePosixPath(name).with_suffix("")))
                caption = "" if beside is None else _caption(archive, beside)
                yield ArchivedPhoto(name[:200], _bounded(archive, self._pictures[name], MAX_PHOTO_BYTES), caption)

    def _list(self, entries: list[zipfile.ZipInfo]) -> None:
        if len(entries) > _MAX_ENTRIES:
            raise InvalidRequest(f"archive: it has more than {_MAX_ENTRIES} files", field=_FIELD)
        for entry in entries:
            path = _checked(entry)
            if entry.is_dir() or any(part.startswith((".", "__MACOSX")) for part in path.parts):
                continue
            suffix = path.suffix.lower()
            if suffix in _SUFFIXES:
                self._pictures[str(path)] = entry
            elif suffix == ".txt":
                self._captions[str(path.with_suffix(""))] = entry
        count, sizes = len(self._pictures), [entry.file_size for entry in self._pictures.values()]
        if count > MAX_PHOTOS:
            raise InvalidRequest(f"archive: it has {count} photos; at most {MAX_PHOTOS} are taken", field=_FIELD)
        if max(sizes, default=0) > MAX_PHOTO_BYTES:
            raise PayloadTooLarge(f"archive: a photo has more than {MAX_PHOTO_BYTES:,} bytes", field=_FIELD)
        if sum(sizes) > _MAX_TOTAL_BYTES:
            raise PayloadTooLarge(f"archive: its photos have more than {_MAX_TOTAL_BYTES:,} bytes", field=_FIELD)


@contextlib.contextmanager
def _open(data: bytes) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError, OSError) as error:
        raise InvalidRequest("archive: not a zip file that can be read; pack it again", field=_FIELD) from error


def _checked(entry: zipfile.ZipInfo) -> PurePosixPath:
    name = entry.filename
    path = PurePosixPath(name)
    # Names are never used as paths; one that leads outside tells of an archive made to harm whoever unpacks it.
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or name[1:2] == ":":
        raise InvalidRequest("archive: it names a file outside itself; pack it again", field=_FIELD)
    if entry.flag_bits & _ENCRYPTED:
        raise InvalidRequest("archive: it is encrypted; pack it without a password", field=_FIELD)
    return path


def _bounded(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
    """Read a file; the size that the archive tells may be a lie."""
    with archive.open(entry) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise PayloadTooLarge(f"archive: {entry.filename[:100]!r} has more than {limit:,} bytes", field=_FIELD)
    return data


def _caption(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    try:
        text = _bounded(archive, entry, 4 * MAX_CAPTION_CHARACTERS).decode("utf-8").strip()
    except UnicodeDecodeError:
        text = None
    if text is None or len(text) > MAX_CAPTION_CHARACTERS:
        raise InvalidRequest(
            f"archive: {entry.filename[:100]!r} is no caption of at most {MAX_CAPTION_CHARACTERS} characters in UTF-8",
            field=_FIELD,
        )
    return text
