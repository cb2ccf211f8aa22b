"""Services without a model whose pictures tell by their colour which way they went and what scene they show."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from PIL import Image

from likeness.client import AsyncClient
from likeness.errors import NoFace
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.generator.v1 import generator_service_pb2 as generator
from tests.support.fake_editor import FakeEditor, running_editor
from tests.support.services import (
    FakeFaceSwap,
    FakeGenerator,
    face,
    image_message,
    picture,
    running_faceswap,
    running_generator,
)

REFERENCE = picture((1, 2, 3))
PHOTO = picture((4, 5, 6))
SWAPPED, EDITED, DRAWN_WITH_LORA = (20, 160, 220), (90, 160, 80), (200, 40, 200)
SCENES = {"at sea": (40, 90, 220), "in a garden": (60, 200, 60)}
IDENTITIES = {SWAPPED: 0.6, EDITED: 0.4, DRAWN_WITH_LORA: 0.5}
OF_STRANGERS = 0.1
SIZE = (256, 384)


def colour_of(data: bytes) -> tuple[int, int, int]:
    """Return the colour of a picture that has one."""
    with Image.open(io.BytesIO(data)) as opened:
        red, green, blue = opened.convert("RGB").tobytes()[:3]
    return red, green, blue


class SceneGenerator(FakeGenerator):
    """Draws a scene in its colour, and with a LoRA in another."""

    async def Generate(self, request: generator.GenerateRequest, context: Any) -> AsyncIterator[Any]:
        """Draw."""
        async for response in super().Generate(request, context):
            if response.WhichOneof("event") == "image":
                scene = next(colour for name, colour in SCENES.items() if name in request.prompt)
                colour = DRAWN_WITH_LORA if request.loras else scene
                drawn = image_message(request.output, colour)
                drawn.width, drawn.height = SIZE
                response.image.image.CopyFrom(drawn)
            yield response


class TellingFaceSwap(FakeFaceSwap):
    """Knows by its colour how alike a picture is."""

    def __init__(self) -> None:
        """Find a face that leaves most of the picture free."""
        super().__init__()
        self.faces = [face(width=4)]
        self.faceless: tuple[int, int, int] | None = None
        self.unusable: bytes | None = None

    async def DetectFaces(self, request: faceswap.DetectFacesRequest, context: Any) -> faceswap.DetectFacesResponse:
        """Find no face in pictures of the colour ``faceless``."""
        answer = await super().DetectFaces(request, context)
        if colour_of(request.image.data) == self.faceless:
            del answer.faces[:]
        return answer

    async def CompareFaces(self, request: Any, context: Any) -> faceswap.CompareFacesResponse:
        """Answer by the colour of the second picture; another photo has 0.1 less than the reference."""
        if request.second_image.data == self.unusable:
            raise NoFace("no face", field="second_image")
        answer = await super().CompareFaces(request, context)
        identity = IDENTITIES.get(colour_of(request.second_image.data), OF_STRANGERS)
        answer.identity = identity - (0.1 if request.first_image.data == PHOTO else 0)
        return answer


@dataclass
class Services:
    """All services that a comparison calls."""

    generator: SceneGenerator = field(default_factory=SceneGenerator)
    faceswap: TellingFaceSwap = field(default_factory=TellingFaceSwap)
    editor: FakeEditor = field(default_factory=FakeEditor)
    addresses: tuple[str, str, str] = ("", "", "")


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    """Serve all three."""
    services = Services()
    async with (
        running_generator(services.generator) as first,
        running_faceswap(services.faceswap) as second,
        running_editor(services.editor) as third,
    ):
        services.addresses = (first, second, third)
        yield services


@pytest.fixture
async def client(services: Services) -> AsyncIterator[AsyncClient]:
    """A client of them."""
    async with AsyncClient(*services.addresses) as client:
        yield client
