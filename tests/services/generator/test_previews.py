from __future__ import annotations

import io

from PIL import Image

from likeness.errors import InvalidRequest
from likeness.generator.v1.generator_service_pb2 import GenerateRequest
from tests.support.generator import RunningGenerator

REQUEST = GenerateRequest(prompt="a man", seed=3, width=192, height=160, steps=4)


async def test_previews_are_small_jpegs_between_the_steps(generator: RunningGenerator) -> None:
    request = GenerateRequest(preview_every=2, count=2)
    request.MergeFrom(REQUEST)
    events = await generator.generate(request)
    names = [str(event.WhichOneof("event")) for event in events]
    one = ["step", "step", "preview", "step", "step", "image"]
    assert names == ["queued", "started", *one, *one, "finished"]
    preview = events[names.index("preview")].preview
    assert (preview.image_index, preview.step, preview.total_steps) == (0, 2, 4)
    assert preview.image.media_type == "image/jpeg"
    with Image.open(io.BytesIO(preview.image.data)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (96, 80))
        assert (preview.image.width, preview.image.height) == picture.size


async def test_previews_change_nothing_else(generator: RunningGenerator) -> None:
    request = GenerateRequest(preview_every=1)
    request.MergeFrom(REQUEST)
    shown = await generator.generate(request)
    plain = await generator.generate(REQUEST)
    assert shown[-2].image.image.sha256 == plain[-2].image.image.sha256
    assert not any(event.HasField("preview") for event in plain)


async def test_previews_out_of_range_are_refused(generator: RunningGenerator) -> None:
    for every in (-1, 101):
        error = await generator.refusal(GenerateRequest(prompt="a man", preview_every=every))
        assert isinstance(error, InvalidRequest)
        assert {violation.field for violation in error.violations} == {"preview_every"}
