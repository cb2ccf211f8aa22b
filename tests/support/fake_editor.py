"""A small editor of the contract's own signature: a real gRPC server without a model, for tests of faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from core.runtime.server import ServiceSpec, running_service
from core.runtime.settings import ServiceSettings
from likeness.common.v1 import image_pb2, progress_pb2
from likeness.editor.v1 import editor_service_pb2 as editor
from likeness.editor.v1 import editor_service_pb2_grpc as editor_grpc
from likeness.errors import LikenessError
from likeness.generator.v1 import generator_service_pb2 as generator
from tests.support.services import STEPS, image_message

EDITOR = "likeness.editor.v1.EditorService"


class FakeEditor(editor_grpc.EditorServiceServicer):
    """Answers with pictures of one colour; a test sets how it fails or waits."""

    def __init__(self) -> None:
        """Edit at once and without error."""
        self.requests: list[editor.EditRequest] = []
        self.error: LikenessError | None = None
        self.gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def Edit(self, request: editor.EditRequest, context: Any) -> AsyncIterator[Any]:
        """Edit."""
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        response = editor.EditResponse
        seed = request.seed if request.HasField("seed") else 42
        yield response(queued=progress_pb2.Queued(position=0))
        yield response(started=progress_pb2.Started())
        try:
            for index in range(request.count or 1):
                for step in range(1, STEPS + 1):
                    yield response(step=progress_pb2.Step(image_index=index, step=step, total_steps=STEPS))
                    if request.preview_every and step % request.preview_every == 0 and step < STEPS:
                        shown = image_message(image_pb2.ImageOutput(format=image_pb2.IMAGE_FORMAT_JPEG), (9, 9, 9))
                        place = {"image_index": index, "step": step, "total_steps": STEPS}
                        yield response(preview=generator.GeneratePreview(**place, image=shown))
                if self.gate is not None:
                    self.waiting.set()
                    await self.gate.wait()
                image = image_message(request.output, (90, 160, 80))
                yield response(image=generator.GeneratedImage(index=index, seed=seed + index, image=image))
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finished = editor.EditFinished(
            seed=seed, width=32, height=48, mode=request.mode or "full", steps=STEPS, true_cfg_scale=3.0,
            denoise=request.denoise or 0.7, instruction=request.instruction or f"there: {request.scene}",
            model=progress_pb2.ModelInfo(name="likeness/fake-edit", revision="r1", profile="miniature-edit"),
        )  # fmt: skip
        yield response(finished=finished)

    async def GetCapabilities(self, request: Any, context: Any) -> editor.GetCapabilitiesResponse:
        """Tell of one mode."""
        return editor.GetCapabilitiesResponse(
            model=progress_pb2.ModelInfo(name="likeness/fake-edit", profile="miniature-edit"),
            modes=[generator.Mode(name="full", default_steps=STEPS)],
            max_images=4,
            default_denoise=0.7,
        )


def running_editor(servicer: FakeEditor) -> AbstractAsyncContextManager[str]:
    """Serve an editor on a free port; yield its address."""
    spec = ServiceSpec(
        name="editor",
        service_names=(EDITOR,),
        load=lambda: servicer,
        register=lambda server, loaded: editor_grpc.add_EditorServiceServicer_to_server(servicer, server),
    )
    return running_service(spec, ServiceSettings(port=0))
