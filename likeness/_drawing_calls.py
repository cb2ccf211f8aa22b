"""The streams of the generator and of the editor: a message in, typed events out."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar, cast

import grpc.aio

from likeness import _convert as convert
from likeness.calls import CallOptions, StreamCall, UnaryCall
from likeness.editor.v1 import editor_service_pb2 as editor
from likeness.editor.v1 import editor_service_pb2_grpc as editor_grpc
from likeness.edits import EditFinished, EditorCapabilities
from likeness.errors import Internal
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.generator.v1 import generator_service_pb2_grpc as generator_grpc
from likeness.results import Finished, GeneratedPicture, GenerationEvent, GeneratorCapabilities

Progress = Callable[[GenerationEvent], Awaitable[None] | None]
"""Called with each event of a drawing; may be a coroutine function."""
Response = TypeVar("Response")
Last = TypeVar("Last", bound=Finished)


class GeneratorCalls:
    """``likeness.generator.v1.GeneratorService`` over a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Call over ``channel``."""
        stub: Any = generator_grpc.GeneratorServiceStub(channel)
        self._generate: StreamCall[generator.GenerateRequest, generator.GenerateResponse] = StreamCall(
            stub.Generate, "generator"
        )
        self._capabilities: UnaryCall[generator.GetCapabilitiesRequest, generator.GetCapabilitiesResponse] = UnaryCall(
            stub.GetCapabilities, "generator"
        )

    def send(self, request: generator.GenerateRequest, options: CallOptions) -> AsyncGenerator[GenerationEvent, None]:
        """Yield the events of a drawing, the last one `Finished`. Raises LikenessError."""
        return _events(self._generate(request, options), convert.event, "generator")

    async def capabilities(self, options: CallOptions) -> GeneratorCapabilities:
        """Tell what the generator can do. Raises LikenessError."""
        return convert.generator_capabilities(await self._capabilities(generator.GetCapabilitiesRequest(), options))


class EditCalls:
    """``likeness.editor.v1.EditorService`` over a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Call over ``channel``."""
        stub: Any = editor_grpc.EditorServiceStub(channel)
        self._edit: StreamCall[editor.EditRequest, editor.EditResponse] = StreamCall(stub.Edit, "editor")
        self._capabilities: UnaryCall[editor.GetCapabilitiesRequest, editor.GetCapabilitiesResponse] = UnaryCall(
            stub.GetCapabilities, "editor"
        )

    def send(self, request: editor.EditRequest, options: CallOptions) -> AsyncGenerator[GenerationEvent, None]:
        """Yield the events of an edit, the last one `EditFinished`. Raises LikenessError."""
        return _events(self._edit(request, options), edit_event, "editor")

    async def capabilities(self, options: CallOptions) -> EditorCapabilities:
        """Tell what the editor can do. Raises LikenessError."""
        answer = await self._capabilities(editor.GetCapabilitiesRequest(), options)
        return EditorCapabilities(
            model=convert.model(answer.model),
            modes=tuple(map(convert.mode, answer.modes)),
            size_multiple=answer.size_multiple,
            min_pixels=answer.min_pixels,
            max_pixels=answer.max_pixels,
            max_aspect_ratio=answer.max_aspect_ratio,
            max_count=answer.max_count,
            max_images=answer.max_images,
            max_prompt_tokens=answer.max_prompt_tokens,
            queue_capacity=answer.queue_capacity,
            max_loras=answer.max_loras,
            default_denoise=answer.default_denoise,
            default_denoise_of_several=answer.default_denoise_of_several,
        )


def edit_event(response: editor.EditResponse) -> GenerationEvent | None:
    """Return one event of an edit; None for a kind that this client does not know yet."""
    # The fields of both responses, and of both last events but for the editor's own two, are the same.
    event = convert.event(cast(generator.GenerateResponse, response))
    if not isinstance(event, Finished):
        return event
    common = {field.name: getattr(event, field.name) for field in dataclasses.fields(Finished)}
    return EditFinished(**common, denoise=response.finished.denoise, instruction=response.finished.instruction)


async def collect(
    events: AsyncGenerator[GenerationEvent, None], on_progress: Progress | None, last: type[Last]
) -> tuple[tuple[GeneratedPicture, ...], Last]:
    """Return the pictures, in order, and the last event, of its type; ``on_progress`` is told of each."""
    pictures: list[GeneratedPicture] = []
    finished: Last | None = None
    async with aclosing(events) as stream:
        async for event in stream:
            if isinstance(event, GeneratedPicture):
                pictures.append(event)
            elif isinstance(event, last):
                finished = event
            if on_progress is not None:
                outcome = on_progress(event)
                if inspect.isawaitable(outcome):
                    await outcome
    assert finished is not None  # the stream raises when it is missing
    return tuple(sorted(pictures, key=lambda item: item.index)), finished


async def _events(
    responses: AsyncGenerator[Response, None], event_of: Callable[[Response], GenerationEvent | None], service: str
) -> AsyncGenerator[GenerationEvent, None]:
    """Yield the events that this client knows. Raises LikenessError, also when the stream ends without the last one."""
    ended = False
    async with aclosing(responses) as stream:
        async for response in stream:
            event = event_of(response)
            if event is not None:
                yield event
                ended = ended or isinstance(event, Finished)
    if not ended:
        raise Internal(f"the {service} ended its answer without the finishing event")
