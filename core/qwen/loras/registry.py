"""The registry of LoRAs in the artifact store: a manifest and a file for each version of a name.

``loras/<id>/<version>.json`` is the manifest. Its record is made only where none is, so that of several writers each
gets a version of its own. Deleting leaves an empty manifest behind: the version is never given again. The file has a
folder of its own, and so nothing else refers to it when its version is deleted.
"""

from __future__ import annotations

import json
import re
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime

from core.runtime.artifacts import ArtifactStore
from likeness.errors import ArtifactCorrupt, ArtifactNotFound, Conflict, InvalidRequest, LoraNotFound

_ROOT = "loras"
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MANIFEST = re.compile(rf"{_ROOT}/({_ID.pattern})/([1-9][0-9]{{0,8}})\.json")


@dataclass(frozen=True)
class LoraFacts:
    """What was found out about a file when it was checked."""

    format: str
    """Key format, for example ``diffusers``."""
    rank: int
    """Highest rank among its modules."""
    modules: int
    """How many modules of the transformer it changes."""
    base_model: str
    """Name of the model that it was checked against."""


@dataclass(frozen=True)
class LoraRecord:
    """One version of a registered LoRA: the manifest."""

    lora_id: str
    version: int
    """From 1."""
    trigger_word: str
    """The word that calls the character; empty when there is none."""
    format: str
    rank: int
    modules: int
    base_model: str
    size_bytes: int
    sha256: str
    """Of the file, 64 lower-case hexadecimal digits."""
    uri: str
    """Where the file is in the store."""
    create_time: str
    """ISO 8601, UTC."""


class LoraRegistry:
    """LoRAs by id and version. All methods block; they are safe in any thread and process over one store."""

    def __init__(self, store: ArtifactStore) -> None:
        """Keep the registry in ``store``."""
        self._store = store

    def register(self, lora_id: str, data: bytes, *, facts: LoraFacts, trigger_word: str = "") -> LoraRecord:
        """Keep a checked file as the next version of ``lora_id``. Raises InvalidRequest for a bad id."""
        _check_id(lora_id)
        uri = self._store.put(f"{_ROOT}/{lora_id}/{uuid.uuid4().hex}", data, ".safetensors")
        version = max(self._versions(lora_id), default=0) + 1
        while True:
            record = LoraRecord(
                lora_id=lora_id,
                version=version,
                trigger_word=trigger_word,
                size_bytes=len(data),
                sha256=uri.rsplit("/", 1)[1].partition(".")[0],
                uri=uri,
                create_time=datetime.now(UTC).isoformat(timespec="microseconds"),
                **asdict(facts),
            )
            try:
                self._store.put_record(_manifest(lora_id, version), json.dumps(asdict(record)).encode())
            except Conflict:  # another one was faster
                version += 1
            except BaseException:
                self._store.delete(uri)
                raise
            else:
                return record

    def get(self, lora_id: str, version: int = 0, *, field: str = "lora_id") -> LoraRecord:
        """Return a version, the newest when 0. Raises LoraNotFound and InvalidRequest, both with ``field``."""
        _check_id(lora_id, field)
        versions = [version] if version else sorted(self._versions(lora_id), reverse=True)
        for number in versions:
            if (record := self._read(lora_id, number)) is not None:
                return record
        what = f"{lora_id!r} version {version}" if version else repr(lora_id)
        raise LoraNotFound(f"no LoRA {what} is registered: GET /loras or ListLoras tells which are", field=field)

    def list(self, *, page_size: int, after: str = "") -> tuple[tuple[LoraRecord, ...], str]:
        """Return the newest version of each LoRA, by id, and the id after which the next page begins.

        Args:
            page_size: most LoRAs to return, at least 1.
            after: the page's token: the last id of the page before; empty for the first page.

        Raises:
            InvalidRequest: ``after`` is not a token.
        """
        if after:
            _check_id(after, "page_token")
        matches = (_MANIFEST.fullmatch(key) for key in self._store.list_records(_ROOT))
        ids = sorted({match[1] for match in matches if match is not None})
        records: list[LoraRecord] = []
        for lora_id in ids:
            if lora_id <= after:
                continue
            if len(records) == page_size:
                return tuple(records), records[-1].lora_id
            with suppress(LoraNotFound):  # all its versions are deleted
                records.append(self.get(lora_id))
        return tuple(records), ""

    def delete(self, lora_id: str, version: int = 0) -> tuple[LoraRecord, ...]:
        """Remove a version, or all of them when 0, and return what was removed. Raises LoraNotFound, InvalidRequest."""
        newest = self.get(lora_id, version)
        numbers = [newest.version] if version else sorted(self._versions(lora_id))
        removed = [record for number in numbers if (record := self._read(lora_id, number)) is not None]
        for record in removed:
            self._store.put_record(_manifest(lora_id, record.version), b"{}", replace=True)
            self._store.delete(record.uri)
        return tuple(removed)

    def read(self, record: LoraRecord, *, field: str | None = None) -> bytes:
        """Return the file of a version, compared with its SHA-256.

        Raises:
            LoraNotFound: it was deleted meanwhile; ``field`` names it.
            ArtifactCorrupt: the stored file is not what was registered.
        """
        try:
            return self._store.get(record.uri, field=field)
        except ArtifactNotFound as error:
            raise LoraNotFound(f"LoRA {record.lora_id!r} version {record.version} was deleted", field=field) from error

    def _versions(self, lora_id: str) -> set[int]:
        """All version numbers that were ever given."""
        keys = self._store.list_records(f"{_ROOT}/{lora_id}")
        return {int(match[2]) for key in keys if (match := _MANIFEST.fullmatch(key)) is not None}

    def _read(self, lora_id: str, version: int) -> LoraRecord | None:
        """Return a manifest; None when there is none, or when its version was deleted."""
        try:
            values = json.loads(self._store.get_record(_manifest(lora_id, version)))
            known = {field.name for field in fields(LoraRecord)}
            return LoraRecord(**{name: value for name, value in values.items() if name in known}) if values else None
        except ArtifactNotFound:
            return None
        except (ValueError, TypeError, AttributeError) as error:
            raise ArtifactCorrupt(f"the manifest of LoRA {lora_id!r} version {version} cannot be read") from error


def _check_id(lora_id: str, field: str = "lora_id") -> None:
    if not _ID.fullmatch(lora_id):
        raise InvalidRequest(
            f"{field}: an id has 1–64 characters of a-z, 0-9, _ and -, and begins with a letter or digit", field=field
        )


def _manifest(lora_id: str, version: int) -> str:
    return f"{_ROOT}/{lora_id}/{version}.json"
