"""The faceswap service's work: find, choose, swap, score. Knows arrays and faces, no messages."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.faces import Face, FaceAnalyser, FaceOrder, identity_score
from core.faces.arrays import Image
from core.faces.weights import ALL_FILES
from core.runtime.cancellation import CancelToken
from likeness.errors import FaceIndexOutOfRange, NoFace, SeveralFaces, UnknownEngine
from services.faceswap.engines.base import EngineResult, SwapEngine
from services.faceswap.engines.mesh import MeshEngine

TARGET = "target_image"
REFERENCE = "reference_image"
_WEAK_IDENTITY = 0.3
_BLURRED = 30.0


@dataclass(frozen=True)
class SwapChoices:
    """What a request asks for beside its two pictures."""

    target_face_indexes: tuple[int, ...] = ()
    """Faces of the target to change, counted in `target_order`; the first one when empty."""
    reference_face_index: int | None = None
    """Face of the reference, counted from large to small; None when it has to hold exactly one."""
    target_order: FaceOrder = FaceOrder.LARGE_TO_SMALL
    engine: str = ""
    """Name of the engine; the deployment's own when empty."""
    min_score: float = 0.5
    """Detections below this score do not count."""


@dataclass(frozen=True)
class SwappedFace:
    """What was done to one face of the target. Changes are after minus before; None when no face was found after."""

    index: int
    identity_before: float
    identity_after: float | None
    seam_ratio: float
    pose_change_degrees: float | None
    mouth_openness_change: float | None
    eye_openness_change: float | None


@dataclass(frozen=True)
class SwapSeconds:
    """Where the time went, in seconds."""

    analyse: float
    swap: float
    score: float


@dataclass(frozen=True)
class SwapOutcome:
    """The changed picture and what was done."""

    image: Image
    swapped: tuple[SwappedFace, ...]
    target_faces: tuple[Face, ...]
    """All faces of the target as they were, in the asked order."""
    reference_face: Face
    reference_face_index: int
    engine: str
    warnings: tuple[str, ...]
    seconds: SwapSeconds


class FaceSwapper:
    """Analyser and engines of a deployment. Keeps nothing between calls; safe to use from several threads."""

    def __init__(self, analyser: FaceAnalyser, engines: Sequence[SwapEngine], default_engine: str = "") -> None:
        """Swap with `engines`; the first one is the default unless `default_engine` names another.

        Raises UnknownEngine when `default_engine` is not among them.
        """
        self.analyser = analyser
        self._engines: Mapping[str, SwapEngine] = {engine.name: engine for engine in engines}
        self._default = default_engine or engines[0].name
        self.engine(self._default)

    @classmethod
    def load(cls, weights_dir: Path, *, threads: int, default_engine: str = "") -> FaceSwapper:
        """Load and verify the networks of ``weights_dir``/faces; raises ModelFileError, UnknownEngine."""
        analyser = FaceAnalyser(weights_dir / "faces", threads)
        return cls(analyser, [MeshEngine(analyser.canonical)], default_engine)

    @property
    def engine_names(self) -> tuple[str, ...]:
        """Names of the engines, the default first."""
        return (self._default, *(name for name in self._engines if name != self._default))

    @property
    def revision(self) -> str:
        """A hash of the networks in use, 12 hexadecimal digits."""
        return hashlib.sha256("".join(file.sha256 for file in ALL_FILES).encode()).hexdigest()[:12]

    def engine(self, name: str) -> SwapEngine:
        """Return the engine of that name, the default when empty. Raises UnknownEngine naming those there are."""
        found = self._engines.get(name or self._default)
        if found is None:
            names = ", ".join(self._engines)
            raise UnknownEngine(
                f"this deployment has no engine '{name}'; it has: {names}", field="engine", engines=names
            )
        return found

    def faces(self, image: Image, field: str, *, min_score: float = 0.5) -> list[Face]:
        """Return the faces of a picture, large to small. Raises NoFace naming `field` when there is none."""
        found = self.analyser.analyse(image, min_score=min_score)
        if not found:
            raise NoFace(f"no face was found (score of at least {min_score:g})", field=field)
        return found

    def swap(self, target: Image, reference: Image, choices: SwapChoices, token: CancelToken) -> SwapOutcome:
        """Put the reference's face onto the chosen faces of the target; the inputs stay as they are.

        Every pair is checked before the first face is changed. Raises NoFace, SeveralFaces, FaceIndexOutOfRange,
        FaceTooSmall, FaceTurnedTooFar, UnknownEngine, and what `token` raises between the steps.
        """
        engine = self.engine(choices.engine)
        started = time.perf_counter()
        source_index, source = self._choose_reference(reference, choices)
        token.check()
        faces = self.analyser.analyse(target, min_score=choices.min_score, order=choices.target_order)
        chosen = _choose_targets(faces, choices)
        for index in chosen:
            engine.check(source, faces[index])
        analysed = time.perf_counter()
        image, warnings, swapped = target, list(_reference_warnings(source)), []
        swap_seconds = score_seconds = 0.0
        for index in chosen:
            token.check()
            began = time.perf_counter()
            result = engine.swap(image, faces[index], reference, source)
            image = result.image
            swapped_at = time.perf_counter()
            score = self._score(result, index, faces[index], source)
            swap_seconds += swapped_at - began
            score_seconds += time.perf_counter() - swapped_at
            swapped.append(score)
            warnings += [*result.warnings, *_score_warnings(score)]
        return SwapOutcome(
            image=image,
            swapped=tuple(swapped),
            target_faces=tuple(faces),
            reference_face=source,
            reference_face_index=source_index,
            engine=engine.name,
            warnings=tuple(dict.fromkeys(warnings)),
            seconds=SwapSeconds(analysed - started, swap_seconds, score_seconds),
        )

    def _choose_reference(self, reference: Image, choices: SwapChoices) -> tuple[int, Face]:
        faces = self.faces(reference, REFERENCE, min_score=choices.min_score)
        index = choices.reference_face_index
        if index is None:
            if len(faces) > 1:
                raise SeveralFaces(
                    f"the reference shows {len(faces)} faces: crop it to one, or name one by reference_face_index",
                    field=REFERENCE,
                    faces=str(len(faces)),
                )
            return 0, faces[0]
        if index >= len(faces):
            raise _out_of_range(index, len(faces), "reference_face_index", "reference")
        return index, faces[index]

    def _score(self, result: EngineResult, index: int, before: Face, source: Face) -> SwappedFace:
        after = self.analyser.analyse_again(result.image, before)
        return SwappedFace(
            index=index,
            identity_before=identity_score(before.embedding, source.embedding),
            identity_after=None if after is None else identity_score(after.embedding, source.embedding),
            seam_ratio=result.seam_ratio,
            pose_change_degrees=None if after is None else after.pose.largest_difference(before.pose),
            mouth_openness_change=None if after is None else after.mouth_openness - before.mouth_openness,
            eye_openness_change=None if after is None else after.eye_openness - before.eye_openness,
        )


def _choose_targets(faces: list[Face], choices: SwapChoices) -> tuple[int, ...]:
    if not faces:
        raise NoFace(f"no face was found (score of at least {choices.min_score:g})", field=TARGET)
    for index in choices.target_face_indexes:
        if index >= len(faces):
            raise _out_of_range(index, len(faces), "target_face_indexes", "target")
    return choices.target_face_indexes or (0,)


def _out_of_range(index: int, count: int, field: str, picture: str) -> FaceIndexOutOfRange:
    shows = "1 face" if count == 1 else f"{count} faces"
    return FaceIndexOutOfRange(
        f"there is no face {index}: the {picture} shows {shows}, counted from 0", field=field, faces=str(count)
    )


def _reference_warnings(source: Face) -> list[str]:
    if source.sharpness < _BLURRED:
        return [f"the reference's face is blurred (sharpness {source.sharpness:.0f}, below {_BLURRED:.0f})"]
    return []


def _score_warnings(score: SwappedFace) -> list[str]:
    if score.identity_after is None:
        return [f"target face {score.index}: no face was found in the result"]
    if score.identity_after < _WEAK_IDENTITY:
        return [f"target face {score.index}: the likeness is weak (identity {score.identity_after:.2f})"]
    return []
