"""Face models that are kept: what can be read back, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from core.faces import FaceAnalyser
from core.runtime.artifacts import ArtifactStore
from likeness.errors import ArtifactCorrupt, Conflict, FaceModelIncompatible, FaceModelNotFound
from services.faceswap.face_model_store import FaceModelStore
from services.faceswap.face_models import Average, FaceModel

ENGINES = ("mesh",)


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path))


@pytest.fixture
def store(artifacts: ArtifactStore, analyser: FaceAnalyser) -> FaceModelStore:
    return FaceModelStore(artifacts, "r1", analyser.canonical)


def test_a_kept_model_comes_back_as_it_was(store: FaceModelStore, model: FaceModel) -> None:
    manifest = store.put("anna", model, ENGINES, replace=False)
    assert (manifest.photo_count, manifest.average, manifest.engines) == (3, Average.MEAN, ENGINES)
    reference = store.reference("anna", "mesh", field="face_model_id")
    assert reference.face_model_id == "anna"
    np.testing.assert_allclose(reference.embedding, model.embedding)
    for view, kept in zip(reference.views, model.views, strict=True):
        np.testing.assert_array_equal(view.image, kept.view.image)
        np.testing.assert_allclose(view.face.mesh.points, kept.view.face.mesh.points)
        assert view.face.attributes == kept.view.face.attributes
        assert view.face.pose.largest_difference(kept.view.face.pose) < 1e-6
    assert store.get("anna") == manifest


def test_a_name_is_taken_until_it_is_replaced_or_deleted(store: FaceModelStore, model: FaceModel) -> None:
    first = store.put("anna", model, ENGINES, replace=False)
    with pytest.raises(Conflict, match="set replace"):
        store.put("anna", model, ENGINES, replace=False)
    assert store.get("anna") == first
    store.reference("anna", "mesh", field="face_model_id")
    other = replace(model, photo_count=2, views=model.views[:1])
    assert store.put("anna", other, ENGINES, replace=True).photo_count == 2
    store.delete("anna")
    with pytest.raises(FaceModelNotFound, match="no face model 'anna'"):
        store.get("anna")
    with pytest.raises(FaceModelNotFound):
        store.delete("anna")


def test_no_file_is_left_behind(store: FaceModelStore, model: FaceModel, artifacts: ArtifactStore) -> None:
    store.put("anna", model, ENGINES, replace=False)
    store.put("bert", model, ENGINES, replace=False)
    store.put("anna", replace(model, views=model.views[:1]), ENGINES, replace=True)
    assert len(artifacts.list("face-models/files")) == 2
    store.delete("anna")
    store.reference("bert", "mesh", field="face_model_id")
    store.delete("bert")
    assert artifacts.list_records("face-models") == ()


def test_the_list_comes_in_pages_by_name(store: FaceModelStore, model: FaceModel) -> None:
    for name in ("bert", "anna", "carl"):
        store.put(name, model, ENGINES, replace=False)
    page, last = store.list(2, "")
    assert [item.face_model_id for item in page] == ["anna", "bert"]
    rest, end = store.list(2, last)
    assert ([item.face_model_id for item in rest], end) == (["carl"], "")


@pytest.mark.parametrize("name", ["../anna", "", "Anna", "a" * 65, "anna.json"])
def test_a_name_never_becomes_a_path(store: FaceModelStore, name: str) -> None:
    with pytest.raises(FaceModelNotFound):
        store.get(name)


def test_a_model_of_another_engine_or_other_networks_is_refused(
    store: FaceModelStore, artifacts: ArtifactStore, model: FaceModel, analyser: FaceAnalyser
) -> None:
    store.put("anna", model, ENGINES, replace=False)
    with pytest.raises(FaceModelIncompatible, match="has views for mesh, none for the engine 'inswapper'") as caught:
        store.reference("anna", "inswapper", field="references[1].face_model_id")
    assert caught.value.field == "references[1].face_model_id"
    with pytest.raises(FaceModelIncompatible, match="revision r1, these are r2: build it again"):
        FaceModelStore(artifacts, "r2", analyser.canonical).reference("anna", "mesh", field="face_model_id")


def test_a_damaged_model_is_said_to_be_one(
    store: FaceModelStore, model: FaceModel, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    manifest = store.put("anna", model, ENGINES, replace=False)
    tensors = load(artifacts.get(manifest.uri))
    tensors["view.0.mesh"] = tensors["view.0.mesh"][:5]
    uri = artifacts.put("face-models/files", save(tensors), ".safetensors")
    artifacts.put_record("face-models/manifests/anna.json", replace(manifest, uri=uri).to_json(), replace=True)
    with pytest.raises(ArtifactCorrupt, match="build it again"):
        store.reference("anna", "mesh", field="face_model_id")
    artifacts.put_record("face-models/manifests/anna.json", b"{", replace=True)
    with pytest.raises(ArtifactCorrupt, match="manifest"):
        store.get("anna")


def test_a_damaged_manifest_can_be_replaced_and_deleted_and_hides_no_other(
    store: FaceModelStore, model: FaceModel, artifacts: ArtifactStore, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("anna", "bert"):
        store.put(name, model, ENGINES, replace=False)
    artifacts.put_record("face-models/manifests/anna.json", b"garbage", replace=True)
    page, _ = store.list(10, "")
    assert [item.face_model_id for item in page] == ["bert"]
    assert "'anna' cannot be read" in caplog.text
    with pytest.raises(ArtifactCorrupt, match=r"'anna'.*replace, or delete it") as caught:
        store.reference("anna", "mesh", field="references[2].face_model_id")
    assert caught.value.field == "references[2].face_model_id"
    with pytest.raises(Conflict):
        store.check_free("anna")
    with pytest.raises(Conflict):
        store.put("anna", model, ENGINES, replace=False)
    assert store.put("anna", model, ENGINES, replace=True) == store.get("anna")
    artifacts.put_record("face-models/manifests/anna.json", b"[]", replace=True)
    store.delete("anna")
    with pytest.raises(FaceModelNotFound):
        store.get("anna")


def test_a_model_that_is_replaced_while_it_is_read_comes_whole(
    store: FaceModelStore, model: FaceModel, artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.put("anna", model, ENGINES, replace=False)
    read = store.get

    def replaced_after_the_read(face_model_id: str, *, field: str = "face_model_id") -> object:
        manifest = read(face_model_id, field=field)
        if manifest == first:
            store.put("anna", replace(model, views=model.views[:1]), ENGINES, replace=True)
        return manifest

    monkeypatch.setattr(store, "get", replaced_after_the_read)
    assert len(store.reference("anna", "mesh", field="face_model_id").views) == 1


def test_a_model_whose_file_is_gone_or_whose_embedding_is_not_finite_is_damaged(
    store: FaceModelStore, model: FaceModel, artifacts: ArtifactStore
) -> None:
    manifest = store.put("anna", model, ENGINES, replace=False)
    tensors = load(artifacts.get(manifest.uri))
    tensors["embedding"] = tensors["embedding"] * np.nan
    uri = artifacts.put("face-models/files", save(tensors), ".safetensors")
    artifacts.put_record("face-models/manifests/anna.json", replace(manifest, uri=uri).to_json(), replace=True)
    with pytest.raises(ArtifactCorrupt, match="cannot be read"):
        store.reference("anna", "mesh", field="face_model_id")
    artifacts.delete(uri)
    with pytest.raises(ArtifactCorrupt, match="is gone"):
        store.reference("anna", "mesh", field="face_model_id")
