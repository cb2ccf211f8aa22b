from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.qwen.loras.registry import LoraFacts, LoraRegistry
from core.runtime.artifacts import ArtifactStore
from likeness.errors import ArtifactCorrupt, InvalidRequest, LoraNotFound

FACTS = LoraFacts(format="kohya", rank=16, modules=240, base_model="likeness/test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def registry(folder: Path) -> LoraRegistry:
    return LoraRegistry(ArtifactStore(str(folder)))


def test_versions_count_from_one(registry: LoraRegistry) -> None:
    first = registry.register("anna", b"first", facts=FACTS, trigger_word="ohwx")
    second = registry.register("anna", b"second", facts=FACTS)
    assert (first.version, second.version) == (1, 2)
    assert registry.get("anna") == second
    assert registry.get("anna", 1) == first
    assert (first.trigger_word, first.format, first.rank, first.size_bytes) == ("ohwx", "kohya", 16, 5)
    assert (registry.read(first), registry.read(second)) == (b"first", b"second")


def test_a_new_process_finds_what_another_registered(registry: LoraRegistry, folder: Path) -> None:
    record = registry.register("anna", b"first", facts=FACTS)
    assert LoraRegistry(ArtifactStore(str(folder))).get("anna") == record


def test_registrations_at_the_same_time_get_versions_of_their_own(registry: LoraRegistry) -> None:
    with ThreadPoolExecutor(8) as pool:
        records = list(pool.map(lambda k: registry.register("anna", b"%d" % k, facts=FACTS), range(24)))
    assert sorted(record.version for record in records) == list(range(1, 25))
    assert {registry.read(record) for record in records} == {b"%d" % k for k in range(24)}


def test_a_deleted_versions_number_is_never_given_again(registry: LoraRegistry) -> None:
    for data in (b"1", b"2", b"3"):
        registry.register("anna", data, facts=FACTS)
    assert [record.version for record in registry.delete("anna", 3)] == [3]
    assert registry.get("anna").version == 2
    assert registry.register("anna", b"4", facts=FACTS).version == 4
    assert [record.version for record in registry.delete("anna")] == [1, 2, 4]
    assert registry.register("anna", b"5", facts=FACTS).version == 5


def test_deleting_removes_the_file_and_no_other(registry: LoraRegistry, folder: Path) -> None:
    record = registry.register("anna", b"the same bytes", facts=FACTS)
    twin = registry.register("anna", b"the same bytes", facts=FACTS)
    registry.delete("anna", 1)
    assert len(list(folder.rglob("*.safetensors"))) == 1
    assert registry.read(twin) == b"the same bytes"
    with pytest.raises(LoraNotFound, match="deleted"):
        registry.read(record)


@pytest.mark.parametrize("version", [0, 1, 7])
def test_what_is_not_registered_is_not_found(registry: LoraRegistry, version: int) -> None:
    for act in (registry.get, registry.delete):
        with pytest.raises(LoraNotFound) as told:
            act("anna", version)
        assert told.value.field == "lora_id"


def test_a_deleted_lora_is_not_found(registry: LoraRegistry) -> None:
    registry.register("anna", b"1", facts=FACTS)
    registry.delete("anna")
    for version in (0, 1):
        with pytest.raises(LoraNotFound):
            registry.get("anna", version)
    assert registry.list(page_size=10) == ((), "")


def test_pages_list_the_newest_of_each(registry: LoraRegistry) -> None:
    assert registry.list(page_size=2) == ((), "")
    for name in ("carl", "anna", "bob", "dora", "bob-2"):
        registry.register(name, b"1", facts=FACTS)
        registry.register(name, b"2", facts=FACTS)
    registry.delete("carl")
    pages, token = [], ""
    while True:
        records, token = registry.list(page_size=2, after=token)
        pages.append([(record.lora_id, record.version) for record in records])
        if not token:
            break
    assert pages == [[("anna", 2), ("bob", 2)], [("bob-2", 2), ("dora", 2)]]


def test_a_file_that_changed_in_the_store_is_not_handed_out(registry: LoraRegistry, folder: Path) -> None:
    record = registry.register("anna", b"whole", facts=FACTS)
    next(folder.rglob("*.safetensors")).write_bytes(b"WHOLE")
    with pytest.raises(ArtifactCorrupt):
        registry.read(record)


def test_a_damaged_manifest_is_told(registry: LoraRegistry, folder: Path) -> None:
    registry.register("anna", b"1", facts=FACTS)
    for damage in ("{", "[1]", '{"lora_id": "anna"}'):
        (folder / "loras/anna/1.json").write_text(damage)
        with pytest.raises(ArtifactCorrupt, match="manifest"):
            registry.get("anna")


@pytest.mark.parametrize("lora_id", ["", "../x", "A", "a/b", ".a", "a" * 65, "a\n", "_a"])
def test_an_id_is_never_a_path(registry: LoraRegistry, lora_id: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape("a-z")):
        registry.register(lora_id, b"1", facts=FACTS)
    with pytest.raises(InvalidRequest):
        registry.get(lora_id, 1)
    if lora_id:
        with pytest.raises(InvalidRequest):
            registry.list(page_size=1, after=lora_id)


def test_a_tenants_lora_is_its_own(registry: LoraRegistry) -> None:
    mine = registry.register("anna", b"mine", facts=FACTS, tenant_id="A.b-C")
    theirs = registry.register("anna", b"theirs", facts=FACTS, tenant_id="other")
    assert (mine.version, theirs.version, mine.shared) == (1, 1, False)
    for tenant, record in (("A.b-C", mine), ("other", theirs)):
        assert registry.get("anna", tenant_id=tenant) == record
        assert registry.list(page_size=5, tenant_id=tenant) == ((record,), "")
    for tenant in ("third", "a.b-c", "default"):
        with pytest.raises(LoraNotFound):
            registry.get("anna", 1, tenant_id=tenant)
        with pytest.raises(LoraNotFound):
            registry.delete("anna", tenant_id=tenant)
        assert registry.forget("anna", tenant_id=tenant) == ()
        assert registry.list(page_size=5, tenant_id=tenant) == ((), "")
    assert registry.read(mine) == b"mine"


def test_the_default_tenants_loras_are_everybodys_to_use_and_its_own_to_delete(registry: LoraRegistry) -> None:
    shared = registry.register("style", b"shared", facts=FACTS)
    assert shared.shared
    assert registry.get("style", 1, tenant_id="one") == shared
    with pytest.raises(LoraNotFound):
        registry.delete("style", tenant_id="one")
    assert registry.forget("style", tenant_id="one") == ()
    assert registry.get("style") == shared


def test_a_name_of_ones_own_hides_the_shared_one(registry: LoraRegistry) -> None:
    registry.register("style", b"shared 1", facts=FACTS)
    newest = registry.register("style", b"shared 2", facts=FACTS)
    registry.register("plain", b"shared", facts=FACTS)
    own = registry.register("style", b"own", facts=FACTS, tenant_id="one")
    assert registry.get("style", tenant_id="one") == own
    with pytest.raises(LoraNotFound):
        registry.get("style", 2, tenant_id="one")
    records, token = registry.list(page_size=1, tenant_id="one")
    assert [(record.lora_id, record.shared) for record in records] == [("plain", True)]
    records, token = registry.list(page_size=1, after=token, tenant_id="one")
    assert ([record.tenant_id for record in records], token) == (["one"], "")
    registry.delete("style", tenant_id="one")
    assert registry.get("style", tenant_id="one") == newest


@pytest.mark.parametrize("tenant", ["default", "one"])
def test_a_forgotten_name_leaves_no_trace(registry: LoraRegistry, folder: Path, tenant: str) -> None:
    kept = registry.register("anna-2", b"another's", facts=FACTS, tenant_id=tenant)
    before = {path for path in folder.rglob("*") if path.is_file()}
    for data in (b"1", b"2", b"3"):
        registry.register("anna", data, facts=FACTS, tenant_id=tenant)
    registry.delete("anna", 2, tenant_id=tenant)
    assert [record.version for record in registry.forget("anna", tenant_id=tenant)] == [1, 3]
    assert {path for path in folder.rglob("*") if path.is_file()} == before
    assert not list(folder.rglob("anna"))
    assert registry.forget("anna", tenant_id=tenant) == ()
    assert registry.get("anna-2", tenant_id=tenant) == kept
    assert registry.register("anna", b"4", facts=FACTS, tenant_id=tenant).version == 1


def test_a_manifest_of_before_there_were_tenants_is_a_shared_one(registry: LoraRegistry, folder: Path) -> None:
    record = registry.register("anna", b"1", facts=FACTS)
    file = folder / "loras/anna/1.json"
    values = json.loads(file.read_text())
    del values["tenant_id"]
    file.write_text(json.dumps(values))
    assert registry.get("anna", tenant_id="one") == record


class Interrupted(ArtifactStore):
    """A store in which something else happens right before a manifest is written, or a record is removed."""

    def __init__(self, folder: Path) -> None:
        """Let nothing happen yet."""
        super().__init__(str(folder))
        self.before_manifest: list[Callable[[], object]] = []
        self.before_removal: list[Callable[[], object]] = []

    def put_record(self, key: str, data: bytes, *, replace: bool = False) -> None:
        """Keep a record, after what was to happen."""
        while self.before_manifest:
            self.before_manifest.pop()()
        super().put_record(key, data, replace=replace)

    def delete_record(self, key: str) -> bool:
        """Remove a record, after what was to happen."""
        while self.before_removal:
            self.before_removal.pop()()
        return super().delete_record(key)


def test_a_name_that_is_forgotten_while_a_file_is_registered_has_the_file_afterwards(folder: Path) -> None:
    store = Interrupted(folder)
    registry = LoraRegistry(store)
    registry.register("anna", b"before", facts=FACTS)
    store.before_manifest.append(lambda: registry.forget("anna"))
    record = registry.register("anna", b"after", facts=FACTS)
    assert registry.read(registry.get("anna")) == b"after"
    assert (registry.get("anna"), record.version) == (record, 1)
    assert len(store.list_records("loras")) == 2


def test_no_manifest_stays_whose_file_was_forgotten_before_it_came(folder: Path) -> None:
    store = Interrupted(folder)
    registry = LoraRegistry(store)
    registry.register("anna", b"one", facts=FACTS)

    def manifest_of_a_file_that_is_there() -> None:
        """Write what a registration writes whose process is killed right after."""
        known = json.loads(store.get_record("loras/anna/1.json"))
        store.put_record("loras/anna/2.json", json.dumps({**known, "version": 2}).encode())

    store.before_removal.append(manifest_of_a_file_that_is_there)
    assert [record.version for record in registry.forget("anna")] == [1]
    assert store.list_records("loras") == ()


def test_a_page_reads_the_stores_directory_once_for_each_that_may_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = LoraRegistry(ArtifactStore(str(folder)))
    for number in range(6):
        registry.register(f"lora-{number}", b"%d" % number, facts=FACTS, tenant_id=("default", "acme")[number % 2])
    listed: list[str] = []
    list_records = ArtifactStore.list_records

    def counted(store: ArtifactStore, prefix: str) -> tuple[str, ...]:
        listed.append(prefix)
        return list_records(store, prefix)

    monkeypatch.setattr(ArtifactStore, "list_records", counted)
    records, _ = registry.list(page_size=100, tenant_id="acme")
    assert [record.lora_id for record in records] == [f"lora-{number}" for number in range(6)]
    assert len(listed) == 2
