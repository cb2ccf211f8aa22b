"""`AsyncClient`: the services of a deployment over gRPC, with typed results.

    async with AsyncClient() as client:
        drawing = await client.generate("a professional woman in a modern office", mode="fast")
        swap = await client.swap(drawing.pictures[0].picture.data, "me.jpg")
        swap.picture.save("office.png")

`likeness.sync.Client` is the same without ``await``. Both raise `likeness.errors.LikenessError`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from likeness import _convert as convert
from likeness import _requests as requests
from likeness._edit_calls import EditCalls, edit_request
from likeness._lora_calls import LoraCalls, LoraSource
from likeness._requests import ImageSource
from likeness.calls import CallOptions, StreamCall, UnaryCall
from likeness.channel import (
    DEFAULT_EDITOR_ADDRESS,
    DEFAULT_FACESWAP_ADDRESS,
    DEFAULT_GENERATOR_ADDRESS,
    ChannelOptions,
    open_channel,
)
from likeness.editor.v1 import editor_service_pb2 as editor
from likeness.edits import EditFinished, Editing, EditorCapabilities
from likeness.errors import Internal, LikenessError
from likeness.face_models import FaceModel, FaceModelBuild, FaceModelPage
from likeness.faceswap.v1 import face_model_service_pb2 as models
from likeness.faceswap.v1 import face_model_service_pb2_grpc as face_model_grpc
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.faceswap.v1 import faceswap_service_pb2_grpc as faceswap_grpc
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.generator.v1 import generator_service_pb2_grpc as generator_grpc
from likeness.loras import Lora, LoraPage
from likeness.results import (
    Comparison,
    Faces,
    FaceSwapCapabilities,
    Finished,
    GeneratedPicture,
    Generation,
    GenerationEvent,
    GeneratorCapabilities,
    SwapResult,
)

Progress = Callable[[GenerationEvent], Awaitable[None] | None]
"""Called with each event of a drawing; may be a coroutine function."""

GENERATOR_HEALTH = "likeness.generator.v1.GeneratorService"
FACESWAP_HEALTH = "likeness.faceswap.v1.FaceSwapService"
EDITOR_HEALTH = "likeness.editor.v1.EditorService"
HEALTH_TIMEOUT_SECONDS = 2.0


class AsyncClient:
    """Calls the services of a deployment. Use it as an async context manager, inside one event loop."""

    def __init__(
        self,
        generator_address: str = DEFAULT_GENERATOR_ADDRESS,
        faceswap_address: str = DEFAULT_FACESWAP_ADDRESS,
        editor_address: str | None = None,
        *,
        channel_options: ChannelOptions | None = None,
        default_options: CallOptions | None = None,
    ) -> None:
        """Take the services' addresses, ``host:port`` or a gRPC target. Connects with the first call.

        Not every deployment has an editor: where no address is given it's looked for at its default one when it's
        called, and `health` leaves it out.
        """
        self._default = default_options or CallOptions()
        generator_channel = open_channel(generator_address, channel_options)
        faceswap_channel = open_channel(faceswap_address, channel_options)
        editor_channel = open_channel(editor_address or DEFAULT_EDITOR_ADDRESS, channel_options)
        self._channels = {GENERATOR_HEALTH: generator_channel, FACESWAP_HEALTH: faceswap_channel}
        if editor_address:
            self._channels[EDITOR_HEALTH] = editor_channel
        self._open = (generator_channel, faceswap_channel, editor_channel)
        self._edits = EditCalls(editor_channel)
        generators: Any = generator_grpc.GeneratorServiceStub(generator_channel)
        faceswaps: Any = faceswap_grpc.FaceSwapServiceStub(faceswap_channel)
        self._generate: StreamCall[generator.GenerateRequest, generator.GenerateResponse] = StreamCall(
            generators.Generate, "generator"
        )
        self._loras = LoraCalls(generator_channel)
        self._generator_capabilities: UnaryCall[generator.GetCapabilitiesRequest, generator.GetCapabilitiesResponse] = (
            UnaryCall(generators.GetCapabilities, "generator")
        )
        self._detect: UnaryCall[faceswap.DetectFacesRequest, faceswap.DetectFacesResponse] = UnaryCall(
            faceswaps.DetectFaces, "faceswap"
        )
        self._swap: UnaryCall[faceswap.SwapRequest, faceswap.SwapResponse] = UnaryCall(faceswaps.Swap, "faceswap")
        self._compare: UnaryCall[faceswap.CompareFacesRequest, faceswap.CompareFacesResponse] = UnaryCall(
            faceswaps.CompareFaces, "faceswap"
        )
        stored: Any = face_model_grpc.FaceModelServiceStub(faceswap_channel)
        self._build_face_model: UnaryCall[models.BuildFaceModelRequest, models.BuildFaceModelResponse] = UnaryCall(
            stored.BuildFaceModel, "faceswap"
        )
        self._list_face_models: UnaryCall[models.ListFaceModelsRequest, models.ListFaceModelsResponse] = UnaryCall(
            stored.ListFaceModels, "faceswap"
        )
        self._get_face_model: UnaryCall[models.GetFaceModelRequest, models.GetFaceModelResponse] = UnaryCall(
            stored.GetFaceModel, "faceswap"
        )
        self._delete_face_model: UnaryCall[models.DeleteFaceModelRequest, models.DeleteFaceModelResponse] = UnaryCall(
            stored.DeleteFaceModel, "faceswap"
        )
        self._faceswap_capabilities: UnaryCall[faceswap.GetCapabilitiesRequest, faceswap.GetCapabilitiesResponse] = (
            UnaryCall(faceswaps.GetCapabilities, "faceswap")
        )

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the channels."""
        await self.close()

    async def close(self) -> None:
        """Close the channels; calls that still run are cancelled."""
        for channel in self._open:
            await channel.close()

    def _options(self, options: CallOptions | None, timeout_seconds: float | None) -> CallOptions:
        chosen = options or self._default
        return chosen if timeout_seconds is None else replace(chosen, timeout_seconds=timeout_seconds)

    async def send_generate(
        self, request: generator.GenerateRequest, options: CallOptions | None = None
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Send a message of the contract and yield the events, the last one `Finished`. Raises LikenessError."""
        ended = False
        async with aclosing(self._generate(request, options or self._default)) as responses:
            async for response in responses:
                event = convert.event(response)
                if event is not None:
                    yield event
                    ended = ended or isinstance(event, Finished)
        if not ended:
            raise Internal("the generator ended its answer without the finishing event")

    def generate_events(
        self,
        prompt: str,
        *,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Draw, and yield the events as they come; `generate` names the arguments.

        Leaving the iteration early (``aclose``, or cancelling the task) stops the work on the server.
        """
        request = requests.generate_request(prompt, **arguments)
        return self.send_generate(request, self._options(options, timeout_seconds))

    async def generate(
        self,
        prompt: str,
        *,
        on_progress: Progress | None = None,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> Generation:
        """Draw one or more pictures from words, 1–4,000 characters.

        ``arguments``: negative_prompt, mode ("full", "fast"), aspect_ratio ("9:16" …) or width and height in
        pixels, seed, count (1–8), steps (1–100), true_cfg_scale (1–20), loras, trigger_word, priority, preview_every
        (steps from one `Preview` to the next; 0 for none), output_format, quality (1–100) and store. The deployment's
        own default stands for what is left out.
        Raises LikenessError.
        """
        events = self.generate_events(prompt, options=options, timeout_seconds=timeout_seconds, **arguments)
        pictures, finished = await _collect(events, on_progress)
        return Generation(pictures, finished)

    def send_edit(
        self, request: editor.EditRequest, options: CallOptions | None = None
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Send a message of the contract and yield the events, the last one `EditFinished`. Raises LikenessError."""
        return self._edits.send(request, options or self._default)

    async def edit(
        self,
        images: ImageSource | Sequence[ImageSource],
        instruction: str = "",
        *,
        on_progress: Progress | None = None,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> Editing:
        """Change one to four pictures as an instruction says, or with ``scene`` put their persons there.

        ``arguments``: scene in place of the instruction, denoise (over 0 to 1), mask, width and height, and those of
        `generate` but for aspect_ratio. Raises LikenessError, and OSError when a path cannot be read.
        """
        request = edit_request(images, instruction, **arguments)
        pictures, finished = await _collect(
            self.send_edit(request, self._options(options, timeout_seconds)), on_progress
        )
        assert isinstance(finished, EditFinished)
        return Editing(pictures, finished)

    async def send_detect_faces(
        self, request: faceswap.DetectFacesRequest, options: CallOptions | None = None
    ) -> Faces:
        """Send a message of the contract. Raises LikenessError."""
        return convert.faces(await self._detect(request, options or self._default))

    async def detect_faces(
        self,
        image: ImageSource,
        *,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> Faces:
        """Find the faces of a picture.

        ``arguments``: min_score (0.1–0.99), order, thorough (false), and drawing: the format in which to answer with
        the picture and the faces drawn on it. Raises LikenessError.
        """
        request = requests.detect_request(image, **arguments)
        return await self.send_detect_faces(request, self._options(options, timeout_seconds))

    async def send_swap(self, request: faceswap.SwapRequest, options: CallOptions | None = None) -> SwapResult:
        """Send a message of the contract. Raises LikenessError."""
        return convert.swap_result(await self._swap(request, options or self._default))

    async def swap(
        self,
        target_image: ImageSource,
        reference_image: ImageSource | None = None,
        *,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> SwapResult:
        """Put the face of a reference, of a face model or of several references onto a target picture.

        ``arguments``: face_model_id or references (pictures and `Reference`) in place of ``reference_image``;
        target_face_indexes or all_target_faces, target_order, target_gender, match_image, match_threshold (−1–1);
        reference_face_index or reference_face_indexes, reference_order, reference_gender; pairing, swap_weight (0–1),
        restore_face (true), restore_model, restore_visibility and restore_fidelity (0–1), engine, pixel_boost,
        min_score (0.1–0.99), thorough (false), output_format, quality (1–100) and store.
        Raises LikenessError.
        """
        request = requests.swap_request(target_image, reference_image, **arguments)
        return await self.send_swap(request, self._options(options, timeout_seconds))

    async def compare_faces(
        self,
        first_image: ImageSource,
        second_image: ImageSource,
        *,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> Comparison:
        """Tell how alike two faces are, the largest of each picture unless an index says which.

        ``arguments``: first_face_index, second_face_index, order and min_score (0.1–0.99). Raises LikenessError.
        """
        request = requests.compare_request(first_image, second_image, **arguments)
        return convert.comparison(await self._compare(request, self._options(options, timeout_seconds)))

    async def send_build_face_model(
        self, request: models.BuildFaceModelRequest, options: CallOptions | None = None
    ) -> FaceModelBuild:
        """Send a message of the contract. Raises LikenessError."""
        return convert.face_model_build(await self._build_face_model(request, options or self._default))

    async def build_face_model(
        self,
        face_model_id: str,
        images: Sequence[ImageSource],
        *,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> FaceModelBuild:
        """Build a face model from 1–20 photos of one person and keep it.

        ``arguments``: average ("mean", "median"), min_score (0.1–0.99) and replace. Raises LikenessError.
        """
        request = requests.build_face_model_request(face_model_id, images, **arguments)
        return await self.send_build_face_model(request, self._options(options, timeout_seconds))

    async def list_face_models(
        self,
        *,
        page_size: int = 0,
        page_token: str = "",
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
    ) -> FaceModelPage:
        """Return a page of the face models, by name. Raises LikenessError."""
        request = requests.list_face_models_request(page_size, page_token)
        return convert.face_model_page(await self._list_face_models(request, self._options(options, timeout_seconds)))

    async def get_face_model(
        self, face_model_id: str, *, options: CallOptions | None = None, timeout_seconds: float | None = None
    ) -> FaceModel:
        """Describe a face model. Raises LikenessError."""
        request = models.GetFaceModelRequest(face_model_id=face_model_id)
        answer = await self._get_face_model(request, self._options(options, timeout_seconds))
        return convert.face_model(answer.face_model)

    async def delete_face_model(
        self, face_model_id: str, *, options: CallOptions | None = None, timeout_seconds: float | None = None
    ) -> None:
        """Remove a face model. Raises LikenessError."""
        request = models.DeleteFaceModelRequest(face_model_id=face_model_id)
        await self._delete_face_model(request, self._options(options, timeout_seconds))

    async def register_lora(
        self,
        lora_id: str,
        source: LoraSource,
        *,
        trigger_word: str = "",
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
    ) -> Lora:
        """Keep a LoRA's safetensors file as the next version of ``lora_id``: 1–64 characters of a-z, 0-9, _ and -.

        The file is sent in parts, whatever its size. Raises LikenessError, and OSError when a path cannot be read.
        """
        return await self._loras.register(lora_id, source, trigger_word, self._options(options, timeout_seconds))

    async def list_loras(
        self, *, page_size: int = 0, page_token: str = "", options: CallOptions | None = None
    ) -> LoraPage:
        """Return a page of the LoRAs, each in its newest version; 100 a page when 0. Raises LikenessError."""
        return await self._loras.list(page_size, page_token, options or self._default)

    async def get_lora(self, lora_id: str, version: int = 0, *, options: CallOptions | None = None) -> Lora:
        """Describe a version of a LoRA, the newest when 0. Raises LikenessError."""
        return await self._loras.get(lora_id, version, options or self._default)

    async def delete_lora(
        self, lora_id: str, version: int = 0, *, options: CallOptions | None = None
    ) -> tuple[int, ...]:
        """Remove a version of a LoRA, or all when 0, and return which were removed. Raises LikenessError."""
        return await self._loras.delete(lora_id, version, options or self._default)

    async def generator_capabilities(self, options: CallOptions | None = None) -> GeneratorCapabilities:
        """Tell what the generator can do. Raises LikenessError."""
        answer = await self._generator_capabilities(generator.GetCapabilitiesRequest(), options or self._default)
        return convert.generator_capabilities(answer)

    async def faceswap_capabilities(self, options: CallOptions | None = None) -> FaceSwapCapabilities:
        """Tell what the faceswap service can do. Raises LikenessError."""
        answer = await self._faceswap_capabilities(faceswap.GetCapabilitiesRequest(), options or self._default)
        return convert.faceswap_capabilities(answer)

    async def editor_capabilities(self, options: CallOptions | None = None) -> EditorCapabilities:
        """Tell what the editor can do. Raises LikenessError."""
        return await self._edits.capabilities(options or self._default)

    async def health(self, timeout_seconds: float = HEALTH_TIMEOUT_SECONDS) -> dict[str, str]:
        """Return the state of each service by its gRPC name: SERVING, NOT_SERVING or UNREACHABLE."""
        states = await asyncio.gather(
            *(self._health_of(name, channel, timeout_seconds) for name, channel in self._channels.items())
        )
        return dict(zip(self._channels, states, strict=True))

    async def _health_of(self, name: str, channel: grpc.aio.Channel, timeout_seconds: float) -> str:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        check: UnaryCall[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse] = UnaryCall(stub.Check, name)
        try:
            answer = await check(
                health_pb2.HealthCheckRequest(service=name), CallOptions(timeout_seconds=timeout_seconds)
            )
        except LikenessError:
            return "UNREACHABLE"
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def _collect(
    events: AsyncGenerator[GenerationEvent, None], on_progress: Progress | None
) -> tuple[tuple[GeneratedPicture, ...], Finished]:
    """Return the pictures, in order, and the last event; ``on_progress`` is told of each."""
    pictures: list[GeneratedPicture] = []
    finished: Finished | None = None
    async with aclosing(events) as stream:
        async for event in stream:
            if isinstance(event, GeneratedPicture):
                pictures.append(event)
            elif isinstance(event, Finished):
                finished = event
            if on_progress is not None:
                outcome = on_progress(event)
                if inspect.isawaitable(outcome):
                    await outcome
    assert finished is not None  # the stream raises when it is missing
    return tuple(sorted(pictures, key=lambda item: item.index)), finished
