"""The checks of photos: which face is meant, and what speaks against training on it.

Pixels are looked at once, a photo after the other; what is compared between photos is kept beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from core.faces import Face, FaceAnalyser
from core.training.hashing import hash_distance, perceptual_hash
from core.training.settings import DatasetSettings, Policy, Reason
from core.training.spec import Finding, Photo

_SAME_SET = 0.5
"""Share of a set's faces that must be one person's, or nobody knows who is meant."""
_ROUNDS = 5


@dataclass(frozen=True, eq=False)
class CheckedPhoto:
    """What was found out about a photo: the face that is meant, and what is wrong; no pixels."""

    place: int
    """In the set, from 0."""
    name: str
    caption: str
    size: tuple[int, int] | None
    """Width and height; None when it could not be decoded."""
    code: int
    """Perceptual hash; 0 when it could not be decoded."""
    face: Face | None
    findings: tuple[Finding, ...]
    identity: float | None = None
    """Cosine of its face to the mean of the others that belong to the set."""
    others: tuple[Face, ...] = field(default=(), repr=False)
    """The further faces, the largest first."""

    @property
    def accepted(self) -> bool:
        """Whether it may be trained on."""
        return not any(finding.policy is Policy.REJECT for finding in self.findings)

    def with_finding(self, finding: Finding) -> CheckedPhoto:
        """Return it with one more finding."""
        return replace(self, findings=(*self.findings, finding))


def check_photos(photos: Sequence[Photo], settings: DatasetSettings, analyser: FaceAnalyser) -> list[CheckedPhoto]:
    """Check each photo alone, then against the others; in their order. Holds the pixels of one at a time."""
    checked = [_check_alone(place, photo, settings, analyser) for place, photo in enumerate(photos)]
    return _check_duplicates(_check_identity(checked, settings), settings)


def is_mixed(checked: Sequence[CheckedPhoto]) -> bool:
    """Return whether so many faces are unlike the rest that nobody knows who is meant."""
    faces = [photo for photo in checked if photo.face is not None]
    outliers = sum(any(f.reason is Reason.IDENTITY_OUTLIER for f in photo.findings) for photo in faces)
    return bool(faces) and len(faces) - outliers <= _SAME_SET * len(faces)


def _check_alone(place: int, photo: Photo, settings: DatasetSettings, analyser: FaceAnalyser) -> CheckedPhoto:
    def finding(reason: Reason, message: str) -> Finding:
        return Finding(reason, settings.policy_of(reason), message)

    if photo.rgb is None:
        unreadable = finding(Reason.UNREADABLE, photo.error or "the file cannot be decoded")
        return CheckedPhoto(place, photo.name, photo.caption, None, 0, None, (unreadable,))
    found: list[Finding] = []
    height, width = photo.rgb.shape[:2]
    known = partial(CheckedPhoto, place, photo.name, photo.caption, (width, height), perceptual_hash(photo.rgb))
    if min(height, width) < settings.min_short_side:
        text = f"{width}×{height}: the shorter side should have {settings.min_short_side} pixels"
        found.append(finding(Reason.LOW_RESOLUTION, text))
    faces = analyser.analyse(photo.rgb, attributes=False)
    if not faces:
        return known(None, (*found, finding(Reason.NO_FACE, "no face was found")))
    face = faces[0]
    if face.width < settings.min_face_pixels:
        text = f"the face is {face.width:.0f} pixels wide; it should have {settings.min_face_pixels:.0f}"
        found.append(finding(Reason.FACE_TOO_SMALL, text))
    if face.sharpness < settings.min_sharpness:
        text = f"the face's sharpness is {face.sharpness:.0f}; it should be {settings.min_sharpness:.0f}"
        found.append(finding(Reason.BLURRED, text))
    turn = face.placement.turn_degrees
    if turn > settings.max_turn_degrees:
        text = f"the head is turned by {turn:.0f}°; at most {settings.max_turn_degrees:.0f}° is taken"
        found.append(finding(Reason.EXTREME_POSE, text))
    return known(face, tuple(found), others=tuple(faces[1:]))


def _check_identity(checked: list[CheckedPhoto], settings: DatasetSettings) -> list[CheckedPhoto]:
    """Find the set's person among the photos with one face, and compare every face with them."""
    alone = [photo.face.embedding for photo in checked if photo.face is not None and not photo.others]
    every = [photo.face.embedding for photo in checked if photo.face is not None]
    person = _main_person(np.stack(alone or every), settings.min_identity) if every else None
    return [_compare(photo, person, checked, settings) for photo in checked]


def _compare(
    photo: CheckedPhoto,
    person: npt.NDArray[np.float64] | None,
    checked: list[CheckedPhoto],
    settings: DatasetSettings,
) -> CheckedPhoto:
    if photo.face is None or person is None:
        return photo
    like = [
        other.face.embedding
        for other in checked
        if other is not photo
        and other.face is not None
        and float(other.face.embedding @ person) >= settings.min_identity
    ]
    centre = _mean(np.stack(like)) if like else person
    identity = float(photo.face.embedding @ centre)
    photo = replace(photo, identity=identity)
    if photo.others:
        return _check_dominance(photo, identity, settings)
    if identity < settings.min_identity:
        text = f"the face is unlike the others: cosine {identity:.2f}, should be {settings.min_identity:.2f}"
        reason = Reason.IDENTITY_OUTLIER
        return photo.with_finding(Finding(reason, settings.policy_of(reason), text))
    return photo


def _check_dominance(photo: CheckedPhoto, identity: float, settings: DatasetSettings) -> CheckedPhoto:
    """Accept several faces when the largest is by far the largest and the set's person."""
    assert photo.face is not None
    areas = [float(np.prod(face.detection.box[2:])) for face in (photo.face, photo.others[0])]
    if areas[0] >= settings.dominant_face * areas[1] and identity >= settings.min_identity:
        return photo
    text = f"{1 + len(photo.others)} faces, and the largest is not by far the largest or not the others' person"
    return photo.with_finding(Finding(Reason.MULTI_FACE, settings.policy_of(Reason.MULTI_FACE), text))


def _check_duplicates(checked: list[CheckedPhoto], settings: DatasetSettings) -> list[CheckedPhoto]:
    seen: list[tuple[int, str]] = []
    result = []
    for photo in checked:
        if photo.accepted:
            code, bits = photo.code, settings.duplicate_bits
            twin = next((name for other, name in seen if hash_distance(code, other) <= bits), None)
            if twin is None:
                seen.append((code, photo.name))
            else:
                reason = Reason.DUPLICATE
                text = f"nearly the same as {twin!r}"
                photo = photo.with_finding(Finding(reason, settings.policy_of(reason), text))
        result.append(photo)
    return result


def _main_person(embeddings: npt.NDArray[np.float64], least: float) -> npt.NDArray[np.float64]:
    """Return the centre of the largest group of alike faces, N×256 to 256: from the most central face outwards."""
    cosines = embeddings @ embeddings.T
    seed = int(((cosines >= least).sum(axis=1) + cosines.mean(axis=1)).argmax())
    centre = _mean(embeddings[cosines[seed] >= least])
    for _ in range(_ROUNDS):
        inside = embeddings @ centre >= least
        if not inside.any():
            break
        centre = _mean(embeddings[inside])
    return centre


def _mean(embeddings: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    mean = embeddings.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9))
