"""From photos to what is trained on: checks, held-out photos, crops in buckets, captions, and the report of it all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.faces import FaceAnalyser
from core.qwen.profile import Size, load_profile
from core.training.buckets import Box, Cut, buckets_of, covers, plan_cut
from core.training.captions import caption_of
from core.training.checks import CheckedPhoto, check_photos, is_mixed
from core.training.hashing import perceptual_hash
from core.training.settings import DatasetSettings, Framing
from core.training.spec import CropReport, DatasetReport, Photo, PhotoReport, TrainingSpec
from core.training.thumbnails import draw_thumbnail

_MAX_ENLARGEMENT = 1.5
"""A head or half body that would have to be enlarged further is left out: it would teach blur."""
_SAME_CUT = 0.75
"""Intersection over union from which two crops of a photo are one."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A crop to train on."""

    pixels: npt.NDArray[np.uint8]
    """Height×width×3 of the bucket."""
    caption: str
    face: Box
    """Left, top, right, bottom as shares of width and height."""
    side: int
    """Of the resolution that the bucket belongs to."""

    @property
    def size(self) -> Size:
        """The bucket."""
        return Size(width=self.pixels.shape[1], height=self.pixels.shape[0])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels and their shape."""
        head = f"{self.pixels.shape}".encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.pixels).tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a run works with."""

    report: DatasetReport
    samples: tuple[Sample, ...]
    """Crops of the photos that are not held out, at every resolution."""
    references: npt.NDArray[np.float64]
    """N×256: embeddings of the faces that identity is scored against."""
    references_held_out: bool
    """Whether none of them is trained on."""
    hashes: tuple[int, ...]
    """Perceptual hashes of the crops and of the photos they come from."""


def inspect_dataset(
    pictures: Sequence[Photo], spec: TrainingSpec, analyser: FaceAnalyser | None = None
) -> DatasetReport:
    """Check photos and plan their crops, without any training: the dry run. Needs no model but the face networks."""
    return prepare_dataset(pictures, spec, analyser).report


def prepare_dataset(pictures: Sequence[Photo], spec: TrainingSpec, analyser: FaceAnalyser | None = None) -> Dataset:
    """Check photos, hold some out, and cut the others to size.

    Args:
        pictures: the photos; their order is the order of the report. Each is asked for twice, and its pixels are let
            go before the next one, so that a sequence that decodes them when asked keeps memory small.
        spec: its settings, names and profile; its own ``photos`` are not read.
        analyser: the face networks; loaded from ``weights_dir`` when left out.
    """
    settings = spec.settings.dataset
    analyser = analyser or FaceAnalyser(Path(spec.weights_dir) / "faces", spec.threads)
    checked = check_photos(pictures, settings, analyser)
    usable = [photo for photo in checked if photo.accepted]
    held_out = _hold_out(usable, settings.held_out)
    samples: list[Sample] = []
    described: list[PhotoReport] = []
    digest = hashlib.sha256()
    for photo in checked:
        rgb = pictures[photo.place].rgb if photo.size is not None else None
        cuts = _plan(photo, spec) if photo.accepted else []
        if photo.accepted and rgb is not None:
            digest.update(f"{rgb.shape}{photo.caption}\0".encode())
            digest.update(np.ascontiguousarray(rgb).data)
            if photo not in held_out:
                samples += _cut(photo, rgb, cuts, spec)
        described.append(_describe(photo, rgb, cuts, spec, held_out=photo in held_out))
    trained = [photo for photo in usable if photo not in held_out]
    references = held_out or usable
    embeddings = [photo.face.embedding for photo in references if photo.face is not None]
    problems, warnings = _judge(checked, held_out, settings)
    report = DatasetReport(tuple(described), digest.hexdigest(), problems, warnings, len(samples))
    return Dataset(
        report=report,
        samples=tuple(samples),
        references=np.stack(embeddings) if embeddings else np.zeros((0, 256)),
        references_held_out=bool(held_out),
        hashes=(*(photo.code for photo in trained), *(perceptual_hash(sample.pixels) for sample in samples)),
    )


def _hold_out(usable: Sequence[CheckedPhoto], wanted: int) -> list[CheckedPhoto]:
    """Choose photos for scoring, spread evenly, those without findings first; none when fewer than three would stay.

    Fewer than three references make an unfair score, and a third of the set is the most that training can spare.
    """
    count = min(wanted, len(usable) // 3)
    if count < min(3, wanted) or count == 0:
        return []
    faultless = [photo for photo in usable if not photo.findings and not photo.others]
    pool = faultless if len(faultless) >= count else list(usable)
    return [pool[(2 * place + 1) * len(pool) // (2 * count)] for place in range(count)]


def _plan(photo: CheckedPhoto, spec: TrainingSpec) -> list[tuple[int, Cut]]:
    """Return the cuts at each resolution, by its side."""
    face = _face_box(photo)
    assert face is not None and photo.size is not None
    sizes = load_profile(spec.profile).sizes
    wanted = spec.settings.dataset.framings
    framings = [framing for framing in (Framing.WHOLE, Framing.HALF_BODY, Framing.HEAD) if framing in wanted]
    planned: list[tuple[int, Cut]] = []
    for resolution in spec.settings.hyperparameters.resolutions:
        kept: list[Cut] = []
        for framing in framings:
            cut = plan_cut(framing, face, photo.size, buckets_of(sizes, resolution.side))
            small = cut.enlargement > _MAX_ENLARGEMENT and bool(kept)
            if not small and all(covers(cut, other) < _SAME_CUT for other in kept):
                kept.append(cut)
        planned += [(resolution.side, cut) for cut in kept]
    return planned


def _cut(
    photo: CheckedPhoto, rgb: npt.NDArray[np.uint8], cuts: Sequence[tuple[int, Cut]], spec: TrainingSpec
) -> list[Sample]:
    face = _face_box(photo)
    assert face is not None
    return [
        Sample(
            pixels=cut.take(rgb),
            caption=caption_of(spec, photo.caption, cut.framing),
            face=cut.shares(face),
            side=side,
        )
        for side, cut in cuts
    ]


def _face_box(photo: CheckedPhoto) -> Box | None:
    if photo.face is None:
        return None
    x, y, width, height = (float(value) for value in photo.face.detection.box)
    return x, y, x + width, y + height


def _judge(
    checked: Sequence[CheckedPhoto], held_out: Sequence[CheckedPhoto], settings: DatasetSettings
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return why the set can't be trained on, and what else a person should know of it."""
    accepted = sum(item.accepted for item in checked)
    problems, warnings = [], []
    if len(checked) > settings.max_photos:
        problems.append(f"{len(checked)} photos; at most {settings.max_photos} are taken")
    if is_mixed(checked):
        problems.append("the photos show different people, none of them in most photos: keep one person's")
    if accepted < settings.min_photos:
        problems.append(f"{accepted} of {len(checked)} photos are usable; at least {settings.min_photos} are needed")
    if not problems and not held_out and settings.held_out:
        warnings.append("too few photos to keep three out: identity is scored against photos that are trained on")
    if not problems and accepted < 10:
        warnings.append(f"{accepted} usable photos; 10 to 20 are advised")
    return tuple(problems), tuple(warnings)


def _describe(
    item: CheckedPhoto,
    rgb: npt.NDArray[np.uint8] | None,
    cuts: Sequence[tuple[int, Cut]],
    spec: TrainingSpec,
    *,
    held_out: bool,
) -> PhotoReport:
    face, box = item.face, _face_box(item)
    largest = max(resolution.side for resolution in spec.settings.hyperparameters.resolutions)
    shown = [cut for side, cut in cuts if side == largest and not held_out]
    return PhotoReport(
        name=item.name,
        accepted=item.accepted,
        held_out=held_out,
        findings=item.findings,
        caption=caption_of(spec, item.caption, Framing.WHOLE) if item.accepted and not held_out else "",
        width=0 if item.size is None else item.size[0],
        height=0 if item.size is None else item.size[1],
        face_box=box,
        sharpness=None if face is None else face.sharpness,
        turn_degrees=None if face is None else face.placement.turn_degrees,
        identity=item.identity,
        crops=tuple(CropReport(cut.framing, cut.box, cut.size.width, cut.size.height) for cut in shown),
        thumbnail=b"" if rgb is None else draw_thumbnail(rgb, box, [cut.box for cut in shown]),
    )
