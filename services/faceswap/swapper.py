"""The faceswap service's work: find, choose, swap, score. Knows arrays and faces, no messages."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.faces import Face, FaceAnalyser, FaceOrder
from core.faces.arrays import Image
from core.faces.pose import HeadPose
from core.faces.providers import Execution
from core.faces.weights import ALL_FILES
from core.runtime.cancellation import CancelToken
from likeness.errors import FaceTurnedTooFar
from services.faceswap.catalogue import Engines, Restorers
from services.faceswap.content_check import ContentCheck
from services.faceswap.engines.base import EngineResult, SwapEngine
from services.faceswap.engines.inswapper import InswapperEngine, turn_warnings
from services.faceswap.engines.mesh import MeshEngine
from services.faceswap.engines.shape import UPRIGHT
from services.faceswap.finishing import match_target
from services.faceswap.loading import load_models
from services.faceswap.outcome import SwapChoices, SwapOutcome, SwapSeconds
from services.faceswap.pairing import asked_faces, check_pairing, not_asked, pair_faces, unused_warnings
from services.faceswap.pose_keeping import counter_lean
from services.faceswap.profile import MESH_ALONE, SwapProfile
from services.faceswap.references import Choice, Reference, ReferencePicture, choose_faces
from services.faceswap.restoration.base import Restorer
from services.faceswap.restoration.stage import RestorationChoice, restore_face
from services.faceswap.scoring import Setting, SwapTry, pose_change, score_swap, score_warnings
from services.faceswap.selection import (
    FaceRules,
    Match,
    apply_rules,
    match_scores,
)
from services.faceswap.weighting import mix_faces

TARGET = "target_image"
REFERENCE = "reference_image"
MATCH = "match_image"
BLURRED = 30.0
"""Sharpness of a face below which it is blurred."""


class FaceSwapper:
    """Analyser and engines of a deployment. Keeps nothing between calls; safe to use from several threads."""

    def __init__(
        self,
        analyser: FaceAnalyser,
        engines: Sequence[SwapEngine],
        default_engine: str = "",
        content_check: ContentCheck | None = None,
        restorers: Sequence[Restorer] = (),
        digests: Sequence[str] = (),
        device: str = "cpu",
    ) -> None:
        """Swap with `engines`; the first one is the default unless `default_engine` names another.

        `restorers` restore swapped faces, the first one by default; `digests` are the SHA-256 of what engines and
        restorers loaded, `device` is where those run. `content_check` looks at pictures and results, and nothing does
        when it is None; the servicers call it.

        Raises UnknownEngine when `default_engine` is not among them.
        """
        self.analyser = analyser
        self.content_check = content_check
        self.engines = Engines(engines, default_engine)
        self.restorers = Restorers(restorers)
        self._digests = tuple(digests)
        self.device = device

    @classmethod
    def load(
        cls,
        weights_dir: Path,
        *,
        threads: int,
        default_engine: str = "",
        content_check: ContentCheck | None = None,
        profile: SwapProfile = MESH_ALONE,
        models_dir: Path = Path(),
        device: str = "cpu",
    ) -> FaceSwapper:
        """Load and verify the networks of ``weights_dir``/faces, and those of `profile`, which are in `models_dir`.

        The networks of the profile run on `device`, those that ship with the product on the CPU. Raises ModelFileError,
        ProviderError, UnknownEngine.
        """
        analyser = FaceAnalyser(weights_dir / "faces", threads)
        loaded = load_models(profile, analyser, models_dir, Execution.of_device(device, threads))
        return cls(analyser, loaded.engines, default_engine, content_check, loaded.restorers, loaded.digests, device)

    @property
    def revision(self) -> str:
        """A hash of the networks in use, 12 hexadecimal digits."""
        return hashlib.sha256("".join(file.sha256 for file in ALL_FILES).encode()).hexdigest()[:12]

    @property
    def models_revision(self) -> str:
        """A hash of all networks in use, those of engines and restorers among them; 12 hexadecimal digits."""
        return hashlib.sha256("".join((self.revision, *self._digests)).encode()).hexdigest()[:12]

    def engine(self, name: str, pixel_boost: int = 0) -> SwapEngine:
        """Return an engine by name; see `Engines.get`."""
        return self.engines.get(name, pixel_boost)

    def face_at(
        self,
        image: Image,
        field: str,
        *,
        index: int = 0,
        index_field: str = "",
        order: FaceOrder = FaceOrder.LARGE_TO_SMALL,
        min_score: float = 0.5,
    ) -> tuple[int, Face]:
        """Return one face of a picture and its place in `order`. Raises NoFace, FaceIndexOutOfRange."""
        faces = self.analyser.analyse(image, min_score=min_score, order=order)
        remaining = apply_rules(faces, FaceRules(min_score), field=field, picture="picture")
        place = remaining.at(index, field=index_field, picture="picture")
        return place, faces[place]

    def swap(
        self,
        target: Image,
        sources: Sequence[ReferencePicture | Reference],
        choices: SwapChoices,
        token: CancelToken,
        match_image: Image | None = None,
    ) -> SwapOutcome:
        """Put the references' faces onto the chosen faces of the target; the inputs stay as they are.

        Every pair is checked before the first face is changed. Raises NoFace, NoMatchingFace, SeveralFaces,
        FaceIndexOutOfRange, FaceTooSmall, FaceTurnedTooFar, InvalidRequest, UnknownEngine, and what `token` raises
        between the steps.
        """
        engine, restorer = self.engine(choices.engine, choices.pixel_boost), self.restorers.choose(choices.restoration)
        started = time.perf_counter()
        references = self._references(sources, choices, token)
        match = self._match(match_image, choices)
        faces = self.analyser.analyse(
            target, min_score=choices.min_score, order=choices.target_order, thorough=choices.thorough
        )
        rules = FaceRules(choices.min_score, choices.target_gender, match)
        remaining = apply_rules(faces, rules, field=TARGET, picture="target")
        scores = match_scores(faces, match)
        asked = asked_faces(remaining, choices, len(references))
        pairs, refused = pair_faces(asked, faces, references, choices, engine)
        analysed = time.perf_counter()

        image, swapped = target, []
        warnings = [text for reference in references for text in _reference_warnings(reference)]
        warnings += unused_warnings(references, pairs)
        swap_seconds = score_seconds = restore_seconds = 0.0
        for index, choice in pairs.items():
            setting = Setting(image, index, faces[index], choice, scores[index])
            tries = [self._try(setting, engine, restorer, choices, token)]
            if tries[0].lean is not None and isinstance(engine, MeshEngine):
                tries.append(self._try(setting, engine, restorer, choices, token, tries[0].lean))
            kept = min(tries, key=pose_change)
            image = kept.result.image
            swapped.append(kept.score)
            swap_seconds += sum(each.seconds.swap for each in tries)
            restore_seconds += sum(each.seconds.restore for each in tries)
            score_seconds += sum(each.seconds.score for each in tries)
            warnings += [*kept.result.warnings, *score_warnings(kept.score, choices.swap_weight)]
        skipped = [*remaining.skipped, *refused, *not_asked(remaining, asked)]
        return SwapOutcome(
            image=image,
            swapped=tuple(swapped),
            skipped=tuple(
                replace(item, match_score=scores[item.index]) for item in sorted(skipped, key=lambda item: item.index)
            ),
            target_faces=tuple(faces),
            references=references,
            engine=engine.name,
            warnings=tuple(dict.fromkeys(warnings)),
            seconds=SwapSeconds(analysed - started, swap_seconds, score_seconds, restore_seconds),
            restorer="" if restorer is None else restorer.name,
        )

    def _try(
        self,
        setting: Setting,
        engine: SwapEngine,
        restorer: Restorer | None,
        choices: SwapChoices,
        token: CancelToken,
        lean: HeadPose = UPRIGHT,
    ) -> SwapTry:
        """Swap one face, restore and score it."""
        token.check()
        began = time.perf_counter()
        image, face, choice = setting.image, setting.face, setting.choice
        result = _changed(engine, image, face, choice, token, lean)
        result = self._weighted(image, result, face, choices.swap_weight)
        swapped_at = time.perf_counter()
        token.check()
        result, visibility = self._restored(result, face, choice, restorer, choices.restoration)
        if visibility or isinstance(engine, InswapperEngine):
            # The mesh engine bends a photo and has done so itself.
            result = match_target(image, result, face, restored=bool(visibility))
        restored_at = time.perf_counter()
        after = self.analyser.analyse_again(result.image, face)
        score = replace(score_swap(result, setting, after), restore_visibility=visibility)
        seconds = SwapSeconds(0.0, swapped_at - began, time.perf_counter() - restored_at, restored_at - swapped_at)
        return SwapTry(result, score, None if after is None else counter_lean(face.pose, after.pose), seconds)

    def _references(
        self, sources: Sequence[ReferencePicture | Reference], choices: SwapChoices, token: CancelToken
    ) -> tuple[Reference, ...]:
        found: list[Reference] = []
        for source in sources:
            token.check()
            if isinstance(source, Reference):
                found.append(source)
            else:
                found += choose_faces(self.analyser, source, choices.reference_rules)
        check_pairing(choices.pairing, len(found))
        return tuple(found)

    def _match(self, image: Image | None, choices: SwapChoices) -> Match | None:
        if image is None:
            return None
        _, face = self.face_at(image, MATCH, min_score=choices.min_score)
        return Match(face.embedding, choices.match_threshold)

    def _weighted(self, before: Image, result: EngineResult, face: Face, weight: float) -> EngineResult:
        if weight >= 1:
            return result
        after = self.analyser.analyse_again(result.image, face)
        if after is None:
            return replace(result, warnings=(*result.warnings, "swap_weight had no effect: no face in the result"))
        meshes = (face.mesh.points, after.mesh.points)
        mixed = mix_faces(before, result.image, result.region, meshes, self.analyser.canonical, weight)
        return replace(result, image=mixed)

    def _restored(
        self,
        result: EngineResult,
        face: Face,
        choice: Choice,
        restorer: Restorer | None,
        wanted: RestorationChoice,
    ) -> tuple[EngineResult, float | None]:
        """Return the result with its face restored, and how strongly that shows; None when no restorer was asked."""
        if restorer is None:
            return result, None
        restored = restore_face(result, face, choice.reference.embedding, restorer, wanted, self.analyser.embed)
        warnings = result.warnings
        if restored.visibility < wanted.visibility:
            warnings += (
                f"the restored face shows by {restored.visibility:.2f} in place of {wanted.visibility:.2f}: more would "
                "have cost likeness",
            )
        return replace(result, image=restored.image, warnings=warnings), restored.visibility


def _changed(
    engine: SwapEngine, image: Image, face: Face, choice: Choice, token: CancelToken, lean: HeadPose
) -> EngineResult:
    """Return `image` with `face` changed: from the chosen view, or from all by an engine that only asks who it is.

    Only the mesh engine leans.
    """
    if isinstance(engine, MeshEngine):
        return engine.swap(image, face, choice.view.image, choice.view.face, lean)
    if not isinstance(engine, InswapperEngine):
        return engine.swap(image, face, choice.view.image, choice.view.face)
    views = choice.reference.views
    try:
        identity = engine.identity([(view.image, view.face) for view in views])
    except FaceTurnedTooFar as error:
        error.field = choice.reference.field
        raise
    result = engine.draw(image, face, identity, token.check)
    straightest = min((view.face for view in views), key=lambda view: view.placement.turn_degrees)
    return replace(result, warnings=(*turn_warnings("reference", straightest), *result.warnings))


def _reference_warnings(reference: Reference) -> list[str]:
    if reference.face.sharpness < BLURRED:
        return [f"the reference's face is blurred (sharpness {reference.face.sharpness:.0f}, below {BLURRED:.0f})"]
    return []
