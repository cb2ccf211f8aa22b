from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest
from PIL import Image

from core.runtime.artifacts import ArtifactStore
from likeness.common.v1.image_pb2 import (
    IMAGE_FORMAT_JPEG,
    IMAGE_FORMAT_PNG,
    IMAGE_FORMAT_UNSPECIFIED,
    IMAGE_FORMAT_WEBP,
    ImageFormat,
    ImageOutput,
)
from likeness.generator.v1.generator_service_pb2 import (
    GeneratedImage,
    GenerateFinished,
    GenerateRequest,
    GenerateResponse,
    GetCapabilitiesRequest,
)
from services.generator.settings import GeneratorSettings
from tests.support.generator import RunningGenerator

PROMPT = "a professional woman in a modern office"


def images(events: list[GenerateResponse]) -> list[GeneratedImage]:
    return [event.image for event in events if event.HasField("image")]


def finished(events: list[GenerateResponse]) -> GenerateFinished:
    assert events[-1].HasField("finished")
    return events[-1].finished


def small(**changes: Any) -> GenerateRequest:
    return GenerateRequest(**{"prompt": PROMPT, "seed": 7, "width": 192, "height": 160, "steps": 2, **changes})


async def test_events_come_in_order_and_end_with_finished(generator: RunningGenerator) -> None:
    events = await generator.generate(small(count=2))
    names = [str(event.WhichOneof("event")) for event in events]
    assert names == ["queued", "started", "step", "step", "image", "step", "step", "image", "finished"]
    steps = [event.step for event in events if event.HasField("step")]
    assert [(step.image_index, step.step, step.total_steps) for step in steps] == [
        (0, 1, 2),
        (0, 2, 2),
        (1, 1, 2),
        (1, 2, 2),
    ]
    assert [(image.index, image.seed) for image in images(events)] == [(0, 7), (1, 8)]


async def test_finished_tells_what_was_done_and_where_the_time_went(generator: RunningGenerator) -> None:
    end = finished(await generator.generate(small()))
    assert (end.seed, end.width, end.height, end.mode, end.steps, end.true_cfg_scale) == (7, 192, 160, "full", 2, 3.0)
    seconds = {
        name: getattr(end.timings, name).ToNanoseconds() / 1e9
        for name in ("queue", "encode", "denoise", "decode", "total")
    }
    assert min(seconds.values()) > 0
    assert seconds["encode"] + seconds["denoise"] + seconds["decode"] <= seconds["total"]
    assert (end.model.name, end.model.profile, end.model.precision, end.model.device) == (
        "likeness/test",
        "miniature",
        "float32",
        "cpu",
    )
    assert end.model.revision.startswith("sha256:")


async def test_fast_mode_takes_four_steps_without_guidance(generator: RunningGenerator) -> None:
    with generator.counted_forwards() as forwards:
        end = finished(await generator.generate(GenerateRequest(prompt=PROMPT, seed=1, mode="fast")))
    assert (end.mode, end.steps, end.true_cfg_scale) == ("fast", 4, 1.0)
    assert len(forwards) == 4


async def test_full_mode_takes_two_forward_passes_a_step(generator: RunningGenerator) -> None:
    with generator.counted_forwards() as forwards:
        await generator.generate(small(steps=3))
    assert len(forwards) == 6


@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        ("", (256, 256)),
        ("1:1", (256, 256)),
        ("16:9", (336, 192)),
        ("9:16", (192, 336)),
        ("4:3", (288, 224)),
        ("3:4", (224, 288)),
        ("3:2", (320, 208)),
        ("2:3", (208, 320)),
    ],
)
async def test_aspect_ratio_sets_the_size(generator: RunningGenerator, ratio: str, size: tuple[int, int]) -> None:
    events = await generator.generate(GenerateRequest(prompt=PROMPT, seed=1, steps=1, aspect_ratio=ratio))
    end, image = finished(events), images(events)[0].image
    assert (end.width, end.height) == (image.width, image.height) == size
    assert Image.open(io.BytesIO(image.data)).size == size


async def test_width_and_height_are_brought_to_what_the_model_takes(generator: RunningGenerator) -> None:
    end = finished(await generator.generate(small(width=250, height=170)))
    assert (end.width, end.height) == (256, 176)


@pytest.mark.parametrize(
    ("image_format", "media_type", "pillow"),
    [
        (IMAGE_FORMAT_UNSPECIFIED, "image/png", "PNG"),
        (IMAGE_FORMAT_PNG, "image/png", "PNG"),
        (IMAGE_FORMAT_JPEG, "image/jpeg", "JPEG"),
        (IMAGE_FORMAT_WEBP, "image/webp", "WEBP"),
    ],
)
async def test_picture_comes_in_the_format_that_was_asked_for(
    generator: RunningGenerator, image_format: Any, media_type: str, pillow: str
) -> None:
    image = images(await generator.generate(small(output=ImageOutput(format=image_format))))[0].image
    assert image.media_type == media_type
    assert image.sha256 == hashlib.sha256(image.data).hexdigest()
    assert Image.open(io.BytesIO(image.data)).format == pillow


async def test_stored_picture_is_answered_with_its_uri(
    generator: RunningGenerator, settings: GeneratorSettings
) -> None:
    image = images(await generator.generate(small(output=ImageOutput(store=True))))[0].image
    assert not image.data
    assert image.artifact_uri == f"artifact://images/{image.sha256}.png"
    stored = ArtifactStore(settings.artifacts_url).get(image.artifact_uri)
    assert Image.open(io.BytesIO(stored)).size == (192, 160)


async def test_same_seed_gives_the_same_file_and_each_of_several_can_be_drawn_alone(
    generator: RunningGenerator,
) -> None:
    together = images(await generator.generate(small(count=3)))
    await generator.generate(GenerateRequest(prompt="a man", seed=3, mode="fast"))
    for image in together:
        alone = images(await generator.generate(small(seed=image.seed)))[0]
        assert alone.image.sha256 == image.image.sha256
    assert len({image.image.sha256 for image in together}) == 3


async def test_without_a_seed_a_random_one_is_told_and_draws_the_picture_again(generator: RunningGenerator) -> None:
    request = small()
    request.ClearField("seed")
    first, second = await generator.generate(request), await generator.generate(request)
    assert finished(first).seed != finished(second).seed
    again = await generator.generate(small(seed=finished(first).seed))
    assert images(again)[0].image.sha256 == images(first)[0].image.sha256


@pytest.mark.parametrize("image_format", [IMAGE_FORMAT_JPEG, IMAGE_FORMAT_WEBP])
async def test_quality_is_honoured(generator: RunningGenerator, image_format: ImageFormat.ValueType) -> None:
    sizes = []
    for quality in (10, 95):
        events = await generator.generate(small(output=ImageOutput(format=image_format, quality=quality)))
        sizes.append(len(images(events)[0].image.data))
    assert sizes[0] < sizes[1] / 2


async def test_trigger_word_acts_as_if_it_stood_in_the_prompt(generator: RunningGenerator) -> None:
    by_field = images(await generator.generate(small(trigger_word="ohwx")))[0]
    by_hand = images(await generator.generate(small(prompt=f"ohwx, {PROMPT}")))[0]
    assert by_field.image.sha256 == by_hand.image.sha256


async def test_capabilities_tell_what_requests_may_ask_for(generator: RunningGenerator) -> None:
    told = await generator.stub.GetCapabilities(GetCapabilitiesRequest())
    full, fast = told.modes
    assert (full.name, full.default_steps, full.default_true_cfg_scale, full.adjustable) == ("full", 20, 3.0, True)
    assert (fast.name, fast.default_steps, fast.distilled_lora, fast.adjustable) == (
        "fast",
        4,
        "fast_lora.safetensors",
        False,
    )
    assert [size.aspect_ratio for size in told.sizes] == ["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"]
    assert (told.size_multiple, told.max_count, told.max_prompt_tokens, told.queue_capacity) == (16, 8, 256, 2)
    assert told.min_pixels < 256 * 256 < told.max_pixels
    assert told.model.profile == "miniature"
