"""The photos of a run as files, decoded one at a time: a hundred large ones would not fit into memory together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from core.runtime.cancellation import CancelToken
from core.runtime.images import decode_image
from core.training.spec import Photo, PhotoFile
from likeness.errors import ImageError


class PhotoFiles(Sequence[Photo]):
    """Photos that are read and decoded each time they are asked for; one that cannot be has the reason instead."""

    def __init__(self, entries: Sequence[PhotoFile], workdir: Path, token: CancelToken | None = None) -> None:
        """Read the files of ``entries`` below ``workdir``, until ``token`` stops it: each takes a while."""
        self._entries = tuple(entries)
        self._workdir = workdir
        self._token = token

    def __len__(self) -> int:
        """How many there are."""
        return len(self._entries)

    @overload
    def __getitem__(self, place: int) -> Photo: ...

    @overload
    def __getitem__(self, place: slice) -> PhotoFiles: ...

    def __getitem__(self, place: int | slice) -> Photo | PhotoFiles:
        """Decode the photo at a place, or return those of a slice.

        Raises:
            IndexError: there is none.
            OSError: the file is lost.
            Cancelled, DeadlineExceeded: by the token.
        """
        if isinstance(place, slice):
            return PhotoFiles(self._entries[place], self._workdir, self._token)
        if self._token is not None:
            self._token.check()
        entry = self._entries[place]
        try:
            rgb = decode_image((self._workdir / entry.file).read_bytes(), field=f"photos[{place}]")
        except ImageError as error:
            return Photo(entry.name, None, entry.caption, error.message)
        return Photo(entry.name, rgb, entry.caption)
