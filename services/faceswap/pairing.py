"""Which reference goes to which face of the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.faces import Face
from likeness.errors import FaceError, FaceTooSmall, FaceTurnedTooFar, InvalidRequest
from services.faceswap.engines.base import SwapEngine
from services.faceswap.outcome import SwapChoices
from services.faceswap.references import Choice, Reference, choose_view
from services.faceswap.selection import Remaining, SkippedFace, SkipReason


def check_pairing(pairing: Sequence[int], references: int) -> None:
    """Raise InvalidRequest when a pairing names a reference that is not there."""
    for place in pairing:
        if place >= references:
            count = "is only 1 reference" if references == 1 else f"are only {references} references"
            raise InvalidRequest(f"pairing names reference {place}, but there {count}, counted from 0", field="pairing")


def asked_faces(remaining: Remaining, choices: SwapChoices, references: int) -> list[int]:
    """Return the places of the faces to change, in the order in which `references` go to them.

    Raises FaceIndexOutOfRange.
    """
    if choices.all_target_faces:
        return list(remaining.kept)
    if choices.target_face_indexes:
        return [
            remaining.at(index, field="target_face_indexes", picture="target") for index in choices.target_face_indexes
        ]
    return list(remaining.kept[: len(choices.pairing) or references])


def not_asked(remaining: Remaining, asked: Sequence[int]) -> list[SkippedFace]:
    """Return the faces that the rules leave and nothing asks for."""
    return [
        SkippedFace(index, SkipReason.NOT_ASKED, "no index asks for it")
        for index in remaining.kept
        if index not in asked
    ]


def unused_warnings(references: Sequence[Reference], pairs: Mapping[int, Choice]) -> list[str]:
    """Return a line for each reference that no face of the target was left for."""
    used = {choice.reference_index for choice in pairs.values()}
    return [
        f"reference {place} was not used: the target has no face left for it"
        for place in range(len(references))
        if place not in used
    ]


def pair_faces(
    asked: Sequence[int],
    faces: Sequence[Face],
    references: Sequence[Reference],
    choices: SwapChoices,
    engine: SwapEngine,
) -> tuple[dict[int, Choice], list[SkippedFace]]:
    """Return what is put onto which of the `asked` faces of the target, and the faces that the engine refuses.

    Raises FaceTooSmall and FaceTurnedTooFar, with all faces asked only when none can be changed, and InvalidRequest.
    """
    if choices.pairing and len(choices.pairing) != len(asked):
        raise InvalidRequest(
            f"pairing has {len(choices.pairing)} entries, but {len(asked)} faces are to be changed: give one each",
            field="pairing",
        )
    pairs: dict[int, Choice] = {}
    refused: list[SkippedFace] = []
    first: FaceError | None = None
    for number, index in enumerate(asked):
        place = choices.pairing[number] if choices.pairing else number % len(references)
        try:
            view = choose_view(references[place], faces[index], engine)
        except (FaceTooSmall, FaceTurnedTooFar) as error:
            if not choices.all_target_faces:
                raise
            first = first or error
            small = isinstance(error, FaceTooSmall)
            reason = SkipReason.TOO_SMALL if small else SkipReason.TURNED_TOO_FAR
            refused.append(SkippedFace(index, reason, error.message))
        else:
            pairs[index] = Choice(references[place], view, place)
    if not pairs and first is not None:
        raise first
    return pairs, refused
