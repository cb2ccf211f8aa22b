"""The artifact store."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.runtime.artifacts import ArtifactStore
from likeness.errors import ArtifactCorrupt, ArtifactNotFound, Conflict, InvalidRequest, PayloadTooLarge

SHA = hashlib.sha256(b"picture").hexdigest()
URI = f"artifact://images/{SHA}.png"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "artifacts"))


def test_a_file_is_kept_under_its_hash(store: ArtifactStore) -> None:
    assert store.put("images", b"picture", ".png") == URI
    assert store.put("images", b"picture", ".png") == URI
    assert store.get(URI) == b"picture"
    assert store.exists(URI)
    assert store.list("images") == (URI,)
    assert store.list("other") == ()


def test_a_deleted_file_is_gone(store: ArtifactStore) -> None:
    store.put("images", b"picture", ".png")
    assert store.delete(URI)
    assert not store.delete(URI)
    assert not store.exists(URI)
    with pytest.raises(ArtifactNotFound) as caught:
        store.get(URI, field="target_image.artifact_uri")
    assert caught.value.field == "target_image.artifact_uri"


def test_another_process_sees_the_same_files(store: ArtifactStore, tmp_path: Path) -> None:
    store.put("images", b"picture", ".png")
    assert ArtifactStore(f"file://{tmp_path / 'artifacts'}").get(URI) == b"picture"


def test_a_damaged_file_is_never_handed_out(store: ArtifactStore, tmp_path: Path) -> None:
    store.put("images", b"picture", ".png")
    (tmp_path / "artifacts" / "images" / f"{SHA}.png").write_bytes(b"pictur3")
    with pytest.raises(ArtifactCorrupt):
        store.get(URI)


def test_a_file_over_the_limit_is_not_read(store: ArtifactStore) -> None:
    store.put("images", b"picture", ".png")
    assert store.get(URI, max_bytes=7) == b"picture"
    with pytest.raises(PayloadTooLarge):
        store.get(URI, max_bytes=6)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "artifact://",
        f"file:///{SHA}",
        f"artifact://../{SHA}.png",
        f"artifact://images/../{SHA}.png",
        f"artifact://images/..%2f{SHA}.png",
        f"artifact:///etc/{SHA}",
        "artifact:///etc/passwd",
        f"artifact://images/{SHA}.png\n",
        f"artifact://images/{SHA}\x00.png",
        f"artifact://images/{SHA[:-1]}.png",
        f"artifact://images/{SHA.upper()}.png",
        f"artifact://Images/{SHA}.png",
        f"artifact://{'a' * 300}/{SHA}.png",
        f"artifact://{SHA}.png",
        f"artifact://images//{SHA}.png",
        f"artifact://.images/{SHA}.png",
    ],
)
def test_a_name_that_is_no_content_address_never_becomes_a_path(store: ArtifactStore, uri: str) -> None:
    for use in (store.get, store.exists, store.delete):
        with pytest.raises(InvalidRequest):
            use(uri)


@pytest.mark.parametrize(
    "key", ["", "/", "../x", "a/../b", "a//b", "/etc/passwd", "a/.b", "A", "a\x00b", "a\n", "a/" * 20]
)
def test_a_bad_key_is_a_programming_error(store: ArtifactStore, key: str) -> None:
    for use in (store.get_record, store.delete_record, store.list_records, store.list):
        with pytest.raises(ValueError, match="bad artifact key"):
            use(key)
    with pytest.raises(ValueError, match="bad artifact key"):
        store.put(key, b"")
    with pytest.raises(ValueError, match="bad suffix"):
        store.put("images", b"", "/../x")


def test_records_have_names_of_their_own(store: ArtifactStore) -> None:
    store.put_record("loras/anna/1.json", b"one")
    with pytest.raises(Conflict):
        store.put_record("loras/anna/1.json", b"other")
    assert store.get_record("loras/anna/1.json") == b"one"
    store.put_record("loras/anna/1.json", b"new", replace=True)
    store.put_record("loras/ben/1.json", b"two")
    assert store.get_record("loras/anna/1.json") == b"new"
    assert store.list_records("loras") == ("loras/anna/1.json", "loras/ben/1.json")
    assert store.list("loras") == ()
    assert store.delete_record("loras/anna/1.json")
    assert not store.delete_record("loras/anna/1.json")
    with pytest.raises(ArtifactNotFound):
        store.get_record("loras/anna/1.json")


def test_of_several_writers_of_a_record_one_wins(store: ArtifactStore) -> None:
    def write(number: int) -> bool:
        try:
            store.put_record("loras/anna/1.json", str(number).encode())
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(write, range(32)))
    assert won.count(True) == 1
    assert store.get_record("loras/anna/1.json") == str(won.index(True)).encode()


def test_nothing_but_whole_files_is_left_in_the_folder(store: ArtifactStore, tmp_path: Path) -> None:
    for _ in range(3):
        store.put("images", b"picture", ".png")
    files = [path.relative_to(tmp_path / "artifacts").as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [f"images/{SHA}.png"]


def test_a_bucket_in_memory_works_the_same() -> None:
    store = ArtifactStore("memory:///")
    assert store.get(store.put("images", b"picture", ".png")) == b"picture"
    with pytest.raises(ArtifactNotFound):
        store.get(f"artifact://images/{SHA[::-1]}.png")
