"""`Client`: `AsyncClient` without ``await``, for scripts and notebooks.

with Client() as client:
    client.generate("a man on a beach", mode="fast").pictures[0].picture.save("beach.png")
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from likeness._lora_calls import LoraSource
from likeness._messages import ImageSource
from likeness.calls import CallOptions
from likeness.channel import DEFAULT_FACESWAP_ADDRESS, DEFAULT_GENERATOR_ADDRESS, ChannelOptions
from likeness.client import AsyncClient
from likeness.edits import Editing, EditorCapabilities
from likeness.face_models import FaceModel, FaceModelBuild, FaceModelPage
from likeness.loras import Lora, LoraPage
from likeness.results import (
    Comparison,
    Faces,
    FaceSwapCapabilities,
    Generation,
    GenerationEvent,
    GeneratorCapabilities,
    SwapResult,
)

T = TypeVar("T")


class Client:
    """The blocking client. It keeps an event loop in a thread of its own; safe to use from several threads."""

    def __init__(
        self,
        generator_address: str = DEFAULT_GENERATOR_ADDRESS,
        faceswap_address: str = DEFAULT_FACESWAP_ADDRESS,
        editor_address: str | None = None,
        *,
        channel_options: ChannelOptions | None = None,
        default_options: CallOptions | None = None,
    ) -> None:
        """Take the services' addresses, ``host:port`` or a gRPC target. Connects with the first call."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="likeness-client", daemon=True)
        self._thread.start()

        async def build() -> AsyncClient:
            return AsyncClient(
                generator_address,
                faceswap_address,
                editor_address,
                channel_options=channel_options,
                default_options=default_options,
            )

        try:
            self._client = self._run(build())
        except BaseException:
            self._stop()
            raise

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C arrives here: without this the server would go on drawing for nobody.
            future.cancel()
            raise

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the channels and end the thread."""
        self.close()

    def close(self) -> None:
        """Close the channels and end the thread; a second call does nothing."""
        if self._thread.is_alive():
            self._run(self._client.close())
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def generate(
        self, prompt: str, *, on_progress: Callable[[GenerationEvent], None] | None = None, **arguments: Any
    ) -> Generation:
        """Draw pictures; see `AsyncClient.generate`. ``on_progress`` is called from the client's own thread."""
        return self._run(self._client.generate(prompt, on_progress=on_progress, **arguments))

    def edit(
        self,
        images: ImageSource | Sequence[ImageSource],
        instruction: str = "",
        *,
        on_progress: Callable[[GenerationEvent], None] | None = None,
        **arguments: Any,
    ) -> Editing:
        """Change pictures; see `AsyncClient.edit`. ``on_progress`` is called from the client's own thread."""
        return self._run(self._client.edit(images, instruction, on_progress=on_progress, **arguments))

    def detect_faces(self, image: ImageSource, **arguments: Any) -> Faces:
        """Find the faces of a picture; see `AsyncClient.detect_faces`."""
        return self._run(self._client.detect_faces(image, **arguments))

    def swap(
        self, target_image: ImageSource, reference_image: ImageSource | None = None, **arguments: Any
    ) -> SwapResult:
        """Put a face onto a target picture; see `AsyncClient.swap`."""
        return self._run(self._client.swap(target_image, reference_image, **arguments))

    def compare_faces(self, first_image: ImageSource, second_image: ImageSource, **arguments: Any) -> Comparison:
        """Tell how alike two faces are; see `AsyncClient.compare_faces`."""
        return self._run(self._client.compare_faces(first_image, second_image, **arguments))

    def build_face_model(self, face_model_id: str, images: Sequence[ImageSource], **arguments: Any) -> FaceModelBuild:
        """Build a face model and keep it; see `AsyncClient.build_face_model`."""
        return self._run(self._client.build_face_model(face_model_id, images, **arguments))

    def list_face_models(self, **arguments: Any) -> FaceModelPage:
        """Return a page of the face models; see `AsyncClient.list_face_models`."""
        return self._run(self._client.list_face_models(**arguments))

    def get_face_model(self, face_model_id: str, **arguments: Any) -> FaceModel:
        """Describe a face model; see `AsyncClient.get_face_model`."""
        return self._run(self._client.get_face_model(face_model_id, **arguments))

    def delete_face_model(self, face_model_id: str, **arguments: Any) -> None:
        """Remove a face model; see `AsyncClient.delete_face_model`."""
        self._run(self._client.delete_face_model(face_model_id, **arguments))

    def register_lora(self, lora_id: str, source: LoraSource, **arguments: Any) -> Lora:
        """Keep a LoRA as the next version of its name; see `AsyncClient.register_lora`."""
        return self._run(self._client.register_lora(lora_id, source, **arguments))

    def list_loras(self, **arguments: Any) -> LoraPage:
        """Return a page of the LoRAs; see `AsyncClient.list_loras`."""
        return self._run(self._client.list_loras(**arguments))

    def get_lora(self, lora_id: str, version: int = 0, **arguments: Any) -> Lora:
        """Describe a version of a LoRA; see `AsyncClient.get_lora`."""
        return self._run(self._client.get_lora(lora_id, version, **arguments))

    def delete_lora(self, lora_id: str, version: int = 0, **arguments: Any) -> tuple[int, ...]:
        """Remove a version of a LoRA, or all; see `AsyncClient.delete_lora`."""
        return self._run(self._client.delete_lora(lora_id, version, **arguments))

    def generator_capabilities(self) -> GeneratorCapabilities:
        """Tell what the generator can do."""
        return self._run(self._client.generator_capabilities())

    def editor_capabilities(self) -> EditorCapabilities:
        """Tell what the editor can do."""
        return self._run(self._client.editor_capabilities())

    def faceswap_capabilities(self) -> FaceSwapCapabilities:
        """Tell what the faceswap service can do."""
        return self._run(self._client.faceswap_capabilities())

    def health(self) -> dict[str, str]:
        """Return the state of each service by its gRPC name: SERVING, NOT_SERVING or UNREACHABLE."""
        return self._run(self._client.health())
