"""Making the pictures of every way and measuring them, one after the other so that times mean something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean

from likeness.client import AsyncClient
from likeness.errors import InvalidRequest, LikenessError, NoFace, ServiceUnavailable
from likeness.ways.makers import Drawn, Makers, Place
from likeness.ways.plan import WaysPlan
from likeness.ways.result import PLAIN, MadePicture, Way, WayError, WaysResult, way_result
from likeness.ways.scene import Scene, scene_kept


@dataclass(frozen=True)
class Position:
    """Where a comparison is."""

    way: str
    """``plain`` or a `Way`."""
    done: int
    """Pictures of all ways that are done."""
    total: int


Progress = Callable[[Position], None]
_Key = tuple[str, Place]


async def compare_ways(client: AsyncClient, plan: WaysPlan, on_progress: Progress | None = None) -> WaysResult:
    """Draw the plan's character by each way, and measure.

    A way that fails is named in the result with its error, and the others go on. Raises InvalidRequest for a plan that
    makes no sense, NoFace for a reference without a face, and, when no way makes any picture, the first way's error.
    """
    plan.check()
    if plan.lora is None and set(plan.ways) == {Way.LORA}:
        raise InvalidRequest("lora: name the character's LoRA, or another way beside it", field="lora")
    comparison = _Comparison(client, plan, on_progress or (lambda position: None))
    warnings = await comparison.look_at_reference()
    photos_identity = await comparison.look_at_photos(warnings)
    await comparison.go(PLAIN)
    for way in plan.ways:
        await comparison.go(way)
    return comparison.result(photos_identity, tuple(warnings))


class _Comparison:
    def __init__(self, client: AsyncClient, plan: WaysPlan, on_progress: Progress) -> None:
        self._client = client
        self._plan = plan
        self._on_progress = on_progress
        self._makers = Makers(client, plan)
        self._photos: list[bytes] = []
        self._places = [Place(scene, seed) for scene in plan.scenes for seed in plan.seeds]
        self._pictures: dict[_Key, MadePicture] = {}
        self._scenes: dict[_Key, Scene] = {}
        self._faults: dict[str, LikenessError] = {}

    async def look_at_reference(self) -> list[str]:
        faces = (await self._client.detect_faces(self._plan.reference)).faces
        if not faces:
            raise NoFace("reference: no face was found in it", field="reference")
        return [] if len(faces) == 1 else [f"the reference shows {len(faces)} faces; the largest one is meant"]

    async def look_at_photos(self, warnings: list[str]) -> float | None:
        identities = []
        for number, photo in enumerate(self._plan.photos, start=1):
            try:
                identities.append((await self._client.compare_faces(self._plan.reference, photo)).identity)
            except ServiceUnavailable:
                raise
            except LikenessError as error:
                warnings.append(f"photo {number} is left out: {error.message}")
            else:
                self._photos.append(photo)
        return fmean(identities) if identities else None

    async def go(self, way: str) -> None:
        """Make and measure a picture for every place; ask no more where the way is closed."""
        closed: LikenessError | None = None
        for place in self._places:
            self._on_progress(Position(way, len(self._pictures), len(self._places) * (len(self._plan.ways) + 1)))
            made = MadePicture(place.scene, place.seed, self._words(way, place))
            try:
                if closed is not None:
                    raise closed
                drawn = await self._makers.make(way, place)
                made = replace(made, picture=drawn.picture, seconds=drawn.seconds)
                made = await self._measured(way, place, made, drawn)
            except LikenessError as error:
                made = replace(made, error=WayError(error.reason, error.message))
                self._faults.setdefault(way, error)
                if isinstance(error, ServiceUnavailable | InvalidRequest) and made.picture is None:
                    closed = error
            self._pictures[way, place] = made

    def result(self, photos_identity: float | None, warnings: tuple[str, ...]) -> WaysResult:
        """Return all that was made. Raises the first way's error when none made anything."""
        ways = {}
        for way in (PLAIN, *self._plan.ways):
            ways[way] = way_result(
                way,
                [replace(self._pictures[way, at], scene_kept=self._scene_kept(way, at)) for at in self._places],
                set_up_seconds=self._plan.lora_seconds if way == Way.LORA else 0.0,
            )
        plain = ways.pop(PLAIN)
        if not any(way.made for way in ways.values()):
            raise self._faults[self._plan.ways[0]]
        return WaysResult(plain, tuple(ways.values()), photos_identity, warnings)

    def _words(self, way: str, place: Place) -> str:
        return place.scene if way == Way.EDIT else self._plan.prompt(place.scene, with_lora=way == Way.LORA)

    async def _measured(self, way: str, place: Place, made: MadePicture, drawn: Drawn) -> MadePicture:
        faces = (await self._client.detect_faces(drawn.data)).faces
        self._scenes[way, place] = Scene.of(drawn.data, faces)
        identities = [0.0] * (1 + len(self._photos))
        if faces:
            of_person = (self._plan.reference, *self._photos)
            identities = [(await self._client.compare_faces(photo, drawn.data)).identity for photo in of_person]
        return replace(
            made,
            faces=len(faces),
            identity=identities[0],
            identity_to_photos=fmean(identities[1:]) if self._photos else None,
        )

    def _scene_kept(self, way: str, place: Place) -> float | None:
        """Compare with the plain drawings that began with the same noise."""
        scene, own = self._scenes.get((way, place)), self._scenes.get((PLAIN, place))
        if scene is None or own is None:
            return None
        others = (Place(name, place.seed) for name in self._plan.scenes if name != place.scene)
        return scene_kept(scene, own, [self._scenes[PLAIN, at] for at in others if (PLAIN, at) in self._scenes])
