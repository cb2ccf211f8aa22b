from __future__ import annotations

from gateway.limits import field_limits
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.generator.v1 import generator_service_pb2 as generator


def test_limits_are_those_of_the_protos() -> None:
    assert field_limits(generator.GenerateRequest, "count") == {"minimum": 1, "maximum": 8}
    assert field_limits(generator.GenerateRequest, "seed") == {"minimum": 0, "exclusiveMaximum": 2**53}
    assert field_limits(generator.GenerateRequest, "aspect_ratio")["enum"][0] == "1:1"
    assert field_limits(generator.LoraSelection, "lora_id")["pattern"].startswith("^")
    assert field_limits(faceswap.SwapRequest, "min_score") == {"minimum": 0.1, "maximum": 0.99}
    assert field_limits(faceswap.SwapRequest, "target_face_indexes") == {
        "maxItems": 64, "uniqueItems": True, "items": {"type": "integer", "minimum": 0, "maximum": 255},
    }  # fmt: skip
    assert field_limits(faceswap.SwapRequest, "restore_face") == {}
