"""One picture of each way, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from likeness.client import AsyncClient
from likeness.errors import Internal, InvalidRequest, LikenessError
from likeness.results import LoraUse, Picture
from likeness.ways.plan import WaysPlan
from likeness.ways.result import PLAIN, Way


@dataclass(frozen=True)
class Place:
    """Which picture of a way."""

    scene: str
    seed: int


@dataclass(frozen=True)
class Drawn:
    """A picture that came along with its bytes."""

    picture: Picture
    seconds: float
    """From the first call to the last answer, less the time in queues."""

    @property
    def data(self) -> bytes:
        """The encoded file."""
        assert self.picture.data is not None  # never asked to be stored
        return self.picture.data


class Makers:
    """The calls that make a picture by each way. The plain drawings have to come first: swaps go into them."""

    def __init__(self, client: AsyncClient, plan: WaysPlan) -> None:
        """Make what ``plan`` says."""
        self._client = client
        self._plan = plan
        self._plain: dict[Place, Drawn] = {}
        self._plain_fault: LikenessError = Internal("the scenes were not drawn first")
        self._makers: dict[str, Callable[[Place], Awaitable[Drawn]]] = {
            PLAIN: self._draw_plain,
            Way.SWAP: self._swap,
            Way.EDIT: self._edit,
            Way.LORA: self._draw_with_lora,
        }

    async def make(self, way: str, place: Place) -> Drawn:
        """Make a picture. Raises LikenessError."""
        return await self._makers[way](place)

    async def _draw_plain(self, place: Place) -> Drawn:
        try:
            drawn = await self._draw(self._plan.prompt(place.scene), place.seed)
        except LikenessError as error:
            self._plain_fault = error
            raise
        self._plain[place] = drawn
        return drawn

    async def _draw_with_lora(self, place: Place) -> Drawn:
        if self._plan.lora is None:
            raise InvalidRequest("no LoRA of the character was named", field="lora")
        return await self._draw(self._plan.prompt(place.scene, with_lora=True), place.seed, (self._plan.lora,))

    async def _draw(self, prompt: str, seed: int, loras: tuple[LoraUse, ...] = ()) -> Drawn:
        begin = time.perf_counter()
        answer = await self._client.generate(prompt, seed=seed, mode=self._plan.mode, loras=loras)
        return Drawn(answer.pictures[0].picture, time.perf_counter() - begin - answer.finished.timings.queue_seconds)

    async def _swap(self, place: Place) -> Drawn:
        plain = self._plain.get(place)
        if plain is None:
            raise self._plain_fault
        begin = time.perf_counter()
        answer = await self._client.swap(
            plain.data, self._plan.reference, reference_face_index=0, engine=self._plan.engine
        )
        seconds = time.perf_counter() - begin - answer.timings.get("queue", 0.0)
        return Drawn(answer.picture, plain.seconds + seconds)

    async def _edit(self, place: Place) -> Drawn:
        plain = self._plain.get(place)
        begin = time.perf_counter()
        answer = await self._client.edit(
            [self._plan.reference],
            scene=place.scene,
            seed=place.seed,
            mode=self._plan.mode,
            denoise=self._plan.denoise,
            # In the size of the others, where that is known: a smaller picture would be a faster one.
            width=None if plain is None else plain.picture.width,
            height=None if plain is None else plain.picture.height,
        )
        return Drawn(answer.pictures[0].picture, time.perf_counter() - begin - answer.finished.timings.queue_seconds)
