"""The generator's protocol: messages in, calls to the engine, messages out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc.aio

from core.qwen import messages
from core.qwen.answering import answer, capability_fields, find_loras
from core.qwen.request import GenerationRequest
from core.runtime.artifacts import ArtifactStore
from likeness.common.v1 import progress_pb2
from likeness.generator.v1 import generator_service_pb2 as pb2
from likeness.generator.v1 import generator_service_pb2_grpc
from services.generator.engine import GeneratorEngine

Context = grpc.aio.ServicerContext[Any, Any]


class GeneratorServicer(generator_service_pb2_grpc.GeneratorServiceServicer):
    """``likeness.generator.v1.GeneratorService`` over an engine."""

    def __init__(self, engine: GeneratorEngine, artifacts: ArtifactStore) -> None:
        """Answer with ``engine``'s pictures, kept in ``artifacts`` when a request asks for that."""
        self._engine = engine
        self._artifacts = artifacts

    async def Generate(self, request: pb2.GenerateRequest, context: Context) -> AsyncIterator[pb2.GenerateResponse]:
        """Draw pictures and tell of the progress; the errors are those of the engine."""
        started = time.monotonic()
        admitted = self._engine.admit(
            prompt=request.prompt,
            aspect_ratio=request.aspect_ratio,
            loras=await find_loras(self._engine, request),
            **messages.drawing_choices(request),
        )

        def finish(timings: progress_pb2.Timings) -> pb2.GenerateFinished:
            return self._finished(admitted, timings)

        responses = answer(self._engine, admitted, request, context, self._artifacts, started=started, finish=finish)
        async with aclosing(responses):
            async for fields in responses:
                yield pb2.GenerateResponse(**fields)

    async def GetCapabilities(
        self, request: pb2.GetCapabilitiesRequest, context: Context
    ) -> pb2.GetCapabilitiesResponse:
        """Tell what this deployment can do."""
        loras = self._engine.loras
        return pb2.GetCapabilitiesResponse(
            **capability_fields(self._engine),
            sizes=[
                pb2.Size(aspect_ratio=ratio, width=size.width, height=size.height)
                for ratio, size in self._engine.profile.sizes.by_aspect_ratio.items()
            ],
            max_lora_rank=loras.max_rank,
            max_total_lora_rank=loras.stack.rows,
            max_lora_bytes=loras.max_file_bytes,
        )

    def _finished(self, request: GenerationRequest, timings: progress_pb2.Timings) -> pb2.GenerateFinished:
        return pb2.GenerateFinished(
            **messages.finished_fields(request, self._engine.model.description, timings),
            width=request.size.width,
            height=request.size.height,
        )
