"""Looks for faces in passes, cheap ones first, and stops where faces are found unless it shall be thorough.

The network finds upright faces between about a twelfth and two thirds of the picture's longer side. The other passes
bring the rest into its reach: a margin for faces that fill the frame, quarter turns for lying and upside-down heads, a
lightened picture for dark ones, overlapping tiles for small ones. See docs/decisions/0021-detection-passes.md.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np

from core.faces.arrays import FloatArray, Image
from core.faces.detector import INPUT, Detection, FaceDetector, View, merge, overlap, turn_back
from core.faces.mesh import FaceCrop

T = TypeVar("T")

_MARGIN = 0.35
"""Border around a picture for faces that fill it, relative to its longer side."""
_SURE = 0.8
"""Detections of at least this score are upright: heads that are not reach 0.76 at most."""
_SAME = 0.3
"""Intersection over union from which two boxes are one face."""
_CELL = INPUT // 2
_CELL_WINDOWS = (2.0, 3.0)
"""Side of a second look's window over the box; the other one where the first does not decide. Nearer ones would cut
hair and chin, which tell what is up."""
_DECIDED = 0.2
"""By how much the best turn of the first window has to score better than the next."""
_CELL_SHIFT = 0.3
"""How far from the middle of its cell a face of the second look may lie, relative to the cell."""
_BOTH_LOOKS = 1.1
"""Sum of the scores of both looks from which a face of the plain pass counts; what is no face reaches 1.02."""
_SEEN = 0.2
"""Least score of anything in the second look."""
_DEFAULT_MIN_SCORE = 0.5
_UPRIGHT_BONUS = 0.05
"""By how much a turned head has to score better than an upright one."""
_CANDIDATE = 0.4
"""Score from which the further passes take a second look."""
_CONFIRMED = 0.66
"""Score of the second look from which a face of the further passes counts; what is no face reaches 0.65."""
_SMALL = 0.15
"""Widest face over the picture's longer side under which a picture is taken for one of a group."""
_TILE_OVERLAP = 0.2
_SMALLEST_TILE = 240
"""Side of the smallest tiles in pixels; faces down to about a sixteenth of it are found."""
_MOST_TILES = 128
"""Tiles of one size; beyond, the search stops at the size before."""
_DARK = 90
"""A picture whose 90th percentile of luma is below is dark."""
_LIGHT_GAMMA = 0.5


@dataclass(frozen=True)
class _Pass:
    image: Image
    """What the faces are described on: the picture, or the lightened one."""
    found: list[Detection]


class FaceSearch:
    """Finds the faces of a picture. Safe to use from several threads."""

    def __init__(self, detector: FaceDetector) -> None:
        """Search with `detector`."""
        self._detector = detector

    def find(
        self, image: Image, accept: Callable[[Image, Detection], T | None], *, min_score: float, thorough: bool
    ) -> list[T]:
        """Return what `accept` makes of the faces of an H×W×3 uint8 RGB picture.

        Args:
            image: The picture.
            accept: Gets a picture of the same size, lightened where the face is dark, and a detection in it. Returns
                None when there is no face after all.
            min_score: Least score of a detection.
            thorough: Do every pass; otherwise stop after the first one with an accepted face, but look from nearer
                where its faces are all small.
        """
        known: list[Detection] = []
        accepted: list[T] = []

        def take(step: _Pass, *, confirm: bool) -> set[int]:
            """Accept faces; return by how many quarter turns they are turned."""
            turns: set[int] = set()
            for candidate in step.found:
                if _is_known(candidate, known):
                    continue
                seen, turn = self._second_look(step.image, candidate, min_score, confirm=confirm)
                if seen is None or _is_known(seen, known):
                    continue
                face = accept(step.image, seen)
                if face is not None:
                    known.append(seen)
                    accepted.append(face)
                    turns.add(turn)
            return turns

        frame = View.of(image)
        floor = min(min_score, _CANDIDATE)
        plain = _Pass(image, self._detector.detect_in(frame, min_score))
        for number, step in enumerate(itertools.chain([plain], self._further_passes(image, frame, floor))):
            turns = take(step, confirm=number > 0)
            if thorough:
                continue
            if turns - {0}:
                # Where one head is turned the others are too, and the network misses some of them.
                turns |= take(_Pass(image, self._in_turns([frame], floor, (1, 2, 3))), confirm=True)
            if number == 0 and known and max(found.box[2] for found in known) < _SMALL * max(image.shape[:2]):
                # A group: those who are a little smaller or turned away than the others are seen from nearer.
                tiles = next(tiles_of(image.shape[0], image.shape[1]), [])
                found = [f for tile in tiles for f in self._in_tile(image, tile, floor, sorted(turns))]
                take(_Pass(image, merge(found)), confirm=True)
            if accepted:
                break
        return accepted

    def _further_passes(self, image: Image, frame: View, min_score: float) -> Iterator[_Pass]:
        wide = View.of(image, margin=_MARGIN)
        yield _Pass(image, self._in_turns([wide], min_score, (0,)))
        yield _Pass(image, self._in_turns([frame, wide], min_score, (1, 2, 3)))
        table = _lightening(frame)
        bright = image
        found = self._in_turns([_lighten(frame, table), _lighten(wide, table)], min_score, range(4))
        if found:
            bright = np.asarray(cv2.LUT(image, table), dtype=np.uint8)
            yield _Pass(bright, found)
        if not _is_dark(frame):
            bright = image
        elif bright is image:
            bright = np.asarray(cv2.LUT(image, table), dtype=np.uint8)
        for tiles in tiles_of(image.shape[0], image.shape[1]):
            yield _Pass(bright, merge([f for tile in tiles for f in self._in_tile(bright, tile, min_score)]))

    def _in_turns(self, views: Iterable[View], min_score: float, turns: Iterable[int]) -> list[Detection]:
        turns = tuple(turns)
        return merge([f for view in views for turn in turns for f in self._detector.detect_in(view, min_score, turn)])

    def _in_tile(
        self, image: Image, tile: tuple[int, int, int, int], min_score: float, turns: Iterable[int] = range(4)
    ) -> Iterator[Detection]:
        """Faces that lie wholly in the tile; others are seen better in its neighbour or in a larger one."""
        left, top, right, bottom = tile
        view = View.of(image[top:bottom, left:right], origin=(left, top))
        height, width = image.shape[:2]
        low = np.where(np.array([left, top]) > 0, (left, top), -np.inf)
        high = np.where(np.array([right, bottom]) < (width, height), (right, bottom), np.inf)
        for turn in turns:
            for found in self._detector.detect_in(view, min_score, turn):
                if (found.box[:2] >= low).all() and (found.box[:2] + found.box[2:] <= high).all():
                    yield found

    def _second_look(
        self, image: Image, found: Detection, min_score: float, *, confirm: bool
    ) -> tuple[Detection | None, int]:
        """Look at an unsure face again in all four turns at once: the network takes some turned heads for upright ones.

        Returns the face as it stands and by how many quarter turns, or None when the second look sees none. With
        `confirm` it has to see it well.
        """
        if found.score >= _SURE:
            return found, 0
        middle = found.box[:2] + found.box[2:] / 2
        sides = [max(float(found.box[2:].max()), 1.0) * factor for factor in _CELL_WINDOWS]
        windows = [FaceCrop((float(middle[0]), float(middle[1])), side, 0.0).cut(image, _CELL) for side in sides]
        side, window = sides[0], windows[0]
        seen = self._in_cells(window)
        if not seen:
            return None, 0
        votes = {turn: detection.score + (_UPRIGHT_BONUS if turn == 0 else 0.0) for turn, detection in seen.items()}
        ranked = sorted(votes.values(), reverse=True)
        if len(ranked) > 1 and ranked[0] - ranked[1] < _DECIDED:
            for turn, detection in self._in_cells(windows[1]).items():
                if turn in votes:
                    votes[turn] += detection.score
        turn = max(votes, key=lambda key: votes[key])
        if confirm:
            score = max(found.score, seen[turn].score)
            if seen[turn].score < _CONFIRMED - max(0.0, _DEFAULT_MIN_SCORE - min_score) or score < min_score:
                return None, 0
            found = replace(found, score=score)
        elif found.score + seen[turn].score < min(_BOTH_LOOKS, _BOTH_LOOKS / _DEFAULT_MIN_SCORE * min_score):
            return None, 0
        if turn == 0:
            return found, 0
        view = View(window, np.full(2, _CELL / 2), np.full(2, side / _CELL), middle)
        return view.to_picture(turn_back(seen[turn], turn, _CELL)), turn

    def _in_cells(self, window: Image) -> dict[int, Detection]:
        """The best face in the middle of a 96×96 window for each quarter turn of it; all four in one square."""
        quarters = [np.rot90(window, turn) for turn in range(4)]
        mosaic = np.vstack([np.hstack(quarters[:2]), np.hstack(quarters[2:])])
        best: dict[int, Detection] = {}
        for found in self._detector.detect_square(mosaic, _SEEN):
            centre = found.box[:2] + found.box[2:] / 2
            cell = np.clip(centre // _CELL, 0, 1)
            turn = int(cell[0] + 2 * cell[1])
            corner = cell * _CELL
            central = bool((np.abs(centre - corner - _CELL / 2) <= _CELL_SHIFT * _CELL).all())
            if central and (turn not in best or found.score > best[turn].score):
                box = np.concatenate([found.box[:2] - corner, found.box[2:]])
                best[turn] = Detection(box, found.key_points - corner, found.score)
        return best


def _is_known(found: Detection, known: list[Detection]) -> bool:
    return bool(known) and bool(overlap(found.box, np.stack([other.box for other in known])).max() > _SAME)


def _luma(view: View) -> FloatArray:
    """Luma of the picture's pixels in a view without a margin."""
    left, top = (int(value) for value in view.offset)
    part = view.square[top : INPUT - top, left : INPUT - left]
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY), dtype=np.float64)


def _is_dark(view: View) -> bool:
    return float(np.percentile(_luma(view), 90)) < _DARK


def _lightening(view: View) -> Image:
    """The table of 256 values that lightens a picture: stretched to white, then a gamma."""
    white = max(float(np.percentile(_luma(view), 99)), 8.0)
    values = np.clip(np.arange(256) / white, 0, 1) ** _LIGHT_GAMMA
    return np.asarray(np.round(values * 255), dtype=np.uint8)


def _lighten(view: View, table: Image) -> View:
    return View(np.asarray(cv2.LUT(view.square, table), dtype=np.uint8), view.offset, view.scale, view.origin)


def tiles_of(height: int, width: int) -> Iterator[list[tuple[int, int, int, int]]]:
    """Overlapping squares (left, top, right, bottom) that cover a picture, each time half as large."""
    side = max(height, width) // 2
    while side >= _SMALLEST_TILE:
        tiles = [
            (left, top, min(left + side, width), min(top + side, height))
            for top in _starts(height, side)
            for left in _starts(width, side)
        ]
        if len(tiles) > _MOST_TILES:
            return
        yield tiles
        side //= 2


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / (side * (1 - _TILE_OVERLAP)))) + 1
    return [round(value) for value in np.linspace(0, length - side, count)]
