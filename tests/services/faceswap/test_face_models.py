"""Face models: what becomes of the photos, what is kept, and what can be read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.numpy import load, save

from core.faces import FaceAnalyser, identity_score
from core.faces.arrays import Image
from core.runtime.artifacts import ArtifactStore
from likeness.errors import (
    ArtifactCorrupt,
    Conflict,
    FaceModelIncompatible,
    FaceModelNotFound,
    FaceTooSmall,
    PhotosUnusable,
)
from services.faceswap.engines.mesh import LIMITS, MeshEngine, MeshSettings
from services.faceswap.face_model_store import FaceModelStore
from services.faceswap.face_models import (
    Average,
    FaceModel,
    Photo,
    Rejection,
    average_embedding,
    build_face_model,
    cut_view,
    outliers,
    takes,
)
from services.faceswap.references import Reference, View, choose_view
from tests.support.faces import drawn, portrait, shots, side_by_side

ENGINES = ("mesh",)


def build(
    analyser: FaceAnalyser, *images: Image, average: Average = Average.MEAN
) -> tuple[FaceModel, tuple[Photo, ...]]:
    photos: list[Callable[[], Image]] = [lambda image=image: image for image in images]  # type: ignore[misc]
    return build_face_model(analyser, photos, average=average, min_score=0.5)


def blurred(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 9), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(analyser: FaceAnalyser) -> FaceModel:
    """A model of three drawn pictures of one person."""
    return build(analyser, *shots(0)[:3])[0]


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path))


@pytest.fixture
def store(artifacts: ArtifactStore, analyser: FaceAnalyser) -> FaceModelStore:
    return FaceModelStore(artifacts, "r1", analyser.canonical)


def test_photos_of_one_person_agree(analyser: FaceAnalyser, model: FaceModel) -> None:
    assert model.photo_count == 3
    assert model.agreement > 0.9
    assert np.linalg.norm(model.embedding) == pytest.approx(1)
    (unseen,) = analyser.analyse(shots(0)[3])
    assert identity_score(model.embedding, unseen.embedding) > 0.85


def test_a_photo_of_somebody_else_is_rejected_by_its_number(analyser: FaceAnalyser) -> None:
    first, second, third = shots(0)[:3]
    model, photos = build(analyser, first, portrait(), second, third)
    assert [photo.rejection for photo in photos] == [None, Rejection.OUTLIER, None, None]
    assert "to the other photos, below 0.3" in photos[1].detail
    assert photos[1].similarity is not None and photos[1].similarity < 0.3
    assert model.photo_count == 3
    assert 1 not in [view.image_index for view in model.views]


def test_photos_that_cannot_be_used_are_rejected_each_with_its_reason(analyser: FaceAnalyser) -> None:
    plain = np.full((200, 300, 3), 140, dtype=np.uint8)
    tiny = np.asarray(cv2.resize(shots(0)[2], (96, 96), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    soft = blurred(shots(0)[1])
    _, photos = build(analyser, plain, side_by_side(drawn(), portrait()), tiny, soft, shots(0)[0])
    assert [photo.rejection for photo in photos] == [
        Rejection.NO_FACE,
        Rejection.SEVERAL_FACES,
        Rejection.TOO_SMALL,
        Rejection.BLURRED,
        None,
    ]
    assert photos[1].detail == "it shows 2 faces: crop it to one"
    assert "at least 48 are needed" in photos[2].detail


def test_a_blurred_photo_is_better_than_none(analyser: FaceAnalyser) -> None:
    soft = blurred(shots(0)[1])
    model, photos = build(analyser, soft)
    assert model.photo_count == 1
    assert photos[0].rejection is None


def test_an_engine_is_listed_when_it_takes_a_view(analyser: FaceAnalyser, model: FaceModel, engine: MeshEngine) -> None:
    assert any(takes(engine, view) for view in model.views)
    strict = MeshEngine(analyser.canonical, MeshSettings(limits=replace(LIMITS, max_reference_turn_degrees=0.1)))
    assert not any(takes(strict, view) for view in model.views)


def test_without_a_usable_photo_each_is_told(analyser: FaceAnalyser) -> None:
    plain = np.full((200, 300, 3), 140, dtype=np.uint8)
    with pytest.raises(PhotosUnusable, match=r"photo 0: no face .*; photo 1: it shows 2 faces") as caught:
        build(analyser, plain, side_by_side(drawn(), portrait()))
    assert caught.value.field == "images"


def test_two_photos_of_different_people_make_no_model(analyser: FaceAnalyser) -> None:
    with pytest.raises(PhotosUnusable, match="different people: even photos 0 and 1"):
        build(analyser, portrait(), drawn(17, 512))


def test_outliers_are_taken_out_one_after_the_other() -> None:
    rng = np.random.default_rng(3)
    person = rng.normal(size=64)
    rows = [person + 0.4 * rng.normal(size=64) for _ in range(5)]
    rows[1:1] = [rng.normal(size=64)]
    rows.append(rng.normal(size=64))
    embeddings = np.stack([row / np.linalg.norm(row) for row in rows])
    assert sorted(outliers(embeddings)) == [1, 6]
    assert outliers(embeddings[:1]) == {}


def test_the_median_follows_a_stray_photo_less_than_the_mean_does() -> None:
    rng = np.random.default_rng(4)
    person = rng.normal(size=64)
    rows = np.stack([person + 0.2 * rng.normal(size=64) for _ in range(4)] + [-person * 2])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    truth = person / np.linalg.norm(person)
    mean, median = (average_embedding(rows, average) @ truth for average in (Average.MEAN, Average.MEDIAN))
    assert median > mean


def test_a_view_keeps_the_face_where_it_was(analyser: FaceAnalyser) -> None:
    picture = np.asarray(cv2.resize(portrait(), (1536, 1536), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    (face,) = analyser.analyse(picture)
    view = cut_view(picture, face, analyser.canonical)
    assert np.ptp(view.face.mesh.points[:, 0]) == pytest.approx(384, abs=2)
    assert view.image.shape[0] < 1000
    (again,) = analyser.analyse(view.image)
    assert np.abs(again.mesh.points - view.face.mesh.points)[:, :2].mean() < 3
    assert view.face.pose.largest_difference(face.pose) < 0.5


def test_the_view_nearest_in_pose_is_taken(analyser: FaceAnalyser, engine: MeshEngine) -> None:
    (face,) = analyser.analyse(portrait())
    cut = cut_view(portrait(), face, analyser.canonical)

    def turned(degrees: float) -> View:
        angle = np.radians(degrees)
        rotation = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
        placement = replace(face.placement, rotation=rotation)
        return View(cut.image, replace(cut.face, placement=placement))

    views = (turned(0), turned(20), turned(-10))
    reference = Reference(views, face.embedding)
    assert choose_view(reference, turned(19).face, engine) is views[1]
    assert choose_view(reference, turned(-19).face, engine) is views[1], "its mirror image is near"
    assert choose_view(reference, turned(1).face, engine) is views[0]
    small = replace(face, detection=replace(face.detection, box=np.array([0.0, 0, 20, 20])))
    with pytest.raises(FaceTooSmall):
        choose_view(reference, small, engine)


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
