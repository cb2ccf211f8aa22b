"""Stored pictures over HTTP: their paths, and reading them. Only pictures of answers and samples can be named."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from core.runtime.artifacts import ArtifactStore
from likeness.errors import ArtifactNotFound
from likeness.training import TrainingJob

ROUTE = "/v1/artifacts/{kind}/{name}"

_MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
_KIND = "images"
_NAME = re.compile(r"([0-9a-f]{64})\.(png|jpg|webp)")


@dataclass(frozen=True)
class StoredPicture:
    """What a stored picture is called."""

    uri: str
    """Its URI in requests and answers."""
    sha256: str
    """SHA-256 of the file, 64 lower-case hexadecimal digits."""
    media_type: str
    """For example ``image/png``."""

    @classmethod
    def named(cls, kind: str, name: str) -> StoredPicture:
        """Return the picture that a path names. Raises ArtifactNotFound when it can name none."""
        match = _NAME.fullmatch(name)
        if kind != _KIND or match is None:
            raise ArtifactNotFound("stored pictures are at /v1/artifacts/images/<SHA-256>.png, .jpg or .webp")
        return cls(f"artifact://{_KIND}/{name}", match[1], _MEDIA_TYPES[match[2]])

    @classmethod
    def sample(cls, job: TrainingJob, name: str) -> StoredPicture:
        """Return the sample picture of a job that a path names. Raises ArtifactNotFound when the job has none such."""
        match = _NAME.fullmatch(name)
        # The URI is the job's own word: a name from outside only chooses among them.
        uris = (sample.artifact_uri for sample in job.samples)
        uri = next((uri for uri in uris if uri.rpartition("/")[2] == name), None)
        if match is None or uri is None:
            raise ArtifactNotFound("the job has no sample of that name; its samples have their paths as url")
        return cls(uri, match[1], _MEDIA_TYPES[match[2]])

    @property
    def etag(self) -> str:
        """The strong validator of the file: its hash."""
        return f'"{self.sha256}"'

    async def read(self, store: ArtifactStore) -> bytes:
        """Return the file. Raises ArtifactNotFound, ArtifactCorrupt."""
        return await asyncio.to_thread(store.get, self.uri)

    async def check(self, store: ArtifactStore) -> None:
        """Raise ArtifactNotFound when it is not there."""
        if not await asyncio.to_thread(store.exists, self.uri):
            raise ArtifactNotFound("the artifact store holds nothing under that name")


def artifact_path(uri: str) -> str | None:
    """Return the path under which the gateway hands out a stored picture; None for what it does not hand out."""
    kind, _, name = uri.removeprefix("artifact://").partition("/")
    if not uri.startswith("artifact://") or kind != _KIND or not _NAME.fullmatch(name):
        return None
    return ROUTE.format(kind=kind, name=name)


def holds(if_none_match: str | None, etag: str) -> bool:
    """Tell whether an If-None-Match header (RFC 9110, 13.1.2) says that the client has the file."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return "*" in tags or etag in tags
