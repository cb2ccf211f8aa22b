from __future__ import annotations

import pytest

from gateway.errors import in_rest_names, problem_headers, rest_field
from likeness.errors import ERRORS, InvalidRequest, NoFace, QueueFull
from likeness.errors import FieldViolation as Violation
from tests.gateway.conftest import House, portrait


async def test_every_error_of_the_table_passes_through_both_protocols(house: House) -> None:
    for reason, kind in ERRORS.items():
        house.generator.error = kind("a message", field="prompt")
        answer = await house.http.post("/qwen-image-2512", json={"prompt": "p"})
        document = answer.json()
        told = (answer.status_code, document["reason"], document["detail"], document.get("field"))
        assert told == (kind.http_status, reason, "a message", "prompt")
        assert document["type"] == f"https://likeness.dev/errors/{reason.lower().replace('_', '-')}"
        assert ("retry-after" in answer.headers) == (kind.http_status == 503)


async def test_every_error_of_the_faceswap_service_passes_too(house: House) -> None:
    for reason, kind in ERRORS.items():
        house.faceswap.detect_error = kind("a message", field="image.data")
        document = (await house.http.post("/qwen-faceswap", json=portrait())).json()
        assert (document["status"], document["reason"], document["field"]) == (
            kind.http_status,
            reason,
            "reference_image",
        )


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("count", "n"),
        ("output.quality", "quality"),
        ("output.format", "output_format"),
        ("image.data", "reference_image"),
        ("image.artifact_uri", "reference_image"),
        ("target_image.data", "target_image"),
        ("loras[0].strength", "loras[0].strength"),
        ("target_face_indexes[3]", "target_face_indexes[3]"),
        ("counter", "counter"),
    ],
)
def test_fields_have_rests_names(path: str, name: str) -> None:
    assert rest_field(path, {"image": "reference_image"}) == name


def test_renaming_keeps_everything_else() -> None:
    error = QueueFull("full", field="count", retry_after_seconds=2.5, depth="16")
    error.request_id = "r1"
    renamed = in_rest_names(error)
    assert type(renamed) is QueueFull
    assert (renamed.field, renamed.message, renamed.retry_after_seconds) == ("n", "full", 2.5)
    assert (renamed.metadata, renamed.request_id) == ({"depth": "16"}, "r1")
    assert error.field == "count"
    many = InvalidRequest("m", violations=[Violation("count", "a", "R"), Violation("output.store", "b")])
    assert [(v.field, v.rule) for v in in_rest_names(many).violations] == [("n", "R"), ("store", "")]


def test_a_text_tells_of_the_fields_by_the_same_names() -> None:
    error = InvalidRequest(
        "settings.rank: too high; count: too low; my.count: stays",
        violations=[Violation("settings.rank", "settings.rank: too high"), Violation("count", "too low")],
    )
    renamed = in_rest_names(error, {"settings.rank": "rank"})
    assert renamed.message == "rank: too high; n: too low; my.count: stays"
    assert [violation.message for violation in renamed.violations] == ["rank: too high", "too low"]
    full = in_rest_names(QueueFull("settings.rank: full", field="settings.rank"), {"settings.rank": "rank"})
    assert (full.message, full.field) == ("rank: full", "rank")


def test_a_time_to_try_again_is_whole_seconds() -> None:
    assert problem_headers(QueueFull("full", retry_after_seconds=0.2))["Retry-After"] == "1"
    assert "Retry-After" not in problem_headers(NoFace("none"))


def test_every_reason_stands_in_the_one_table() -> None:
    assert {kind.__module__ for kind in ERRORS.values()} == {"likeness.errors._table"}
