from __future__ import annotations

import pytest

from core.runtime.validation import validate
from likeness.errors import InvalidRequest
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.generator.v1 import generator_service_pb2 as generator


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
