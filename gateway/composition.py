"""What the routes do: a drawing, a swap, and the two together, as streams of events.

A composition asks for the reference's faces first, so that a reference that cannot work is refused before anything
is drawn. Cancelling the stream cancels the call that is under way; the deadline is looked at before each.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from gateway.deadline import Deadline
from gateway.errors import in_rest_names
from gateway.events import PictureReady, Progress, Stage, Work, WorkFinished
from gateway.reference import ReferenceCheck
from likeness.calls import CallOptions
from likeness.client import AsyncClient
from likeness.common.v1 import image_pb2
from likeness.errors import LikenessError
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.metadata import CallMetadata
from likeness.results import Finished, GeneratedPicture, GenerationEvent, Picture, Started, SwapResult

Send = Callable[[CallOptions], AsyncGenerator[GenerationEvent, None]]
"""Begins a drawing or an edit."""


@dataclass(frozen=True)
class Call:
    """What every gRPC call of one request shares."""

    client: AsyncClient
    metadata: CallMetadata
    deadline: Deadline

    def options(self) -> CallOptions:
        """Return the options of the next call. Raises DeadlineExceeded."""
        return self.deadline.options(self.metadata)


@dataclass
class Clock:
    """Wall time by stage."""

    seconds: dict[Stage, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def lap(self, stage: Stage) -> None:
        """Count the time since the last lap to ``stage``."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.started
        self.started = now


@dataclass(frozen=True)
class Swapping:
    """Whose face goes into every picture of a drawing."""

    template: faceswap.SwapRequest
    """The swap without its target."""
    field: str
    """Field of the body that says what the pictures show."""
    include_original: bool
    """Whether the picture before the swap is told too."""


async def draw(call: Call, request: generator.GenerateRequest, *, names: Mapping[str, str] | None = None) -> Work:
    """Draw pictures from words. Raises LikenessError; ``names`` are the body's own of its fields, by the protos'."""
    async with aclosing(drawing(call, partial(call.client.send_generate, request), Clock(), names)) as work:
        async for event in work:
            yield event


async def swap(call: Call, request: faceswap.SwapRequest) -> Work:
    """Put the face of a reference onto a given picture. Raises LikenessError."""
    clock = Clock()
    yield Progress(Stage.SWAPPING, Started(0.0))
    try:
        result = await call.client.send_swap(request, call.options())
    except LikenessError as error:
        raise in_rest_names(error) from error
    clock.lap(Stage.SWAPPING)
    yield PictureReady(0, result.picture, swap=result)
    yield WorkFinished(None, clock.seconds)


async def portrait(
    call: Call,
    generate: generator.GenerateRequest,
    swap_template: faceswap.SwapRequest,
    check_reference: ReferenceCheck,
    *,
    include_original: bool,
) -> Work:
    """Draw pictures from words and put the reference's face into each.

    ``swap_template`` is the swap without its target. The generator goes on with the next picture while the one
    before is swapped. Raises LikenessError; the fields are the REST body's.
    """
    clock = Clock()
    # Nothing is told before: a reference that will not do is refused with the status that is its own.
    await check_reference(call.client, call.metadata, call.deadline, swap_template)
    clock.lap(Stage.REFERENCE)
    swapping = Swapping(swap_template, "prompt", include_original)
    send = partial(call.client.send_generate, generate)
    async with aclosing(drawing(call, send, clock, swapping=swapping)) as work:
        async for event in work:
            yield event


async def drawing(
    call: Call, send: Send, clock: Clock, names: Mapping[str, str] | None = None, *, swapping: Swapping | None = None
) -> Work:
    """Tell of a drawing or an edit, each picture swapped into where ``swapping`` is given.

    Raises LikenessError; ``names`` are the body's own of the fields, by the protos'.
    """
    finished: Finished | None = None
    async with aclosing(_renamed(call, send, names)) as events:
        async for event in events:
            if isinstance(event, GeneratedPicture):
                if swapping is None:
                    yield PictureReady(event.index, event.picture, event.seed)
                    continue
                clock.lap(Stage.DRAWING)
                yield Progress(Stage.SWAPPING, Started(0.0))
                result = await _swap_into(call, event, swapping)
                clock.lap(Stage.SWAPPING)
                original = event.picture if swapping.include_original else None
                yield PictureReady(event.index, result.picture, event.seed, original, result)
            elif isinstance(event, Finished):
                finished = event
            else:
                yield Progress(Stage.DRAWING, event)
    clock.lap(Stage.DRAWING)
    yield WorkFinished(finished, clock.seconds)


async def _renamed(call: Call, send: Send, names: Mapping[str, str] | None) -> AsyncGenerator[GenerationEvent, None]:
    try:
        async with aclosing(send(call.options())) as events:
            async for event in events:
                yield event
    except LikenessError as error:
        raise in_rest_names(error, names) from error


async def _swap_into(call: Call, drawn: GeneratedPicture, swapping: Swapping) -> SwapResult:
    """Swap into a picture that was drawn. Raises LikenessError."""
    request = faceswap.SwapRequest()
    request.CopyFrom(swapping.template)
    request.target_image.CopyFrom(_as_input(drawn.picture))
    try:
        return await call.client.send_swap(request, call.options())
    except LikenessError as error:
        # The client handed in no target: what the drawn picture shows comes from its words.
        renamed = in_rest_names(error, {"target_image": swapping.field})
        if renamed.field == swapping.field:
            renamed.message = f"the picture drawn with seed {drawn.seed}: {error.message}"
            renamed.metadata = {**error.metadata, "seed": str(drawn.seed)}
        raise renamed from error


def _as_input(picture: Picture) -> image_pb2.ImageInput:
    if picture.artifact_uri is not None:
        return image_pb2.ImageInput(artifact_uri=picture.artifact_uri)
    return image_pb2.ImageInput(data=picture.data or b"")
