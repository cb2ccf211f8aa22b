"""Whose face: the rules that leave the faces which a request means, in one order for targets and references.

Score, gender, match, order, index: every rule sees only what the ones before it have left. The analyser applies the
first one and the order, which changes nothing for the rules between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from core.faces import Face, Gender, identity_score
from core.faces.arrays import FloatArray
from likeness.errors import FaceIndexOutOfRange, NoFace, NoMatchingFace, SeveralFaces


class SkipReason(Enum):
    """Why a face of the target was left as it is."""

    GENDER = auto()
    NO_MATCH = auto()
    NOT_ASKED = auto()
    TOO_SMALL = auto()
    TURNED_TOO_FAR = auto()


@dataclass(frozen=True)
class SkippedFace:
    """A face of the target that was left as it is."""

    index: int
    """Its place among all faces of the target."""
    reason: SkipReason
    detail: str
    """The reason for a person, with the numbers."""
    match_score: float | None = None
    """Cosine to the face to match; None when there is none."""


@dataclass(frozen=True)
class Match:
    """The face that a target has to be like."""

    embedding: FloatArray
    """As `Face.embedding`."""
    threshold: float
    """Least cosine, −1 to 1."""


@dataclass(frozen=True)
class FaceRules:
    """Which faces of a picture count."""

    min_score: float = 0.5
    """The least detection score; used by the analyser, here only for messages."""
    gender: Gender | None = None
    """Only faces that look like this gender; None for all."""
    match: Match | None = None
    """Only faces that are like this one; None for all."""


@dataclass(frozen=True)
class Remaining:
    """What the rules have left of a picture's faces."""

    kept: tuple[int, ...]
    """Places among all faces, in their order; at least one."""
    skipped: tuple[SkippedFace, ...]
    """The others, and why."""
    total: int
    """How many faces the picture shows."""

    def at(self, index: int, *, field: str, picture: str) -> int:
        """Return the place of the face that `index` means. Raises FaceIndexOutOfRange naming `field`."""
        if index < len(self.kept):
            return self.kept[index]
        shows = "1 face" if self.total == 1 else f"{self.total} faces"
        left = f", {len(self.kept)} of which the gender and the match leave" if self.skipped else ""
        raise FaceIndexOutOfRange(
            f"there is no face {index}: the {picture} shows {shows}{left}, counted from 0",
            field=field,
            faces=str(len(self.kept)),
        )


def match_scores(faces: Sequence[Face], match: Match | None) -> tuple[float | None, ...]:
    """Return each face's cosine to the face to match; None for all when there is none."""
    return tuple(None if match is None else identity_score(face.embedding, match.embedding) for face in faces)


def apply_rules(faces: Sequence[Face], rules: FaceRules, *, field: str, picture: str) -> Remaining:
    """Return what gender and match leave of the `faces` of a picture that its request calls `field`.

    Raises NoFace when there is none at all, NoMatchingFace when none is left, each saying what was found.
    """
    if not faces:
        raise NoFace(
            f"no face was found in the {picture} (score of at least {rules.min_score:g}); give another picture, a "
            "closer crop, or a lower min_score",
            field=field,
        )
    scores = match_scores(faces, rules.match)
    kept: list[int] = []
    skipped: list[SkippedFace] = []
    for index, (face, score) in enumerate(zip(faces, scores, strict=True)):
        found = _refusal(face, score, rules)
        if found is None:
            kept.append(index)
        else:
            skipped.append(SkippedFace(index, *found, score))
    if not kept:
        raise _nothing_left(skipped, rules, field, picture)
    return Remaining(tuple(kept), tuple(skipped), len(faces))


def only_face(remaining: Remaining, *, field: str, index_field: str, picture: str) -> int:
    """Return the place of the one face that is left. Raises SeveralFaces naming the ways to say which."""
    if len(remaining.kept) > 1:
        left = f", {len(remaining.kept)} of which the gender leaves" if remaining.skipped else ""
        raise SeveralFaces(
            f"the {picture} shows {remaining.total} faces{left}: crop it to one, or name one by {index_field}",
            field=field,
            faces=str(len(remaining.kept)),
        )
    return remaining.kept[0]


def _refusal(face: Face, score: float | None, rules: FaceRules) -> tuple[SkipReason, str] | None:
    looks = None if face.attributes is None else face.attributes.gender
    if rules.gender is not None and looks is not rules.gender:
        return SkipReason.GENDER, f"looks {describe_gender(face)}, not {rules.gender.value}"
    if rules.match is not None and score is not None and score < rules.match.threshold:
        return SkipReason.NO_MATCH, f"cosine {score:.2f} to the face of match_image, below {rules.match.threshold:g}"
    return None


def describe_gender(face: Face) -> str:
    """Return what gender a face looks like and how sure that is, for example ``male (0.93)``."""
    if face.attributes is None:
        return "unknown"
    return f"{face.attributes.gender.value} ({face.attributes.gender_score:.2f})"


def _nothing_left(skipped: Sequence[SkippedFace], rules: FaceRules, field: str, picture: str) -> NoMatchingFace:
    found = "; ".join(f"face {item.index} {item.detail}" for item in skipped[:8])
    by_match = any(item.reason is SkipReason.NO_MATCH for item in skipped)
    way_out = (
        "lower match_threshold, or give another match_image"
        if by_match
        else "genders are estimates from looks: leave the gender out and name the face by its index"
    )
    shows = "1 face" if len(skipped) == 1 else f"{len(skipped)} faces"
    return NoMatchingFace(
        f"the {picture} shows {shows}, but none of the asked kind: {found}; {way_out}",
        field=field,
        faces=str(len(skipped)),
    )
