from __future__ import annotations

from typing import Any

import pytest

from likeness._drawing_requests import DrawingArguments, edit_request, generate_request
from likeness.common.v1 import image_pb2
from likeness.errors import InvalidRequest
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.results import ImageFormat, LoraUse, Priority

EVERYTHING: DrawingArguments = {
    "negative_prompt": "fog",
    "mode": "fast",
    "width": 512,
    "height": 768,
    "seed": 0,
    "count": 2,
    "steps": 7,
    "true_cfg_scale": 3.0,
    "loras": [LoraUse("anna", 3, 0.5)],
    "trigger_word": "annax",
    "priority": Priority.LOW,
    "preview_every": 2,
    "output_format": ImageFormat.WEBP,
    "quality": 80,
    "store": True,
}


@pytest.mark.parametrize(
    "make", [generate_request, lambda words, **arguments: edit_request(b"png", words, **arguments)]
)
def test_drawings_and_edits_take_the_same_arguments(make: Any) -> None:
    assert EVERYTHING.keys() == DrawingArguments.__annotations__.keys()
    message = make("a woman", **EVERYTHING)
    for name in ("negative_prompt", "mode", "width", "height", "seed", "count", "steps", "true_cfg_scale"):
        assert getattr(message, name) == EVERYTHING[name]
    assert message.HasField("seed")
    assert [(lora.lora_id, lora.version, lora.strength) for lora in message.loras] == [("anna", 3, 0.5)]
    assert (message.trigger_word, message.preview_every) == ("annax", 2)
    assert message.priority == generator.PRIORITY_LOW
    assert (message.output.format, message.output.quality) == (image_pb2.IMAGE_FORMAT_WEBP, 80)
    assert message.output.store


@pytest.mark.parametrize(
    "make", [generate_request, lambda words, **arguments: edit_request(b"png", words, **arguments)]
)
def test_what_is_left_out_is_left_to_the_server(make: Any) -> None:
    message = make("a woman")
    for name in ("negative_prompt", "width", "height", "seed", "count", "steps", "true_cfg_scale"):
        assert not message.HasField(name)
    assert message.priority == generator.PRIORITY_NORMAL
    assert message.output.format == image_pb2.IMAGE_FORMAT_PNG


def test_arguments_that_are_none_are_named() -> None:
    with pytest.raises(TypeError, match="colour"):
        generate_request("a woman", colour="red")  # type: ignore[call-arg]


def test_a_lora_that_fits_no_message_is_refused_by_its_field() -> None:
    with pytest.raises(InvalidRequest) as caught:
        generate_request("a woman", loras=[LoraUse("anna", 2**40)])
    assert caught.value.field == "version"
