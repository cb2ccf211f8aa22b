"""The artifact store: pictures, LoRAs and other files, in a folder or in an object store by URL."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError
from obstore.store import LocalStore, ObjectStore, from_url

from core.runtime.telemetry import log
from likeness.errors import (
    ArtifactCorrupt,
    ArtifactNotFound,
    Conflict,
    InvalidRequest,
    PayloadTooLarge,
    ServiceUnavailable,
)

_SCHEME = "artifact://"
_SEGMENT = r"[a-z0-9][a-z0-9_-]{0,127}"
# No dot before the last segment and none at its start: neither ".." nor a hidden or temporary file can be named.
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,7}}(?:\.[a-z0-9]{{1,15}}){{0,2}}")
_ADDRESSED = re.compile(rf"artifact://({_SEGMENT}(?:/{_SEGMENT}){{0,5}}/([0-9a-f]{{64}})(?:\.[a-z0-9]{{1,15}})?)")
_SUFFIX = re.compile(r"(?:\.[a-z0-9]{1,15})?")

_MAX_RETRIES = 2
_RETRY_TIMEOUT = timedelta(seconds=10)
"""After this a request that failed is not repeated. The driver's own 10 retries would hold a call for minutes."""
_RETRY_AFTER_SECONDS = 5.0
_LOGGED_CHARACTERS = 600
# The driver has one class for an object store that does not answer, for one that refuses a listing, a region or a
# bucket, and for what is wrong in a folder; its words alone tell them apart. The latter two (4xx but a timeout and too
# many requests, a bare redirect, a system call that failed) will not be better in a moment.
_LASTING = re.compile(r"status code: 4(?!08|29)\d\d|redirect without LOCATION|Generic LocalFileSystem error")

_logger = logging.getLogger(__name__)


class StoreUnavailable(ServiceUnavailable):
    """The object store cannot be reached, does not answer in time, or fails: trying again makes sense."""


class ArtifactStore:
    """Files under content addresses ``artifact://<prefix>/<sha256><suffix>``, and records under names of their own.

    All methods block: call them from a worker thread. They are safe in any thread. A file appears under its name only
    when it is whole: the folder's driver writes to a temporary name and renames, object stores publish at the end.

    All methods raise StoreUnavailable when an object store is away. That it refuses the deployment's keys, has no such
    bucket, or that a folder cannot be used, is a fault of the deployment: obstore's own exception, which clients see as
    INTERNAL.
    """

    def __init__(self, url: str) -> None:
        """Open the store.

        Args:
            url: A folder, which is made when it is missing, or s3://, gs:// or az:// (or file://) with a bucket. Keys
                and regions come from the usual variables of the environment, timeouts too (``AWS_TIMEOUT``).
        """
        self._store: ObjectStore
        if "://" in url and not url.startswith("file://"):
            self._store = from_url(url, retry_config={"max_retries": _MAX_RETRIES, "retry_timeout": _RETRY_TIMEOUT})
        else:
            folder = Path(url.removeprefix("file://")).expanduser().resolve()
            folder.mkdir(parents=True, exist_ok=True)
            # Names of folders tell of what was in them.
            self._store = LocalStore(folder, automatic_cleanup=True)

    def put(self, prefix: str, data: bytes, suffix: str = "") -> str:
        """Keep a file and return its URI; the same bytes under the same prefix and suffix have the same URI.

        Raises:
            ValueError: The prefix or suffix has characters that are not allowed.
        """
        if not _SUFFIX.fullmatch(suffix):
            raise ValueError(f"bad suffix {suffix!r}")
        key = _checked_key(f"{prefix}/{hashlib.sha256(data).hexdigest()}{suffix}")
        with _reaching():
            obstore.put(self._store, key, data)
        return _SCHEME + key

    def get(self, uri: str, *, field: str | None = None, max_bytes: int | None = None) -> bytes:
        """Return a file after comparing it with the hash in its URI.

        Raises:
            InvalidRequest: The URI is not one that `put` returns; `field` names it.
            ArtifactNotFound: Nothing is there.
            ArtifactCorrupt: The bytes have another hash.
            PayloadTooLarge: The file has more than `max_bytes`; it is not read.
        """
        key, sha256 = _parse(uri, field)
        data = self._read(key, field, max_bytes)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ArtifactCorrupt("the stored file is not what was put there: its SHA-256 differs", field=field)
        return data

    def exists(self, uri: str) -> bool:
        """Return whether a file is there. Raises InvalidRequest when the URI is not one that `put` returns."""
        key, _ = _parse(uri, None)
        return self._exists(key)

    def delete(self, uri: str) -> bool:
        """Remove a file; return whether it was there. Raises InvalidRequest for a URI that `put` does not return."""
        key, _ = _parse(uri, None)
        return self._delete(key)

    def list(self, prefix: str) -> tuple[str, ...]:
        """Return the URIs of all content-addressed files below a prefix, in order. Raises ValueError for a bad one."""
        uris = (_SCHEME + key for key in self.list_records(prefix))
        return tuple(uri for uri in uris if _ADDRESSED.fullmatch(uri))

    def put_record(self, key: str, data: bytes, *, replace: bool = False) -> None:
        """Keep data under a name of its own, for example ``loras/anna/3.json``.

        Args:
            key: Segments of ``a-z 0-9 _ -``, joined by slashes, with an extension at most.
            data: The bytes.
            replace: Whether a record of that name may be there already.

        Raises:
            ValueError: The key has characters that are not allowed.
            Conflict: `replace` is false and there is one: of several writers, one wins.
        """
        name = _checked_key(key)
        try:
            with _reaching():
                obstore.put(self._store, name, data, mode="overwrite" if replace else "create")
        except AlreadyExistsError as error:
            raise Conflict(f"{key} is there already") from error

    def get_record(self, key: str) -> bytes:
        """Return a record. Raises ArtifactNotFound, and ValueError for a key that `put_record` refuses."""
        return self._read(_checked_key(key), None, None)

    def delete_record(self, key: str) -> bool:
        """Remove a record; return whether it was there. Raises ValueError for a key that `put_record` refuses."""
        return self._delete(_checked_key(key))

    def list_records(self, prefix: str, *, modified_before: datetime | None = None) -> tuple[str, ...]:
        """Return the keys of everything below a prefix, in order, or of what was last written before a time.

        Raises ValueError for a bad prefix.
        """
        with _reaching():
            found = [meta for batch in obstore.list(self._store, _checked_key(prefix)) for meta in batch]
        old = (m for m in found if modified_before is None or m["last_modified"] < modified_before)
        return tuple(sorted(meta["path"] for meta in old))

    def _read(self, key: str, field: str | None, max_bytes: int | None) -> bytes:
        try:
            with _reaching():
                result = obstore.get(self._store, key)
        except FileNotFoundError as error:
            raise ArtifactNotFound("the artifact store holds nothing under that URI", field=field) from error
        size = result.meta["size"]
        if max_bytes is not None and size > max_bytes:
            raise PayloadTooLarge(
                f"the stored file has {size:,} bytes; at most {max_bytes:,} are taken", field=field, bytes=str(size)
            )
        with _reaching():
            return bytes(result.bytes())

    def _exists(self, key: str) -> bool:
        try:
            with _reaching():
                obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        return True

    def _delete(self, key: str) -> bool:
        if not self._exists(key):
            return False
        try:
            with _reaching():
                obstore.delete(self._store, key)
        except FileNotFoundError:  # another caller was faster
            return False
        return True


@contextmanager
def _reaching() -> Iterator[None]:
    """Tell of a store that is away as StoreUnavailable."""
    try:
        yield
    except GenericError as error:
        # After the first paragraph comes what the driver prints for its developers.
        reason = str(error).partition("\n\nDebug source")[0]
        if _LASTING.search(reason):
            raise
        # Its words name buckets and addresses inside the deployment: they are for the log alone.
        log(_logger, logging.WARNING, "the artifact store fails", reason=reason[:_LOGGED_CHARACTERS])
        raise StoreUnavailable(
            "the artifact store cannot be reached or fails; try again shortly",
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        ) from error


def _checked_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"bad artifact key {key!r}")
    return key


def _parse(uri: str, field: str | None) -> tuple[str, str]:
    match = _ADDRESSED.fullmatch(uri)
    if match is None:
        raise InvalidRequest("not an artifact URI: artifact://<prefix>/<64 hexadecimal digits>.<suffix>", field=field)
    return match.group(1), match.group(2)
