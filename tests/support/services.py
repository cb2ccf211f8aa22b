"""Small services of the contract's own signatures: real gRPC servers without a model, for tests of faults."""

from __future__ import annotations

import asyncio
import hashlib
import io
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from PIL import Image

from core.runtime.calls import current_metadata
from core.runtime.server import ServiceSpec, running_service
from core.runtime.settings import ServiceSettings
from likeness.common.v1 import image_pb2, progress_pb2
from likeness.errors import LikenessError
from likeness.faceswap.v1 import face_model_service_pb2_grpc as face_model_grpc
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.faceswap.v1 import faceswap_service_pb2_grpc as faceswap_grpc
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.generator.v1 import generator_service_pb2_grpc as generator_grpc
from likeness.generator.v1 import lora_service_pb2_grpc as lora_grpc
from tests.support.face_models import FakeFaceModels
from tests.support.loras import FakeLoras

GENERATOR = "likeness.generator.v1.GeneratorService"
FACESWAP = "likeness.faceswap.v1.FaceSwapService"
FACE_MODELS = "likeness.faceswap.v1.FaceModelService"
STEPS = 4
PIL_FORMATS = {0: "PNG", 1: "PNG", 2: "JPEG", 3: "WEBP"}


def picture(
    colour: tuple[int, int, int] = (200, 120, 80), size: tuple[int, int] = (32, 48), kind: str = "PNG"
) -> bytes:
    """Return an encoded picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def image_message(output: image_pb2.ImageOutput, colour: tuple[int, int, int]) -> image_pb2.Image:
    """Return a picture as a service answers with it."""
    kind = PIL_FORMATS[output.format]
    data = picture(colour, kind=kind)
    digest = hashlib.sha256(data).hexdigest()
    message = image_pb2.Image(media_type=f"image/{kind.lower()}", width=32, height=48, sha256=digest)
    if output.store:
        suffix = {"JPEG": "jpg"}.get(kind, kind.lower())
        message.artifact_uri = f"artifact://images/{digest}.{suffix}"
    else:
        message.data = data
    return message


def face(index: int = 0, *, width: float = 120.0, yaw: float = 3.0, pitch: float = -2.0) -> faceswap.Face:
    """Return a face as the service describes it."""
    return faceswap.Face(
        index=index,
        box=faceswap.BoundingBox(x=10, y=20, width=width, height=width * 1.2),
        score=0.97,
        landmarks=[faceswap.Point(x=k, y=2 * k) for k in range(5)],
        pose=faceswap.HeadPose(yaw=yaw, pitch=pitch, roll=1),
        gender=faceswap.GENDER_FEMALE,
        gender_score=0.9,
        age_years=34.5,
        sharpness=210,
    )


class FakeGenerator(generator_grpc.GeneratorServiceServicer):
    """Draws pictures of one colour; a test sets how it fails or waits."""

    def __init__(self) -> None:
        """Draw at once and without error."""
        self.loras = FakeLoras()
        self.requests: list[generator.GenerateRequest] = []
        self.metadata: list[Any] = []
        self.error: LikenessError | None = None
        self.error_after_steps: LikenessError | None = None
        self.gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()
        self.waiters = asyncio.Semaphore(0)
        self.cancelled = asyncio.Event()

    async def Generate(self, request: generator.GenerateRequest, context: Any) -> AsyncIterator[Any]:
        """Draw."""
        self.requests.append(request)
        self.metadata.append(current_metadata())
        if self.error is not None:
            raise self.error
        response = generator.GenerateResponse
        seed = request.seed if request.HasField("seed") else 42
        yield response(queued=progress_pb2.Queued(position=0))
        yield response(started=progress_pb2.Started())
        try:
            for index in range(request.count or 1):
                for step in range(1, STEPS + 1):
                    yield response(step=progress_pb2.Step(image_index=index, step=step, total_steps=STEPS))
                    if request.preview_every and step % request.preview_every == 0 and step < STEPS:
                        shown = image_message(image_pb2.ImageOutput(format=image_pb2.IMAGE_FORMAT_JPEG), (9, 9, 9))
                        yield response(
                            preview=generator.GeneratePreview(
                                image_index=index, step=step, total_steps=STEPS, image=shown
                            )
                        )
                if self.error_after_steps is not None:
                    raise self.error_after_steps
                if self.gate is not None:
                    self.waiting.set()
                    self.waiters.release()
                    await self.gate.wait()
                image = image_message(request.output, (200, 120, 80))
                yield response(image=generator.GeneratedImage(index=index, seed=seed + index, image=image))
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finished = generator.GenerateFinished(
            seed=seed, width=32, height=48, mode=request.mode or "full", steps=STEPS, true_cfg_scale=3.0,
            model=progress_pb2.ModelInfo(name="likeness/fake", revision="r1", profile="miniature", precision="float32"),
        )  # fmt: skip
        finished.timings.denoise.FromMilliseconds(120)
        yield response(finished=finished)

    async def GetCapabilities(self, request: Any, context: Any) -> generator.GetCapabilitiesResponse:
        """Tell of one mode and one size."""
        return generator.GetCapabilitiesResponse(
            model=progress_pb2.ModelInfo(name="likeness/fake", profile="miniature"),
            modes=[generator.Mode(name="full", default_steps=STEPS, default_true_cfg_scale=3.0, adjustable=True)],
            sizes=[generator.Size(aspect_ratio="1:1", width=256, height=256)],
            size_multiple=16,
            max_count=8,
            queue_capacity=16,
        )


class FakeFaceSwap(faceswap_grpc.FaceSwapServiceServicer):
    """Finds the faces that a test names, and swaps by changing the colour."""

    def __init__(self) -> None:
        """Find one good face."""
        self.models = FakeFaceModels()
        self.comparisons: list[faceswap.CompareFacesRequest] = []
        self.faces = [face()]
        self.detections: list[faceswap.DetectFacesRequest] = []
        self.swaps: list[faceswap.SwapRequest] = []
        self.error: LikenessError | None = None
        self.detect_error: LikenessError | None = None
        self.swap_error: LikenessError | None = None
        self.gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def DetectFaces(self, request: faceswap.DetectFacesRequest, context: Any) -> faceswap.DetectFacesResponse:
        """Answer with the test's faces."""
        self.detections.append(request)
        if self.error or self.detect_error:
            raise self.error or self.detect_error  # type: ignore[misc]
        response = faceswap.DetectFacesResponse(faces=self.faces, width=512, height=512)
        if request.HasField("drawing"):
            response.drawing.CopyFrom(image_message(request.drawing, (9, 9, 9)))
        return response

    async def Swap(self, request: faceswap.SwapRequest, context: Any) -> faceswap.SwapResponse:
        """Change the colour."""
        self.swaps.append(request)
        if self.error or self.swap_error:
            raise self.error or self.swap_error  # type: ignore[misc]
        if self.gate is not None:
            self.waiting.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return faceswap.SwapResponse(
            image=image_message(request.output, (20, 160, 220)),
            swapped=[faceswap.SwappedFace(identity_before=0.04, identity_after=0.61, seam_ratio=1.1)],
            target_faces=[face(), face(1)],
            skipped=[
                faceswap.SkippedFace(
                    target_face_index=1, reason=faceswap.SKIP_REASON_GENDER, detail="looks male (0.90), not female"
                )
            ],
            references=[faceswap.UsedReference(face=face(), face_model_id=request.face_model_id)],
            reference_face=face(),
            engine="mesh",
            restoration=faceswap.Restoration(applied=False, reason="the profile has no restorer"),
            timings=faceswap.SwapTimings(swap_milliseconds=30, total_milliseconds=90),
        )

    async def CompareFaces(self, request: Any, context: Any) -> faceswap.CompareFacesResponse:
        """Answer that both are alike."""
        self.comparisons.append(request)
        return faceswap.CompareFacesResponse(identity=0.5, first_face=face(), second_face=face())

    async def GetCapabilities(self, request: Any, context: Any) -> faceswap.GetCapabilitiesResponse:
        """Tell of one engine and its limits."""
        if self.error:
            raise self.error
        return faceswap.GetCapabilitiesResponse(
            engines=["mesh"],
            max_pose_degrees=35,
            min_reference_face_pixels=64,
            min_target_face_pixels=24,
            max_reference_turn_degrees=25,
        )


def running_generator(
    servicer: Any, *, load: Any = None, wait_until_loaded: bool = True
) -> AbstractAsyncContextManager[str]:
    """Serve a generator, with the registry of its ``loras`` where it has one, on a free port; yield its address."""

    def register(server: Any, loaded: Any) -> None:
        generator_grpc.add_GeneratorServiceServicer_to_server(servicer, server)
        if hasattr(servicer, "loras"):
            lora_grpc.add_LoraServiceServicer_to_server(servicer.loras, server)

    spec = ServiceSpec(name="generator", service_names=(GENERATOR,), load=load or (lambda: servicer), register=register)
    return running_service(spec, ServiceSettings(port=0), wait_until_loaded=wait_until_loaded)


def running_faceswap(servicer: FakeFaceSwap) -> AbstractAsyncContextManager[str]:
    """Serve a faceswap service on a free port, with its face models; yield its address."""

    def register(server: Any, loaded: Any) -> None:
        faceswap_grpc.add_FaceSwapServiceServicer_to_server(servicer, server)
        face_model_grpc.add_FaceModelServiceServicer_to_server(servicer.models, server)

    spec = ServiceSpec(name="faceswap", service_names=(FACESWAP, FACE_MODELS), load=lambda: servicer, register=register)
    return running_service(spec, ServiceSettings(port=0))


def unused_address() -> str:
    """Return the address of a port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"
