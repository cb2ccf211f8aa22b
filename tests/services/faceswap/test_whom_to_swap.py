"""Several persons in one swap, over gRPC: who is changed, into whom, who is left, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import pytest

from core.faces import FaceAnalyser
from core.runtime.cancellation import CancelToken
from core.runtime.images import decode_image
from likeness.common.v1 import image_pb2
from likeness.errors import FaceTooSmall, LikenessError, from_rpc_error
from likeness.faceswap.v1 import faceswap_service_pb2 as pb2
from services.faceswap.engines.mesh import LIMITS, MeshEngine, MeshSettings
from services.faceswap.outcome import SwapChoices
from services.faceswap.references import ReferencePicture
from services.faceswap.selection import SkipReason
from services.faceswap.swapper import FaceSwapper
from tests.support.faces import drawn, group_photo, png, portrait, shots, side_by_side

if TYPE_CHECKING:
    from likeness.faceswap.v1.faceswap_service_pb2_grpc import FaceSwapServiceAsyncStub

LEFT_TO_RIGHT = pb2.FACE_ORDER_LEFT_TO_RIGHT
# Three people whom the attribute network calls female, male and female.
GROUP = (14, 17, 2)


def given(image: np.ndarray) -> image_pb2.ImageInput:
    return image_pb2.ImageInput(data=png(image))


def group() -> np.ndarray:
    return np.hstack([drawn(index) for index in GROUP])


def request(**changes: Any) -> pb2.SwapRequest:
    """Swap the portrait into the group, counted from the left."""
    values: dict[str, Any] = {
        "target_image": given(group()),
        "reference_image": given(portrait()),
        "target_order": LEFT_TO_RIGHT,
    }
    values |= changes
    return pb2.SwapRequest(**{name: value for name, value in values.items() if value is not None})


async def refusal(call: Any) -> LikenessError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def changed_thirds(response: pb2.SwapResponse, before: np.ndarray) -> list[bool]:
    """Tell for the left, middle and right third of the picture whether it was changed."""
    after = decode_image(response.image.data, field="image")
    columns = (after != before).any(axis=(0, 2))
    return [bool(part.any()) for part in np.array_split(columns, 3)]


def reasons(response: pb2.SwapResponse) -> dict[int, int]:
    return {item.target_face_index: item.reason for item in response.skipped}


async def test_the_gender_leaves_the_others_alone_and_says_so(stub: FaceSwapServiceAsyncStub) -> None:
    response = await stub.Swap(request(target_gender=pb2.GENDER_MALE))
    assert [face.gender for face in response.target_faces] == [pb2.GENDER_FEMALE, pb2.GENDER_MALE, pb2.GENDER_FEMALE]
    assert [item.target_face_index for item in response.swapped] == [1]
    assert reasons(response) == {0: pb2.SKIP_REASON_GENDER, 2: pb2.SKIP_REASON_GENDER}
    assert response.skipped[0].detail.startswith("looks female (0.")
    assert changed_thirds(response, group()) == [False, True, False]


async def test_an_index_counts_the_faces_that_the_gender_leaves(stub: FaceSwapServiceAsyncStub) -> None:
    response = await stub.Swap(request(target_gender=pb2.GENDER_FEMALE, target_face_indexes=[1]))
    assert [item.target_face_index for item in response.swapped] == [2]
    assert reasons(response) == {0: pb2.SKIP_REASON_NOT_ASKED, 1: pb2.SKIP_REASON_GENDER}
    error = await refusal(stub.Swap(request(target_gender=pb2.GENDER_FEMALE, target_face_indexes=[2])))
    assert (error.reason, error.field) == ("FACE_INDEX_OUT_OF_RANGE", "target_face_indexes")
    assert "3 faces, 2 of which" in error.message


async def test_a_gender_that_no_one_has_is_told_with_what_was_found(stub: FaceSwapServiceAsyncStub) -> None:
    error = await refusal(stub.Swap(request(reference_gender=pb2.GENDER_MALE)))
    assert (error.reason, error.field) == ("NO_MATCHING_FACE", "reference_image")
    assert "looks female" in error.message
    error = await refusal(stub.Swap(request(target_image=given(portrait()), target_gender=pb2.GENDER_MALE)))
    assert (error.reason, error.field) == ("NO_MATCHING_FACE", "target_image")
    assert "leave the gender out" in error.message


async def test_the_references_gender_picks_its_face(stub: FaceSwapServiceAsyncStub) -> None:
    pair = given(side_by_side(drawn(17), portrait()))
    response = await stub.Swap(
        request(reference_image=pair, reference_gender=pb2.GENDER_FEMALE, reference_order=LEFT_TO_RIGHT)
    )
    assert response.reference_face.index == 1


async def test_only_the_face_like_the_given_one_is_changed(stub: FaceSwapServiceAsyncStub) -> None:
    first, second = shots(0, size=256)[:2]
    target = np.hstack([drawn(14), first, drawn(2)])
    response = await stub.Swap(request(target_image=given(target), match_image=given(second), match_threshold=0.8))
    assert [item.target_face_index for item in response.swapped] == [1]
    assert response.swapped[0].match_score > 0.8
    assert reasons(response) == {0: pb2.SKIP_REASON_NO_MATCH, 2: pb2.SKIP_REASON_NO_MATCH}
    assert all(item.match_score < 0.8 for item in response.skipped)
    assert changed_thirds(response, target) == [False, True, False]
    error = await refusal(stub.Swap(request(match_image=given(portrait()))))
    assert error.reason == "NO_MATCHING_FACE"
    assert "cosine" in error.message
    plain = given(np.full((64, 64, 3), 90, dtype=np.uint8))
    error = await refusal(stub.Swap(request(match_image=plain)))
    assert (error.reason, error.field) == ("NO_FACE", "match_image")


async def test_references_go_to_the_faces_in_turn(stub: FaceSwapServiceAsyncStub) -> None:
    two = [pb2.Reference(image=given(portrait())), pb2.Reference(image=given(drawn(21)))]
    response = await stub.Swap(request(reference_image=None, references=two))
    assert [(item.target_face_index, item.reference_index) for item in response.swapped] == [(0, 0), (1, 1)]
    response = await stub.Swap(request(reference_image=None, references=two, all_target_faces=True))
    assert [item.reference_index for item in response.swapped] == [0, 1, 0]
    assert all(item.identity_after > item.identity_before for item in response.swapped)
    assert len(response.references) == 2
    assert not response.skipped


async def test_a_pairing_says_who_becomes_whom(stub: FaceSwapServiceAsyncStub) -> None:
    two = [pb2.Reference(image=given(portrait())), pb2.Reference(image=given(drawn(21)))]
    response = await stub.Swap(
        request(reference_image=None, references=two, target_face_indexes=[2, 0], pairing=[1, 0])
    )
    assert [(item.target_face_index, item.reference_index) for item in response.swapped] == [(2, 1), (0, 0)]
    error = await refusal(stub.Swap(request(reference_image=None, references=two, pairing=[0, 2])))
    assert (error.reason, error.field) == ("INVALID_REQUEST", "pairing")
    assert "counted from 0" in error.message
    error = await refusal(stub.Swap(request(target_face_indexes=[0, 1], pairing=[0])))
    assert "1 entries, but 2 faces" in error.message


async def test_faces_of_one_reference_picture_go_to_several_faces(stub: FaceSwapServiceAsyncStub) -> None:
    pair = given(side_by_side(portrait(), drawn(21)))
    response = await stub.Swap(
        request(reference_image=pair, reference_face_indexes=[1, 0], reference_order=LEFT_TO_RIGHT)
    )
    assert [reference.face.index for reference in response.references] == [1, 0]
    assert [item.target_face_index for item in response.swapped] == [0, 1]
    error = await refusal(stub.Swap(request(reference_image=pair, reference_face_indexes=[0, 2])))
    assert (error.reason, error.field) == ("FACE_INDEX_OUT_OF_RANGE", "reference_face_indexes")


async def test_more_references_than_faces_is_a_warning(stub: FaceSwapServiceAsyncStub) -> None:
    two = [pb2.Reference(image=given(portrait())), pb2.Reference(image=given(drawn(21)))]
    response = await stub.Swap(request(target_image=given(drawn()), reference_image=None, references=two))
    assert len(response.swapped) == 1
    assert "reference 1 was not used: the target has no face left for it" in response.warnings


def test_with_all_faces_one_that_the_engine_refuses_is_skipped(analyser: FaceAnalyser) -> None:
    faces = sorted(analyser.analyse(group()), key=lambda face: face.width)
    between = round((faces[0].width + faces[1].width) / 2)
    limits = replace(LIMITS, min_target_face_pixels=between)
    swapper = FaceSwapper(analyser, [MeshEngine(analyser.canonical, MeshSettings(limits=limits))])
    sources = [ReferencePicture(portrait(), "reference_image", "reference_face_index")]
    outcome = swapper.swap(group(), sources, SwapChoices(all_target_faces=True), CancelToken())
    assert len(outcome.swapped) == 2
    assert [(item.index, item.reason) for item in outcome.skipped] == [(2, SkipReason.TOO_SMALL)]
    assert f"at least {between} are needed" in outcome.skipped[0].detail
    with pytest.raises(FaceTooSmall):
        swapper.swap(group(), sources, SwapChoices(target_face_indexes=(0, 2)), CancelToken())


async def test_real_people_who_are_turned_away_are_skipped_with_their_angles(stub: FaceSwapServiceAsyncStub) -> None:
    photo = group_photo()
    if photo is None:
        pytest.skip("the insightface package is not installed")
    response = await stub.Swap(request(target_image=given(photo), all_target_faces=True))
    assert len(response.target_faces) == 6 == len(response.swapped) + len(response.skipped)
    assert set(reasons(response).values()) == {pb2.SKIP_REASON_TURNED_TOO_FAR}
    assert all("yaw" in item.detail for item in response.skipped)
    women = await stub.Swap(request(target_image=given(photo), all_target_faces=True, target_gender=pb2.GENDER_FEMALE))
    assert len([item for item in women.skipped if item.reason == pb2.SKIP_REASON_GENDER]) == 3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reference_image": None}, "reference_image"),
        ({"face_model_id": "anna"}, "reference_image"),
        ({"references": [pb2.Reference(face_model_id="anna")]}, "reference_image"),
        ({"reference_image": None, "references": [pb2.Reference()]}, "references[0].source"),
        ({"reference_face_index": 0, "reference_face_indexes": [0]}, "reference_face_indexes"),
        ({"reference_image": None, "face_model_id": "anna", "reference_face_index": 0}, "reference_face_index"),
        ({"all_target_faces": True, "target_face_indexes": [0]}, "all_target_faces"),
        ({"match_threshold": 0.5}, "match_threshold"),
        ({"reference_image": None, "face_model_id": "../x"}, "face_model_id"),
        ({"swap_weight": 1.5}, "swap_weight"),
        ({"pairing": [16]}, "pairing[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_what_makes_no_sense_is_refused_by_its_field(
    stub: FaceSwapServiceAsyncStub, changes: dict[str, Any], field: str
) -> None:
    error = await refusal(stub.Swap(request(**changes)))
    assert error.reason == "INVALID_REQUEST"
    assert field in [violation.field for violation in error.violations]


async def test_the_path_of_a_bad_reference_is_named(stub: FaceSwapServiceAsyncStub) -> None:
    plain = given(np.full((64, 64, 3), 90, dtype=np.uint8))
    two = [pb2.Reference(image=given(portrait())), pb2.Reference(image=plain)]
    error = await refusal(stub.Swap(request(reference_image=None, references=two)))
    assert (error.reason, error.field) == ("NO_FACE", "references[1].image")
    small = pb2.Reference(image=given(portrait()[::8, ::8]))
    error = await refusal(stub.Swap(request(reference_image=None, references=[two[0], small])))
    assert error.reason in ("FACE_TOO_SMALL", "NO_FACE")
    assert error.field == "references[1].image"


async def test_a_target_of_twenty_thousand_pixels_is_refused_with_the_limit(stub: FaceSwapServiceAsyncStub) -> None:
    # Only the header says so: nothing is decoded.
    header = bytearray(png(portrait()))
    header[16:24] = (20_000).to_bytes(4, "big") * 2
    error = await refusal(stub.Swap(request(target_image=image_pb2.ImageInput(data=bytes(header)))))
    assert error.reason in ("IMAGE_TOO_LARGE", "IMAGE_UNREADABLE")
    assert error.field == "target_image.data"


async def test_a_lower_weight_gives_a_lesser_likeness(stub: FaceSwapServiceAsyncStub) -> None:
    after = {}
    for weight in (0.0, 0.5, 1.0):
        response = await stub.Swap(request(target_image=given(drawn()), swap_weight=weight))
        after[weight] = response.swapped[0].identity_after
        if weight == 0:
            assert np.array_equal(decode_image(response.image.data, field="image"), drawn())
    assert after[0.0] + 0.1 < after[0.5] < after[1.0] - 0.1


async def test_faces_to_compare_are_picked_by_their_index(stub: FaceSwapServiceAsyncStub) -> None:
    pair = given(side_by_side(portrait(), drawn(17)))
    same, other = [
        await stub.CompareFaces(
            pb2.CompareFacesRequest(
                first_image=pair, second_image=given(portrait()), first_face_index=index, order=LEFT_TO_RIGHT
            )
        )
        for index in (0, 1)
    ]
    assert same.identity > 0.8
    assert other.identity < 0.4
    assert (same.first_face.index, other.first_face.index) == (0, 1)
    error = await refusal(
        stub.CompareFaces(
            pb2.CompareFacesRequest(first_image=pair, second_image=given(portrait()), second_face_index=1)
        )
    )
    assert (error.reason, error.field) == ("FACE_INDEX_OUT_OF_RANGE", "second_face_index")


async def test_found_faces_can_be_drawn_onto_their_picture(stub: FaceSwapServiceAsyncStub) -> None:
    drawing = image_pb2.ImageOutput(format=image_pb2.IMAGE_FORMAT_PNG)
    response = await stub.DetectFaces(
        pb2.DetectFacesRequest(image=given(group()), order=LEFT_TO_RIGHT, drawing=drawing)
    )
    picture = decode_image(response.drawing.data, field="drawing")
    changed = (picture != group()).any(axis=2)
    for face in response.faces:
        x, y = round(face.box.x), round(face.box.y + face.box.height / 2)
        assert changed[y, x]
        assert not changed[y, round(face.box.x + face.box.width / 4)]
    plain = await stub.DetectFaces(pb2.DetectFacesRequest(image=given(group())))
    assert not plain.HasField("drawing")
