"""The registry of LoRAs in the artifact store: a manifest and a file for each version of a name.

``loras/<id>/<version>.json`` is the manifest. Its record is made only where none is, so that of several writers each
gets a version of its own. Deleting leaves an empty manifest behind: the version is never given again. The file has a
folder of its own, and so nothing else refers to it when its version is deleted.

A tenant's LoRAs are below ``tenants/<hash of its id>``. Those of the default tenant are shared: every tenant may list
and use them, and one of its own of the same name hides them. Only the tenant that registered a LoRA can remove it.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import islice

from core.runtime.artifacts import ArtifactStore
from likeness.errors import ArtifactCorrupt, ArtifactNotFound, Conflict, InvalidRequest, LoraNotFound
from likeness.metadata import DEFAULT_TENANT

_SHARED_ROOT = "loras"
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MANIFEST = re.compile(rf"({_ID.pattern})/([1-9][0-9]{{0,8}})\.json")


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
    tenant_id: str = DEFAULT_TENANT
    """Who registered it."""

    @property
    def shared(self) -> bool:
        """Whether every tenant may use it."""
        return self.tenant_id == DEFAULT_TENANT


class LoraRegistry:
    """LoRAs by id and version. All methods block; they are safe in any thread and process over one store.

    ``tenant_id`` is who asks.
    """

    def __init__(self, store: ArtifactStore) -> None:
        """Keep the registry in ``store``."""
        self._store = store

    def register(
        self, lora_id: str, data: bytes, *, facts: LoraFacts, trigger_word: str = "", tenant_id: str = DEFAULT_TENANT
    ) -> LoraRecord:
        """Keep a checked file as the tenant's next version of ``lora_id``. Raises InvalidRequest for a bad id."""
        _check_id(lora_id)
        folder = f"{_root(tenant_id)}/{lora_id}/{uuid.uuid4().hex}"
        uri = self._store.put(folder, data, ".safetensors")
        version = max(self._versions(lora_id, tenant_id), default=0) + 1
        while True:
            record = LoraRecord(
                lora_id=lora_id,
                version=version,
                trigger_word=trigger_word,
                size_bytes=len(data),
                sha256=uri.rsplit("/", 1)[1].partition(".")[0],
                uri=uri,
                create_time=datetime.now(UTC).isoformat(timespec="microseconds"),
                tenant_id=tenant_id,
                **asdict(facts),
            )
            try:
                self._store.put_record(_manifest(lora_id, version, tenant_id), json.dumps(asdict(record)).encode())
            except Conflict:  # another one was faster
                version += 1
                continue
            except BaseException:
                self._store.delete(uri)
                raise
            if self._store.exists(uri):
                return record
            # The name was forgotten between the file and the manifest: this one comes after that.
            if self._read(lora_id, version, tenant_id) == record:
                self._store.delete_record(_manifest(lora_id, version, tenant_id))
            self._store.put(folder, data, ".safetensors")
            version = 1

    def get(
        self, lora_id: str, version: int = 0, *, tenant_id: str = DEFAULT_TENANT, field: str = "lora_id"
    ) -> LoraRecord:
        """Return a version, the newest when 0. Raises LoraNotFound and InvalidRequest, both with ``field``."""
        _check_id(lora_id, field)
        for owner in _seen_by(tenant_id):
            if version and (record := self._read(lora_id, version, owner)) is not None:
                return record
            newest = self._newest(lora_id, self._versions(lora_id, owner), owner)
            if newest is None:
                continue
            if not version:
                return newest
            break  # a name of one's own hides the shared one, whatever its versions are
        raise _not_found(lora_id, version, field)

    def list(
        self, *, page_size: int, after: str = "", tenant_id: str = DEFAULT_TENANT
    ) -> tuple[tuple[LoraRecord, ...], str]:
        """Return the newest version of each LoRA, by id, and the id after which the next page begins.

        Args:
            page_size: most LoRAs to return, at least 1.
            after: the page's token: the last id of the page before; empty for the first page.
            tenant_id: whose LoRAs are listed, beside the shared ones.

        Raises:
            InvalidRequest: ``after`` is not a token.
        """
        if after:
            _check_id(after, "page_token")
        owners = _seen_by(tenant_id)
        versions: dict[str, dict[str, list[int]]] = {}
        for owner in owners:
            for lora_id, version in self._manifests(owner):
                versions.setdefault(lora_id, {}).setdefault(owner, []).append(version)
        records: list[LoraRecord] = []
        for lora_id in sorted(name for name in versions if name > after):
            if len(records) == page_size:
                return tuple(records), records[-1].lora_id
            known = versions[lora_id]
            found = (self._newest(lora_id, known[owner], owner) for owner in owners if owner in known)
            # There is none when all its versions are deleted.
            records.extend(islice((record for record in found if record is not None), 1))
        return tuple(records), ""

    def delete(self, lora_id: str, version: int = 0, *, tenant_id: str = DEFAULT_TENANT) -> tuple[LoraRecord, ...]:
        """Remove a version of the tenant's own, or all when 0, and return them. Raises LoraNotFound, InvalidRequest."""
        _check_id(lora_id)
        removed = self._records(lora_id, [version] if version else self._versions(lora_id, tenant_id), tenant_id)
        if not removed:
            raise _not_found(lora_id, version, "lora_id")
        for record in removed:
            self._store.put_record(_manifest(lora_id, record.version, tenant_id), b"{}", replace=True)
            self._store.delete(record.uri)
        return removed

    def forget(self, lora_id: str, *, tenant_id: str = DEFAULT_TENANT) -> tuple[LoraRecord, ...]:
        """Remove all versions of the tenant's own with every trace of the name, and return those that were there.

        Versions count from 1 again afterwards. A name that is not there is no error. Raises InvalidRequest.
        """
        _check_id(lora_id)
        removed = self._records(lora_id, self._versions(lora_id, tenant_id), tenant_id)
        # Manifests first: nobody shall find a LoRA whose file is gone.
        keys = self._store.list_records(f"{_root(tenant_id)}/{lora_id}")
        for key in sorted(keys, key=lambda key: not key.endswith(".json")):
            self._store.delete_record(key)
        # Of one that was being registered the file may have gone, and its manifest come after that.
        for record in self._records(lora_id, self._versions(lora_id, tenant_id), tenant_id):
            if not self._store.exists(record.uri):
                self._store.delete_record(_manifest(lora_id, record.version, tenant_id))
        return removed

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

    def _manifests(self, tenant_id: str, lora_id: str = "") -> Iterator[tuple[str, int]]:
        """Yield name and version of all manifests of a tenant, or of one of its LoRAs."""
        root = _root(tenant_id)
        for key in self._store.list_records(f"{root}/{lora_id}" if lora_id else root):
            match = _MANIFEST.fullmatch(key.removeprefix(f"{root}/"))
            if match is not None:
                yield match[1], int(match[2])

    def _versions(self, lora_id: str, tenant_id: str) -> tuple[int, ...]:
        """All version numbers that were ever given, in order."""
        return tuple(sorted(version for _, version in self._manifests(tenant_id, lora_id)))

    def _newest(self, lora_id: str, versions: Iterable[int], tenant_id: str) -> LoraRecord | None:
        """Return the newest of these versions that is not deleted."""
        newest_first = sorted(versions, reverse=True)
        return next((record for number in newest_first if (record := self._read(lora_id, number, tenant_id))), None)

    def _records(self, lora_id: str, versions: Iterable[int], tenant_id: str) -> tuple[LoraRecord, ...]:
        return tuple(record for number in versions if (record := self._read(lora_id, number, tenant_id)) is not None)

    def _read(self, lora_id: str, version: int, tenant_id: str) -> LoraRecord | None:
        """Return a manifest; None when there is none, or when its version was deleted."""
        try:
            values = json.loads(self._store.get_record(_manifest(lora_id, version, tenant_id)))
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


def _not_found(lora_id: str, version: int, field: str) -> LoraNotFound:
    what = f"{lora_id!r} version {version}" if version else repr(lora_id)
    return LoraNotFound(f"no LoRA {what} is registered: GET /loras or ListLoras tells which are", field=field)


def _seen_by(tenant_id: str) -> tuple[str, ...]:
    """Return whose LoRAs a tenant sees, its own first."""
    return tuple(dict.fromkeys((tenant_id, DEFAULT_TENANT)))


def _root(tenant_id: str) -> str:
    """Return where a tenant's LoRAs are; its id may have characters that a key of the store can't."""
    if tenant_id == DEFAULT_TENANT:
        return _SHARED_ROOT
    return f"tenants/{hashlib.sha256(tenant_id.encode()).hexdigest()[:32]}/loras"


def _manifest(lora_id: str, version: int, tenant_id: str) -> str:
    return f"{_root(tenant_id)}/{lora_id}/{version}.json"
