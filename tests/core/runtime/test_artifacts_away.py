"""The artifact store over an object store that is away, refuses, or comes back."""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from obstore.exceptions import BaseError

from core.runtime.artifacts import ArtifactStore, StoreUnavailable
from likeness.errors import ArtifactNotFound, Conflict, ServiceUnavailable, from_status, to_status
from tests.support.object_store import URL, Bucket, point_to, running_bucket
from tests.support.services import unused_address

PICTURE = f"artifact://images/{hashlib.sha256(b'picture').hexdigest()}.png"
RECORD = "loras/anna/1.json"
USES: dict[str, Callable[[ArtifactStore], object]] = {
    "put": lambda store: store.put("images", b"picture", ".png"),
    "get": lambda store: store.get(PICTURE),
    "exists": lambda store: store.exists(PICTURE),
    "delete": lambda store: store.delete(PICTURE),
    "list": lambda store: store.list("images"),
    "put_record": lambda store: store.put_record(RECORD, b"one"),
    "get_record": lambda store: store.get_record(RECORD),
    "delete_record": lambda store: store.delete_record(RECORD),
    "list_records": lambda store: store.list_records("loras"),
}
each_use = pytest.mark.parametrize("use", USES.values(), ids=USES)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with running_bucket(monkeypatch) as running:
        yield running


def test_an_object_store_keeps_files_and_records(bucket: Bucket) -> None:
    store = ArtifactStore(URL)
    assert store.get(store.put("images", b"picture", ".png")) == b"picture"
    assert store.list("images") == (PICTURE,)
    store.put_record(RECORD, b"one")
    with pytest.raises(Conflict):
        store.put_record(RECORD, b"other")
    store.put_record(RECORD, b"new", replace=True)
    assert store.get_record(RECORD) == b"new"
    assert store.delete(PICTURE)
    assert not store.delete(PICTURE)
    with pytest.raises(ArtifactNotFound):
        store.get(PICTURE)


@pytest.mark.parametrize("use", [USES["put"], USES["get"], USES["list"]], ids=["put", "get", "list"])
def test_a_store_that_cannot_be_reached_is_unavailable_for_a_while(
    monkeypatch: pytest.MonkeyPatch, use: Callable[[ArtifactStore], object]
) -> None:
    address = unused_address()
    point_to(f"http://{address}", monkeypatch)
    with pytest.raises(StoreUnavailable) as caught:
        use(ArtifactStore(URL))
    told = from_status(to_status(caught.value))
    assert isinstance(told, ServiceUnavailable)
    assert (told.code, told.http_status, told.reason) == (grpc.StatusCode.UNAVAILABLE, 503, "SERVICE_UNAVAILABLE")
    assert told.retry_after_seconds
    assert address not in told.message


@each_use
def test_a_store_that_fails_is_unavailable(
    bucket: Bucket, use: Callable[[ArtifactStore], object], caplog: pytest.LogCaptureFixture
) -> None:
    bucket.status = 500
    with caplog.at_level(logging.WARNING), pytest.raises(StoreUnavailable):
        use(ArtifactStore(URL))
    assert "the artifact store fails" in caplog.text


@pytest.mark.parametrize("status", [408, 429, 503])
def test_a_store_that_has_too_much_to_do_is_unavailable(bucket: Bucket, status: int) -> None:
    bucket.status = status
    with pytest.raises(StoreUnavailable):
        ArtifactStore(URL).get(PICTURE)


@each_use
def test_a_store_that_refuses_the_keys_is_no_store_that_is_away(
    bucket: Bucket, use: Callable[[ArtifactStore], object]
) -> None:
    for status in (401, 403):
        bucket.status = status
        with pytest.raises(BaseError, match=str(status)):
            use(ArtifactStore(URL))


def test_a_bucket_that_is_not_there_is_no_store_that_is_away(bucket: Bucket) -> None:
    bucket.status = 404
    store = ArtifactStore(URL)
    with pytest.raises(ArtifactNotFound):
        store.get(PICTURE)
    with pytest.raises(FileNotFoundError):
        store.put("images", b"picture", ".png")
    with pytest.raises(BaseError, match="404"):
        store.list("images")


def test_a_folder_that_cannot_be_used_is_no_store_that_is_away(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    (tmp_path / "images").write_bytes(b"a file in the place of a folder")
    for use in (USES["put"], USES["get"], USES["delete"]):
        with pytest.raises(BaseError, match="LocalFileSystem"):
            use(store)


def test_a_name_that_does_not_resolve_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    point_to("http://store.invalid", monkeypatch)
    monkeypatch.setenv("NO_PROXY", "store.invalid")
    with pytest.raises(StoreUnavailable):
        ArtifactStore(URL).get(PICTURE)


def test_a_server_that_never_answers_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_to(f"http://127.0.0.1:{silent.getsockname()[1]}", monkeypatch)
        monkeypatch.setenv("AWS_TIMEOUT", "200ms")
        store = ArtifactStore(URL)
        for use in (USES["get"], USES["put"]):
            with pytest.raises(StoreUnavailable):
                use(store)


def test_a_failure_in_passing_is_not_noticed(bucket: Bucket) -> None:
    bucket.failing_puts = 1
    assert ArtifactStore(URL).put("images", b"picture", ".png") == PICTURE
    assert bucket.refused == 1
