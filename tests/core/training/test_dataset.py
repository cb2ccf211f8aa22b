from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from core.faces import FaceAnalyser
from core.training.dataset import inspect_dataset, prepare_dataset
from core.training.settings import Framing, Policy, Reason
from core.training.spec import DatasetReport, Photo
from tests.core.training.conftest import MakeSpec, shots_of

Picture = npt.NDArray[np.uint8]


def reasons(report: DatasetReport, name: str) -> set[Reason]:
    photo = next(photo for photo in report.photos if photo.name == name)
    return {finding.reason for finding in photo.findings}


def blurred(rgb: Picture) -> Picture:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), 7), np.uint8)


def small_face(rgb: Picture) -> Picture:
    canvas = np.full((500, 500, 3), 128, np.uint8)
    canvas[200:300, 200:300] = cv2.resize(rgb, (100, 100), interpolation=cv2.INTER_AREA)
    return canvas


@pytest.fixture(scope="module")
def report(
    make_spec: MakeSpec, photos: list[Photo], another_person: list[Picture], analyser: FaceAnalyser
) -> DatasetReport:
    """Of ten good photos and one of each kind of bad one."""
    rgb = photos[0].rgb
    assert rgb is not None
    bad = {
        "same again": np.asarray(cv2.resize(rgb, (240, 240)), np.uint8),
        "someone else": another_person[0],
        "a wall": np.full((300, 300, 3), 127, np.uint8),
        "two people": np.hstack([shots_of(1, 1, first=50)[0], another_person[1]]),
        "out of focus": blurred(shots_of(1, 1, first=51)[0]),
        "far away": small_face(shots_of(1, 1, first=52)[0]),
        "tiny": np.asarray(cv2.resize(shots_of(1, 1, first=53)[0], (150, 150)), np.uint8),
    }
    every = [
        *photos,
        *(Photo(name, picture) for name, picture in bad.items()),
        Photo("cut off", None, error="truncated"),
    ]
    return inspect_dataset(every, make_spec(), analyser)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("same again", Reason.DUPLICATE),
        ("someone else", Reason.IDENTITY_OUTLIER),
        ("a wall", Reason.NO_FACE),
        ("two people", Reason.MULTI_FACE),
        ("out of focus", Reason.BLURRED),
        ("far away", Reason.FACE_TOO_SMALL),
        ("tiny", Reason.LOW_RESOLUTION),
        ("cut off", Reason.UNREADABLE),
    ],
)
def test_each_kind_of_bad_photo_is_rejected_with_its_reason(report: DatasetReport, name: str, reason: Reason) -> None:
    assert reason in reasons(report, name)
    photo = next(photo for photo in report.photos if photo.name == name)
    assert not photo.accepted and not photo.crops and not photo.caption


def test_good_photos_beside_bad_ones_are_all_taken(report: DatasetReport) -> None:
    good = [photo for photo in report.photos if photo.name.startswith("shot ")]
    assert all(photo.accepted and not photo.findings for photo in good)
    assert (report.accepted, report.usable, report.problems) == (10, True, ())


def test_the_report_says_why_and_by_how_much(report: DatasetReport) -> None:
    texts = [finding.message for photo in report.photos for finding in photo.findings]
    assert "nearly the same as 'shot 0'" in texts
    assert "truncated" in texts
    assert any("cosine" in text and "0.65" in text for text in texts)


def test_thumbnails_are_small_pictures_that_show_the_face(report: DatasetReport) -> None:
    for photo in report.photos:
        if photo.name == "cut off":
            assert photo.thumbnail == b""
            continue
        picture = cv2.imdecode(np.frombuffer(photo.thumbnail, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None and max(picture.shape) <= 320


def test_a_report_survives_json(report: DatasetReport) -> None:
    assert DatasetReport.from_json(report.to_json()) == report


def test_policy_decides_between_rejecting_and_warning(
    make_spec: MakeSpec, photos: list[Photo], analyser: FaceAnalyser
) -> None:
    every = [*photos, Photo("same again", photos[0].rgb)]
    spec = make_spec({"dataset": {"policy": {"duplicate": "warn"}}})
    last = inspect_dataset(every, spec, analyser).photos[-1]
    assert last.accepted and [finding.policy for finding in last.findings] == [Policy.WARN]


def test_an_extreme_pose_is_found(make_spec: MakeSpec, photos: list[Photo], analyser: FaceAnalyser) -> None:
    turns = [photo.turn_degrees for photo in inspect_dataset(photos, make_spec(), analyser).photos]
    limit = sorted(turn for turn in turns if turn is not None)[-2]
    spec = make_spec({"dataset": {"max_turn_degrees": limit}})
    found = [photo for photo in inspect_dataset(photos, spec, analyser).photos if photo.findings]
    assert [[finding.reason for finding in photo.findings] for photo in found] == [[Reason.EXTREME_POSE]]


def test_a_bystander_far_smaller_than_the_person_does_no_harm(
    make_spec: MakeSpec, photos: list[Photo], another_person: list[Picture], analyser: FaceAnalyser
) -> None:
    own = shots_of(1, 1, first=60)[0]
    beside = np.full((256, 140, 3), 128, np.uint8)
    beside[60:200] = cv2.resize(another_person[2], (140, 140), interpolation=cv2.INTER_AREA)
    every = [*photos, Photo("with a bystander", np.hstack([own, beside]))]
    last = inspect_dataset(every, make_spec(), analyser).photos[-1]
    assert len(analyser.analyse(every[-1].rgb)) == 2  # type: ignore[arg-type]
    assert last.accepted


def test_photos_of_two_people_in_equal_parts_cannot_be_trained_on(
    make_spec: MakeSpec, photos: list[Photo], another_person: list[Picture], analyser: FaceAnalyser
) -> None:
    every = [*photos[:5], *(Photo(f"other {k}", rgb) for k, rgb in enumerate(another_person))]
    report = inspect_dataset(every, make_spec(), analyser)
    assert not report.usable and "different people" in report.problems[0]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_photos_are_a_problem(
    make_spec: MakeSpec, photos: list[Photo], analyser: FaceAnalyser, count: int
) -> None:
    report = inspect_dataset(photos[:count], make_spec(), analyser)
    assert not report.usable and "at least 3" in report.problems[-1]


def test_too_many_photos_are_a_problem(make_spec: MakeSpec, photos: list[Photo], analyser: FaceAnalyser) -> None:
    report = inspect_dataset(photos, make_spec({"dataset": {"max_photos": 9}}), analyser)
    assert "at most 9" in report.problems[0]


def test_held_out_photos_are_never_trained_on(make_spec: MakeSpec, photos: list[Photo], analyser: FaceAnalyser) -> None:
    dataset = prepare_dataset(photos, make_spec(), analyser)
    held_out = [photo for photo in dataset.report.photos if photo.held_out]
    assert len(held_out) == 3 == len(dataset.references)
    assert dataset.references_held_out
    assert len(dataset.samples) == 7 == dataset.report.samples


def test_few_photos_are_all_trained_on_and_the_report_says_so(
    make_spec: MakeSpec, photos: list[Photo], analyser: FaceAnalyser
) -> None:
    dataset = prepare_dataset(photos[:6], make_spec(), analyser)
    assert not dataset.references_held_out and len(dataset.references) == 6 == len(dataset.samples)
    assert "scored against photos that are trained on" in dataset.report.warnings[0]


def test_large_photos_give_head_crops_too_and_every_resolution_its_own(
    make_spec: MakeSpec, analyser: FaceAnalyser
) -> None:
    large = []
    for k, rgb in enumerate(shots_of(1, 3)):
        wall = np.full((900, 700, 3), 150, np.uint8)
        wall[:450, 100:550] = cv2.resize(rgb, (450, 450))
        large.append(Photo(str(k), wall))
    spec = make_spec(
        {
            "dataset": {"framings": ["head", "half_body", "whole"]},
            "hyperparameters": {"resolutions": [{"side": 160}, {"side": 256}]},
        }
    )
    dataset = prepare_dataset(large, spec, analyser)
    sides = [sample.side for sample in dataset.samples]
    assert sides.count(160) == sides.count(256) > 0
    captions = {sample.caption for sample in dataset.samples}
    assert {"photo of ohwx person", "close-up portrait of ohwx person"} <= captions
    assert all(sample.size.pixels == pytest.approx(sample.side**2, rel=0.1) for sample in dataset.samples)
    for photo in dataset.report.photos:
        assert photo.crops[0].framing is Framing.WHOLE and photo.crops[-1].framing is Framing.HEAD


def test_captions_of_the_client_get_the_trigger_word_once(
    make_spec: MakeSpec, photos: list[Photo], analyser: FaceAnalyser
) -> None:
    captions = ["in a red shirt", "OHWX at the beach", "ohwxyz in a café", ""]
    every = [dataclasses.replace(photo, caption=text) for photo, text in zip(photos, captions, strict=False)]
    report = inspect_dataset(every, make_spec(), analyser)
    assert [photo.caption for photo in report.photos] == [
        "ohwx person, in a red shirt",
        "OHWX at the beach",
        "ohwx person, ohwxyz in a café",
        "photo of ohwx person",
    ]


def test_the_datasets_hash_follows_pixels_and_captions(
    make_spec: MakeSpec, photos: list[Photo], analyser: FaceAnalyser
) -> None:
    def digest(pictures: list[Photo]) -> str:
        return inspect_dataset(pictures, make_spec(), analyser).dataset_sha256

    first = digest(photos[:3])
    assert first == digest(photos[:3])
    assert first != digest([*photos[:2], dataclasses.replace(photos[2], caption="smiling")])
    assert first != digest(photos[1:4])
