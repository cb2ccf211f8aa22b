"""Random requests for `bench.soak_faceswap`, each with the outcomes that are right for it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from PIL import Image as PillowImage

from bench.soak_outcome import LEFT, OK, Case, Outcome, faults_of
from core.runtime import images as codec
from likeness.calls import CallOptions
from likeness.client import AsyncClient
from likeness.errors import LikenessError
from likeness.metadata import CallMetadata
from likeness.results import Faces, ImageFormat, SwapResult
from tests.support.faces import BARE, drawn, portrait, shots

HEADS = tuple(f"head-{index}" for index in BARE)
GROUP, REFERENCE = "group", "portrait"
MODELS = ("soak-0", "soak-1", "soak-2")
"""Face models that stay."""
PASSING = ("passing-0", "passing-1")
"""Face models that are built and deleted by the traffic."""
_SHOTS = 3
_FORMATS = (codec.ImageFormat.PNG, codec.ImageFormat.JPEG, codec.ImageFormat.WEBP)

BAD: tuple[tuple[str, tuple[str, ...], Mapping[str, Any], str], ...] = (
    ("swap", ("empty", REFERENCE), {}, "NO_FACE"),
    ("swap", (HEADS[0], "empty"), {}, "NO_FACE"),
    ("swap", (HEADS[0], "cut"), {}, "IMAGE_UNREADABLE"),
    ("swap", ("cut", REFERENCE), {}, "IMAGE_UNREADABLE"),
    ("swap", ("huge", REFERENCE), {}, "IMAGE_TOO_LARGE"),
    ("swap", (HEADS[0], GROUP), {}, "SEVERAL_FACES"),
    ("swap", (HEADS[0], "tiny"), {}, "FACE_TOO_SMALL"),
    ("swap", (HEADS[0], REFERENCE), {"target_face_indexes": [5]}, "FACE_INDEX_OUT_OF_RANGE"),
    ("swap", (HEADS[0], REFERENCE), {"engine": "another"}, "UNKNOWN_ENGINE"),
    ("swap", (HEADS[0], REFERENCE), {"min_score": 2.0}, "INVALID_REQUEST"),
    ("swap", (HEADS[0], REFERENCE), {"match_image": REFERENCE, "match_threshold": 0.95}, "NO_MATCHING_FACE"),
    ("swap", (HEADS[0],), {"face_model_id": "nobody-built-this"}, "FACE_MODEL_NOT_FOUND"),
    ("compare_faces", (REFERENCE, "empty"), {}, "NO_FACE"),
    ("detect_faces", ("cut",), {}, "IMAGE_UNREADABLE"),
    ("build_face_model", ("empty",), {"face_model_id": "soak-none"}, "PHOTOS_UNUSABLE"),
)


@dataclass(frozen=True)
class SoakPicture:
    """A picture that requests send."""

    data: bytes
    size: tuple[int, int] = (0, 0)
    """Width and height; unset where no answer has it."""
    faces: int = 0


def make_pictures() -> dict[str, SoakPicture]:
    """Return the pictures of all requests by name: drawn people in three formats, the portrait, and bad ones."""
    pictures = {}
    for place, (name, index) in enumerate(zip(HEADS, BARE, strict=True)):
        image = drawn(index, 192 + 32 * (place % 3))
        pictures[name] = _encoded(image, 1, _FORMATS[place % 3])
    pictures[GROUP] = _encoded(np.ascontiguousarray(np.hstack([drawn(index, 224) for index in BARE[:3]])), 3)
    pictures[REFERENCE] = _encoded(portrait(), 1, codec.ImageFormat.JPEG)
    for person in range(len(MODELS)):
        for number, image in enumerate(shots(person, _SHOTS, 256)):
            pictures[f"shot-{person}-{number}"] = _encoded(image, 1)
    small = cv2.resize(portrait(), (96, 96), interpolation=cv2.INTER_AREA)
    pictures["tiny"] = _encoded(np.asarray(small, dtype=np.uint8), 1)
    pictures["empty"] = _encoded(np.full((160, 200, 3), 140, dtype=np.uint8), 0)
    pictures["cut"] = SoakPicture(pictures[REFERENCE].data[:4000])
    huge = io.BytesIO()
    PillowImage.new("1", (20_000, 20_000)).save(huge, "PNG")
    pictures["huge"] = SoakPicture(huge.getvalue())
    return pictures


def _encoded(
    image: np.ndarray[Any, Any], faces: int, image_format: codec.ImageFormat = codec.ImageFormat.PNG
) -> SoakPicture:
    return SoakPicture(codec.encode_image(image, image_format).data, (image.shape[1], image.shape[0]), faces)


@dataclass(frozen=True)
class FaceTraffic:
    """Makes random cases for a faceswap service, and sends them."""

    pictures: Mapping[str, SoakPicture] = field(default_factory=make_pictures)
    choice: random.Random = field(default_factory=random.Random)

    def warm_up(self) -> list[Case]:
        """Return cases that build the face models and swap into every picture."""
        built = [self._built(model, person, "warm-up") for person, model in enumerate(MODELS)]
        swapped = [_case("warm-up", "swap", (name, REFERENCE), OK) for name in (*HEADS, GROUP)]
        return built + swapped

    def probes(self) -> list[Case]:
        """Return a swap of a picture and one of a face model, whose pictures have to stay equal to the bit."""
        model = _case("probe", "swap", (HEADS[1],), OK, face_model_id=MODELS[0])
        return [_case("probe", "swap", (HEADS[0], REFERENCE), OK), model]

    def draw(self) -> Case:
        """Return a random case."""
        kinds: list[tuple[Callable[[], Case], int]] = [
            (self._plain, 40),
            (self._group, 8),
            (self._model, 12),
            (self._build, 4),
            (self._delete, 3),
            (self._detect, 6),
            (self._compare, 4),
            (self._leaving, 10),
            (self._late, 5),
            (self._bad, 12),
        ]
        [make] = self.choice.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
        return make()

    async def run(self, client: AsyncClient, case: Case) -> Outcome:
        """Send a case and say how it ended. Raises nothing that the deployment could cause."""
        arguments = dict(case.arguments)
        names, call = arguments.pop("pictures"), getattr(client, arguments.pop("call"))
        sent = [self.pictures[name].data for name in names]
        if "match_image" in arguments:
            arguments["match_image"] = self.pictures[arguments["match_image"]].data
        if case.arguments["call"] == "build_face_model":
            arguments["images"], sent = sent, []
        options = CallOptions(CallMetadata.new(tenant_id=case.tenant), case.timeout_seconds)
        began = time.perf_counter()
        task = asyncio.ensure_future(call(*sent, options=options, **arguments))
        await asyncio.wait({task}, timeout=case.leave_after)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        seconds = time.perf_counter() - began
        if task.cancelled():
            return Outcome(case, LEFT, seconds)
        error = task.exception()
        if isinstance(error, LikenessError):
            return Outcome(case, error.reason, seconds)
        answer = task.result()
        faults = await asyncio.to_thread(self._faults, case, answer)
        digest = answer.picture.data or b"" if isinstance(answer, SwapResult) else b""
        return Outcome(case, OK, seconds, tuple(faults), hashlib.sha256(digest).hexdigest())

    def _faults(self, case: Case, answer: object) -> list[str]:
        target = self.pictures[case.arguments["pictures"][0]] if case.arguments["pictures"] else None
        if target is None:
            return []
        if isinstance(answer, Faces):
            return [] if len(answer.faces) == target.faces else [f"{len(answer.faces)} faces, not {target.faces}"]
        if not isinstance(answer, SwapResult):
            return []
        faults = faults_of(answer.picture, case.arguments.get("output_format", ImageFormat.PNG), target.size)
        every = case.arguments.get("all_target_faces", False)
        wanted = target.faces if every else len(case.arguments.get("target_face_indexes", ())) or 1
        if len(answer.swapped) + len([skip for skip in answer.skipped if every]) != wanted:
            faults.append(f"{len(answer.swapped)} faces changed, not {wanted}")
        faults += [
            f"identity {face.identity_before} became {face.identity_after}"
            for face in answer.swapped
            if case.arguments.get("swap_weight") is None
            and (face.identity_after is None or face.identity_after <= face.identity_before)
        ]
        return faults

    def _swap(self, kind: str, pictures: Sequence[str], *expected: str, **changes: Any) -> Case:
        options: dict[str, Any] = {
            "output_format": self.choice.choice(list(ImageFormat)),
            "quality": self.choice.choice((None, 50, 90)),
            "swap_weight": self.choice.choice((None, None, 0.5)),
        }
        tenant = self.choice.choice(("default", "acme", "umbrella"))
        return _case(kind, "swap", tuple(pictures), *expected, tenant=tenant, **options | changes)

    def _head(self) -> str:
        return self.choice.choice(HEADS)

    def _plain(self) -> Case:
        return self._swap("plain", (self._head(), REFERENCE), OK)

    def _group(self) -> Case:
        which = self.choice.choice(({"all_target_faces": True}, {"target_face_indexes": [2, 0]}))
        return self._swap("group", (GROUP, REFERENCE), OK, **which)

    def _model(self) -> Case:
        return self._swap("model", (self._head(),), OK, face_model_id=self.choice.choice(MODELS))

    def _build(self) -> Case:
        return self._built(self.choice.choice(PASSING), self.choice.randrange(len(MODELS)), "build")

    def _built(self, name: str, person: int, kind: str) -> Case:
        photos = tuple(f"shot-{person}-{number}" for number in range(_SHOTS))
        return _case(kind, "build_face_model", photos, OK, face_model_id=name, replace=True)

    def _delete(self) -> Case:
        name = self.choice.choice(PASSING)
        return _case("delete", "delete_face_model", (), OK, "FACE_MODEL_NOT_FOUND", face_model_id=name)

    def _detect(self) -> Case:
        return _case("detect", "detect_faces", (self.choice.choice((self._head(), GROUP, "empty")),), OK)

    def _compare(self) -> Case:
        return _case("compare", "compare_faces", (self._head(), REFERENCE), OK)

    def _leaving(self) -> Case:
        seconds = self.choice.uniform(0.0, 0.3)
        return self._swap("leaving", (self._head(), REFERENCE), OK, LEFT, leave_after=seconds)

    def _late(self) -> Case:
        ends = (OK, "DEADLINE_TOO_SHORT", "DEADLINE_EXCEEDED")
        return self._swap("late", (GROUP, REFERENCE), *ends, timeout_seconds=self.choice.choice((0.02, 0.1, 0.3)))

    def _bad(self) -> Case:
        call, pictures, changes, reason = self.choice.choice(BAD)
        return _case("bad", call, pictures, reason, **changes)


def _case(kind: str, call: str, pictures: tuple[str, ...], *expected: str, **changes: Any) -> Case:
    own = {name: changes.pop(name) for name in ("timeout_seconds", "leave_after", "tenant") if name in changes}
    return Case(kind, {"call": call, "pictures": pictures, **changes}, frozenset(expected), **own)
