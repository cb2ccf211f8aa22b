"""The rules that leave the faces which a request means, each after the one before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.faces import Face, FaceAttributes, Gender
from likeness.errors import FaceIndexOutOfRange, NoFace, NoMatchingFace, SeveralFaces
from services.faceswap.selection import FaceRules, Match, SkipReason, apply_rules, only_face


def face(reference: Face, gender: Gender | None, direction: int = 0) -> Face:
    """A face of a gender, whose embedding points in a direction of its own."""
    embedding = np.zeros(256)
    embedding[direction] = 1.0
    looks = None if gender is None else FaceAttributes(gender, 0.9, 30.0)
    return replace(reference, attributes=looks, embedding=embedding)


@pytest.fixture
def group(reference: Face) -> list[Face]:
    genders = [Gender.MALE, Gender.FEMALE, Gender.MALE, Gender.FEMALE]
    return [face(reference, gender, direction) for direction, gender in enumerate(genders)]


def test_without_rules_all_faces_are_left(group: list[Face]) -> None:
    remaining = apply_rules(group, FaceRules(), field="target_image", picture="target")
    assert remaining.kept == (0, 1, 2, 3)
    assert not remaining.skipped


def test_the_gender_skips_only_the_faces_of_the_other_one(group: list[Face]) -> None:
    remaining = apply_rules(group, FaceRules(gender=Gender.FEMALE), field="target_image", picture="target")
    assert remaining.kept == (1, 3)
    assert [(item.index, item.reason) for item in remaining.skipped] == [(0, SkipReason.GENDER), (2, SkipReason.GENDER)]
    assert remaining.skipped[0].detail == "looks male (0.90), not female"


def test_an_index_counts_what_gender_and_match_have_left(group: list[Face]) -> None:
    remaining = apply_rules(group, FaceRules(gender=Gender.FEMALE), field="target_image", picture="target")
    assert remaining.at(1, field="target_face_indexes", picture="target") == 3
    with pytest.raises(FaceIndexOutOfRange, match="shows 4 faces, 2 of which the gender and the match leave") as caught:
        remaining.at(2, field="target_face_indexes", picture="target")
    assert caught.value.field == "target_face_indexes"
    assert caught.value.metadata["faces"] == "2"


def test_the_match_comes_after_the_gender(group: list[Face]) -> None:
    rules = FaceRules(gender=Gender.FEMALE, match=Match(group[3].embedding, 0.5))
    remaining = apply_rules(group, rules, field="target_image", picture="target")
    assert remaining.kept == (3,)
    reasons = {item.index: item.reason for item in remaining.skipped}
    assert reasons == {0: SkipReason.GENDER, 1: SkipReason.NO_MATCH, 2: SkipReason.GENDER}
    assert {item.index: item.match_score for item in remaining.skipped}[1] == pytest.approx(0.0)


def test_a_picture_without_a_face_and_a_kind_that_no_face_is_of_are_told_apart(group: list[Face]) -> None:
    with pytest.raises(NoFace, match="a lower min_score"):
        apply_rules([], FaceRules(), field="target_image", picture="target")
    men = [group[0], group[2]]
    with pytest.raises(NoMatchingFace, match=r"2 faces, but none .* face 0 looks male \(0\.90\)") as caught:
        apply_rules(men, FaceRules(gender=Gender.FEMALE), field="target_image", picture="target")
    assert caught.value.field == "target_image"
    with pytest.raises(NoMatchingFace, match="lower match_threshold"):
        apply_rules(men, FaceRules(match=Match(group[1].embedding, 0.5)), field="target_image", picture="target")


def test_a_face_of_unknown_gender_is_of_neither(reference: Face) -> None:
    with pytest.raises(NoMatchingFace, match="looks unknown"):
        apply_rules([face(reference, None)], FaceRules(gender=Gender.MALE), field="target_image", picture="target")


def test_of_several_faces_the_gender_may_leave_the_one_that_is_meant(group: list[Face]) -> None:
    names = {"field": "reference_image", "index_field": "reference_face_index", "picture": "reference"}
    pair = apply_rules(group[:2], FaceRules(gender=Gender.MALE), field="reference_image", picture="reference")
    assert only_face(pair, **names) == 0
    several = apply_rules(group, FaceRules(gender=Gender.MALE), field="reference_image", picture="reference")
    with pytest.raises(SeveralFaces, match=r"4 faces, 2 of which the gender leaves: .* reference_face_index"):
        only_face(several, **names)
