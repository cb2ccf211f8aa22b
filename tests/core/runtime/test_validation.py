from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.runtime.validation import PATTERNS, validate
from likeness.errors import InvalidRequest
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.generator.v1 import generator_service_pb2 as generator

PROTOS = Path(__file__).parents[3] / "protos" / "likeness"


def test_a_rule_of_the_whole_message_names_the_field_that_its_id_begins_with() -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(generator.GenerateRequest(prompt="p", width=256))
    violation = caught.value.violations[0]
    assert (violation.field, violation.rule) == ("width", "WIDTH_WITH_HEIGHT")


def test_limits_of_floats_are_told_as_they_were_written() -> None:
    request = faceswap.DetectFacesRequest(min_score=2)
    request.image.data = b"x"
    with pytest.raises(InvalidRequest, match=r"equal to 0\.1 and less than or equal to 0\.99$"):
        validate(request)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (generator.GenerateRequest(prompt="p", mode="Full!"), "mode: must be at most 32 of a-z, 0-9, _ and -"),
        (generator.GenerateRequest(prompt="p", aspect_ratio="5:1"), "aspect_ratio: must be one of 1:1, 16:9, "),
    ],
)
def test_patterns_and_lists_are_told_in_words(request_: generator.GenerateRequest, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(request_)
    assert caught.value.message.startswith(words)
    assert not re.search("regex|in list", caught.value.message)


def test_every_pattern_of_the_protos_has_its_words() -> None:
    found = {
        pattern.replace("\\\\", "\\")
        for file in PROTOS.rglob("*.proto")
        for pattern in re.findall(r'pattern ?[=:] ?"([^"]*)"', file.read_text(encoding="utf-8"))
    }
    assert found == PATTERNS.keys()
