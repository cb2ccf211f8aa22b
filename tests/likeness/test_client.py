from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from likeness.calls import CallOptions
from likeness.client import FACESWAP_HEALTH, GENERATOR_HEALTH, AsyncClient
from likeness.errors import DeadlineExceeded, NoFace, QueueFull, ServiceUnavailable
from likeness.metadata import CallMetadata
from likeness.results import (
    FaceOrder,
    Finished,
    Gender,
    GeneratedPicture,
    GenerationEvent,
    ImageFormat,
    LoraUse,
    Queued,
    Started,
    Step,
)
from tests.likeness.conftest import Deployment
from tests.support.services import STEPS, picture, unused_address

WAIT_SECONDS = 10


async def test_a_drawing_is_a_typed_result(deployment: Deployment, tmp_path: Path) -> None:
    result = await deployment.client.generate("a woman in a café", seed=5, count=2)
    assert [item.seed for item in result.pictures] == [5, 6]
    assert result.finished.timings.denoise_seconds == pytest.approx(0.12)
    assert result.finished.model.name == "likeness/fake"
    assert result.pictures[0].picture.save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


async def test_every_argument_reaches_the_message(deployment: Deployment) -> None:
    await deployment.client.generate(
        "p", negative_prompt="n", mode="fast", aspect_ratio="3:2", steps=7, true_cfg_scale=2.5, trigger_word="t",
        loras=[LoraUse("anna", 2, 0.5)], output_format=ImageFormat.WEBP, quality=70, store=True,
    )  # fmt: skip
    request = deployment.generator.requests[0]
    assert (request.mode, request.aspect_ratio, request.steps, request.true_cfg_scale) == ("fast", "3:2", 7, 2.5)
    assert (request.loras[0].lora_id, request.output.quality, request.output.store) == ("anna", 70, True)
    assert not request.HasField("seed")


async def test_progress_is_told_in_order(deployment: Deployment) -> None:
    told: list[GenerationEvent] = []

    async def remember(event: GenerationEvent) -> None:
        told.append(event)

    await deployment.client.generate("p", on_progress=remember)
    kinds = [type(event) for event in told]
    assert kinds == [Queued, Started, *[Step] * STEPS, GeneratedPicture, Finished]
    plain: list[GenerationEvent] = []
    await deployment.client.generate("p", on_progress=plain.append)
    assert len(plain) == len(told)


async def test_leaving_the_events_stops_the_work(deployment: Deployment) -> None:
    deployment.generator.gate = asyncio.Event()
    async with aclosing(deployment.client.generate_events("p")) as events:
        async for event in events:
            if isinstance(event, Step) and event.step == STEPS:
                break
    await asyncio.wait_for(deployment.generator.cancelled.wait(), WAIT_SECONDS)


async def test_cancelling_the_task_stops_the_work(deployment: Deployment) -> None:
    deployment.generator.gate = asyncio.Event()
    task = asyncio.create_task(deployment.client.generate("p"))
    await asyncio.wait_for(deployment.generator.waiting.wait(), WAIT_SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(deployment.generator.cancelled.wait(), WAIT_SECONDS)


async def test_a_deadline_that_passes_is_told_and_stops_the_work(deployment: Deployment) -> None:
    deployment.generator.gate = asyncio.Event()
    with pytest.raises(DeadlineExceeded):
        await deployment.client.generate("p", timeout_seconds=0.2)
    await asyncio.wait_for(deployment.generator.cancelled.wait(), WAIT_SECONDS)


async def test_errors_come_back_as_the_class_that_the_server_raised(deployment: Deployment) -> None:
    deployment.generator.error = QueueFull("full", retry_after_seconds=3.0)
    with pytest.raises(QueueFull) as full:
        await deployment.client.generate("p")
    assert full.value.retry_after_seconds == 3.0
    assert len(deployment.generator.requests) == 1  # a full queue is not asked again by itself
    deployment.faceswap.swap_error = NoFace("no face", field="target_image")
    with pytest.raises(NoFace) as no_face:
        await deployment.client.swap(picture(), picture())
    assert no_face.value.field == "target_image"


async def test_what_is_unavailable_is_asked_again(deployment: Deployment) -> None:
    deployment.generator.error = ServiceUnavailable("shutting down")
    with pytest.raises(ServiceUnavailable, match="shutting down"):
        await deployment.client.generate("p")
    assert len(deployment.generator.requests) == 3


async def test_a_service_that_is_down_is_named() -> None:
    async with AsyncClient(unused_address(), unused_address()) as client:
        with pytest.raises(ServiceUnavailable, match="generator"):
            await client.generate("p")
        with pytest.raises(ServiceUnavailable, match="faceswap"):
            await client.detect_faces(picture())
        assert set((await client.health()).values()) == {"UNREACHABLE"}


async def test_a_swap_is_a_typed_result(deployment: Deployment, tmp_path: Path) -> None:
    reference = tmp_path / "me.jpg"
    reference.write_bytes(picture(kind="JPEG"))
    result = await deployment.client.swap(
        picture(), reference, target_face_indexes=[1], target_order=FaceOrder.LEFT_TO_RIGHT, restore_face=False
    )
    assert result.swapped[0].identity_after == pytest.approx(0.61)
    assert result.swapped[0].pose_change_degrees is None
    assert result.restoration.applied is False
    assert result.timings["swap"] == pytest.approx(0.03)
    request = deployment.faceswap.swaps[0]
    assert request.reference_image.data == reference.read_bytes()
    assert (list(request.target_face_indexes), request.restore_face) == ([1], False)


async def test_faces_are_typed_results(deployment: Deployment) -> None:
    result = await deployment.client.detect_faces("artifact://images/a.png", min_score=0.6)
    assert (result.width, result.faces[0].gender, result.faces[0].landmarks[1]) == (512, Gender.FEMALE, (1.0, 2.0))
    assert deployment.faceswap.detections[0].image.artifact_uri == "artifact://images/a.png"
    assert (await deployment.client.compare_faces(picture(), picture())).identity == pytest.approx(0.5)


async def test_metadata_travels_with_the_call(deployment: Deployment) -> None:
    options = CallOptions(CallMetadata("r1", "acme", "k1"))
    await deployment.client.generate("p", options=options)
    metadata = deployment.generator.metadata[0]
    assert (metadata.request_id, metadata.tenant_id, metadata.idempotency_key) == ("r1", "acme", "k1")


async def test_health_and_capabilities(deployment: Deployment) -> None:
    assert await deployment.client.health() == {GENERATOR_HEALTH: "SERVING", FACESWAP_HEALTH: "SERVING"}
    assert (await deployment.client.generator_capabilities()).modes[0].name == "full"
    assert (await deployment.client.faceswap_capabilities()).engines == ("mesh",)


async def test_large_pictures_pass_in_both_directions(deployment: Deployment) -> None:
    large = picture() + b"\0" * (18 * 2**20)
    await deployment.client.swap(large, large)
    assert len(deployment.faceswap.swaps[0].target_image.data) == len(large)
