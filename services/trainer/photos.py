"""The photos of a request: fetched, unpacked, decoded once in full, and kept for their job alone."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from core.runtime.artifacts import ArtifactStore
from core.runtime.fetch import SafeFetcher
from core.runtime.images import MAX_BYTES, decode_image
from core.training.spec import PhotoFile
from likeness.common.v1 import image_pb2
from likeness.errors import InvalidRequest
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.archive import PhotoArchive
from services.trainer.plan import photo_file
from services.trainer.records import StoredPhoto

MIN_PHOTOS, MAX_PHOTOS = 4, 100
P = ParamSpec("P")
T = TypeVar("T")
JOBS_PREFIX = "training/jobs"
UPLOADS_PREFIX = "training/uploads"


@dataclass(frozen=True)
class ReceivedPhoto:
    """A photo as it came."""

    name: str
    """What the client calls it."""
    field: str
    """Path of the request's field."""
    data: bytes
    """The encoded file."""
    caption: str


class PhotoIntake:
    """Reads the photos of requests. For one event loop."""

    def __init__(self, artifacts: ArtifactStore, fetcher: SafeFetcher, *, fetch_timeout_seconds: float) -> None:
        """Keep photos in ``artifacts``; fetch them by ``fetcher``."""
        self._artifacts = artifacts
        self._fetcher = fetcher
        self._fetch_timeout_seconds = fetch_timeout_seconds
        # A photo of 40 megapixels takes 120 MB once it is decoded.
        self._decoding = asyncio.Semaphore(2)

    async def receive(
        self, request: pb2.CreateTrainingJobRequest, deadline: float | None
    ) -> AsyncIterator[ReceivedPhoto]:
        """Yield the photos of a request in their order: images, image_urls, archive.

        Args:
            request: the request; its own limits hold.
            deadline: when the call must have ended, on the clock of `time.monotonic`; None for no limit.

        Raises:
            InvalidRequest: the archive can't be read, or there are too few or too many photos with it.
            LikenessError: one of the artifact or fetch errors, with its field.
        """
        archived = await asyncio.to_thread(PhotoArchive, request.archive) if request.archive else ()
        count = len(request.images) + len(request.image_urls) + len(archived)
        if not MIN_PHOTOS <= count <= MAX_PHOTOS:
            raise InvalidRequest(
                f"archive: there are {count} photos in all; a job takes {MIN_PHOTOS} to {MAX_PHOTOS}", field="archive"
            )
        captions = list(request.captions) or [""] * (len(request.images) + len(request.image_urls))
        for number, image in enumerate(request.images):
            field = f"images[{number}]"
            data = await asyncio.to_thread(self._read, image, field)
            yield ReceivedPhoto(field, field, data, captions[number])
        for number, url in enumerate(request.image_urls):
            field = f"image_urls[{number}]"
            data = await self._fetcher.fetch(
                url, field=field, max_bytes=MAX_BYTES, timeout=self._fetch_timeout_seconds, deadline=deadline
            )
            yield ReceivedPhoto(url[:200], field, data, captions[len(request.images) + number])
        unpacked = iter(archived)
        while (photo := await asyncio.to_thread(next, unpacked, None)) is not None:
            yield ReceivedPhoto(photo.name, f"archive[{photo.name}]", photo.data, photo.caption)

    async def decode(self, photo: ReceivedPhoto) -> npt.NDArray[np.uint8]:
        """Return the photo's pixels, uint8 H×W×3. Raises ImageError with its field."""
        async with self._decoding:
            return await asyncio.to_thread(decode_image, photo.data, field=photo.field)

    async def keep(self, uid: str, photos: AsyncIterator[ReceivedPhoto]) -> tuple[StoredPhoto, ...]:
        """Keep photos for a job; each is decoded in full first. What was kept is removed when one can't be read.

        Raises:
            LikenessError: as `receive` and `decode`.
        """
        kept: list[StoredPhoto] = []
        try:
            async for photo in photos:
                await self.decode(photo)
                uri = await _to_its_end(self._artifacts.put, photos_prefix(uid), photo.data, ".photo")
                kept.append(StoredPhoto(uri, photo.name, photo.caption))
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._drop, uid))
            raise
        return tuple(kept)

    async def spool(self, folder: Path, photos: AsyncIterator[ReceivedPhoto]) -> tuple[PhotoFile, ...]:
        """Write photos into a folder as a run finds them, unread; they may be more than memory holds.

        Raises:
            LikenessError: as `receive`.
        """
        entries: list[PhotoFile] = []
        async for photo in photos:
            entry = PhotoFile(file=photo_file(len(entries)), name=photo.name, caption=photo.caption)
            path = folder / entry.file
            await _to_its_end(_write, path, photo.data)
            entries.append(entry)
        return tuple(entries)

    async def upload(self, data: bytes) -> str:
        """Keep a photo for a job to come and return its URI. Raises ImageError."""
        await self.decode(ReceivedPhoto("data", "data", data, ""))
        # Each in a folder of its own: a job takes its photo away, and not that of another client with the same one.
        prefix = f"{UPLOADS_PREFIX}/{uuid.uuid4().hex}"
        return await asyncio.to_thread(self._artifacts.put, prefix, data, ".photo")

    def _drop(self, uid: str) -> None:
        for key in self._artifacts.list_records(photos_prefix(uid)):
            self._artifacts.delete_record(key)

    def _read(self, image: image_pb2.ImageInput, field: str) -> bytes:
        if image.WhichOneof("source") == "artifact_uri":
            return self._artifacts.get(image.artifact_uri, field=field, max_bytes=MAX_BYTES)
        return image.data


async def _to_its_end(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Do blocking work in a thread. A caller that is cancelled waits for it, so that it can clear away what came."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def content_of_upload(uri: str) -> str:
    """Return the URI of an uploaded photo without its own folder: equal for equal photos. Other URIs stay."""
    place, _, name = uri.rpartition("/")
    folder, _, upload = place.rpartition("/")
    return f"{folder}/{name}" if upload and folder == f"artifact://{UPLOADS_PREFIX}" else uri


def job_prefix(uid: str) -> str:
    """Return where a job keeps everything in the artifact store."""
    return f"{JOBS_PREFIX}/{uid}"


def photos_prefix(uid: str) -> str:
    """Return where a job keeps its photos in the artifact store."""
    return f"{job_prefix(uid)}/photos"
