"""Measure swaps: likeness, seam, pose and expression, over references × targets.

    python -m bench.identity --targets out/pictures --references out/references --json out/identity.json \
        --sheet out/identity.png

A target picture has to show exactly one face; of a reference picture every face that the engine accepts is used, and
the answer says which were refused and why. Without --references it is the examples' reference and, where the
insightface package is installed, the six faces of its group photo; --more-references adds a folder to either.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from core.faces import Face, FaceAnalyser, FaceOrder, identity_score
from core.faces.arrays import Image
from core.runtime.images import decode_image, encode_image
from likeness.errors import LikenessError
from services.faceswap.engines.base import EngineResult, SwapEngine
from services.faceswap.engines.mesh import GLASSES_KEPT, MeshEngine
from services.faceswap.pose_keeping import counter_lean

REFERENCE = Path(__file__).resolve().parents[1] / "examples" / "reference.jpg"
_TILE = 192
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class Subject:
    """A face in a picture."""

    name: str
    image: Image
    face: Face


@dataclass(frozen=True)
class Row:
    """One swap. Changes are after minus before; None when no face was found after."""

    reference: str
    target: str
    identity_before: float
    identity_after: float | None
    seam_ratio: float
    pose_change_degrees: float | None
    mouth_openness_change: float | None
    eye_openness_change: float | None
    mouth_curve_change: float | None
    glasses_kept: bool


@dataclass(frozen=True)
class Refusal:
    """A pair that the engine did not take."""

    reference: str
    target: str
    reason: str
    message: str


@dataclass(frozen=True)
class Report:
    """All swaps of a run."""

    rows: tuple[Row, ...]
    refusals: tuple[Refusal, ...]
    sheet: Image
    """The targets in the first row, the references in the first column, the results between."""

    def summary(self) -> dict[str, float | int]:
        """The figures of the whole run."""
        after = [row.identity_after for row in self.rows if row.identity_after is not None]
        pose = [row.pose_change_degrees for row in self.rows if row.pose_change_degrees is not None]
        mouth = [abs(row.mouth_openness_change) for row in self.rows if row.mouth_openness_change is not None]
        eyes = [abs(row.eye_openness_change) for row in self.rows if row.eye_openness_change is not None]
        curve = [abs(row.mouth_curve_change) for row in self.rows if row.mouth_curve_change is not None]
        return {
            "swaps": len(self.rows),
            "refused": len(self.refusals),
            "lost_faces": len(self.rows) - len(after),
            "identity_mean": _mean(after),
            "identity_min": min(after, default=0.0),
            "identity_before_mean": _mean([row.identity_before for row in self.rows]),
            "seam_mean": _mean([row.seam_ratio for row in self.rows]),
            "seam_max": max((row.seam_ratio for row in self.rows), default=0.0),
            "pose_change_mean": _mean(pose),
            "pose_change_max": max(pose, default=0.0),
            "pose_kept_within_5_degrees": _mean([float(value <= 5) for value in pose]),
            "mouth_change_mean": _mean(mouth),
            "mouth_change_max": max(mouth, default=0.0),
            "eye_change_mean": _mean(eyes),
            "eye_change_max": max(eyes, default=0.0),
            "curve_change_mean": _mean(curve),
            "curve_change_max": max(curve, default=0.0),
        }

    def by_glasses(self) -> dict[str, dict[str, float | int]]:
        """The figures with and without glasses that the target kept, which hide a part of the face."""
        groups = {"bare": False, "glasses": True}
        return {
            name: Report(tuple(row for row in self.rows if row.glasses_kept is kept), (), self.sheet).summary()
            for name, kept in groups.items()
        }

    def by_reference(self) -> dict[str, dict[str, float | int]]:
        """The figures of each reference."""
        names = dict.fromkeys(row.reference for row in self.rows)
        return {
            name: Report(tuple(row for row in self.rows if row.reference == name), (), self.sheet).summary()
            for name in names
        }


def measure(
    analyser: FaceAnalyser, engine: SwapEngine, references: Sequence[Subject], targets: Sequence[Subject]
) -> Report:
    """Swap every reference onto every target and measure the results."""
    blank = np.full((_TILE, _TILE, 3), 245, dtype=np.uint8)
    tiles = [[blank, *(_tile(target.image, target.face) for target in targets)]]
    rows, refusals = [], []
    for reference in references:
        line = [_tile(reference.image, reference.face)]
        for target in targets:
            try:
                result = engine.swap(target.image, target.face, reference.image, reference.face)
            except LikenessError as error:
                refusals.append(Refusal(reference.name, target.name, error.reason, error.message))
                line.append(np.full_like(blank, 128))
                continue
            after = analyser.analyse_again(result.image, target.face)
            if isinstance(engine, MeshEngine):
                result, after = _kept(analyser, engine, reference, target, (result, after))
            row = _row(reference, target, result, after)
            rows.append(row)
            label = "no face" if row.identity_after is None else f"{row.identity_after:.2f}"
            line.append(_tile(result.image, target.face, label))
        tiles.append(line)
    return Report(tuple(rows), tuple(refusals), np.vstack([np.hstack(line) for line in tiles]))


def subjects(analyser: FaceAnalyser, pictures: Iterable[tuple[str, Image]], *, single: bool) -> list[Subject]:
    """Return the faces of named pictures, from left to right; with `single` only of those that show exactly one."""
    found = []
    for name, image in pictures:
        faces = analyser.analyse(image, order=FaceOrder.LEFT_TO_RIGHT, attributes=False)
        if single and len(faces) != 1:
            print(f"{name}: {len(faces)} faces, left out", file=sys.stderr)
            continue
        for index, face in enumerate(faces):
            found.append(Subject(name if len(faces) == 1 else f"{name}#{index}", image, face))
    return found


def read_folder(folder: Path) -> list[tuple[str, Image]]:
    """Decode the pictures of a folder, by name."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    return [(path.stem, decode_image(path.read_bytes(), field=path.name)) for path in paths]


def standard_references() -> list[tuple[str, Image]]:
    """The public-domain portrait of the examples, and the insightface package's group photo where that is installed."""
    pictures = [("reference", decode_image(REFERENCE.read_bytes(), field="reference"))]
    spec = importlib.util.find_spec("insightface")
    if spec is not None and spec.origin is not None:
        photo = Path(spec.origin).parent / "data" / "images" / "t1.jpg"
        pictures.append(("t1", decode_image(photo.read_bytes(), field="t1")))
    return pictures


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=Path, required=True, help="folder of pictures with one face each")
    parser.add_argument("--references", type=Path, help="folder of reference pictures")
    parser.add_argument("--more-references", type=Path, help="folder of reference pictures to be used as well")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--sheet", type=Path, help="write the sheet here (PNG)")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(arguments)
    analyser = FaceAnalyser(threads=chosen.threads)
    pictures = read_folder(chosen.references) if chosen.references else standard_references()
    if chosen.more_references:
        pictures += read_folder(chosen.more_references)
    report = measure(
        analyser,
        MeshEngine(analyser.canonical),
        subjects(analyser, pictures, single=False),
        subjects(analyser, read_folder(chosen.targets), single=True),
    )
    _print_table(report)
    if chosen.json:
        chosen.json.write_text(
            json.dumps(
                {
                    "summary": report.summary(),
                    "references": report.by_reference(),
                    "glasses": report.by_glasses(),
                    "rows": [asdict(row) for row in report.rows],
                    "refusals": [asdict(refusal) for refusal in report.refusals],
                },
                indent=1,
            )
        )
    if chosen.sheet:
        chosen.sheet.write_bytes(encode_image(report.sheet).data)


def _print_table(report: Report) -> None:
    print("reference        n  before   mean    min  seam  pose°  mouth   eyes  curve")
    for name, figures in [*report.by_reference().items(), *report.by_glasses().items(), ("all", report.summary())]:
        print(
            f"{name:14} {figures['swaps']:3} {figures['identity_before_mean']:7.2f} {figures['identity_mean']:6.3f} "
            f"{figures['identity_min']:6.2f} {figures['seam_mean']:5.2f} {figures['pose_change_mean']:6.1f} "
            f"{figures['mouth_change_mean']:6.3f} {figures['eye_change_mean']:6.3f} "
            f"{figures['curve_change_mean']:6.3f}"
        )
    for reference in dict.fromkeys(refusal.reference for refusal in report.refusals):
        messages = [refusal.message for refusal in report.refusals if refusal.reference == reference]
        print(f"{reference}: refused {len(messages)} times: {messages[0]}")


def _kept(
    analyser: FaceAnalyser,
    engine: MeshEngine,
    reference: Subject,
    target: Subject,
    first: tuple[EngineResult, Face | None],
) -> tuple[EngineResult, Face | None]:
    """Swap once more where the first swap changed the pose, as the service does, and return what is nearer."""
    pose = target.face.pose
    lean = None if first[1] is None else counter_lean(pose, first[1].pose)
    if first[1] is None or lean is None:
        return first
    result = engine.swap(target.image, target.face, reference.image, reference.face, lean)
    after = analyser.analyse_again(result.image, target.face)
    if after is None or after.pose.largest_difference(pose) >= first[1].pose.largest_difference(pose):
        return first
    return result, after


def _row(reference: Subject, target: Subject, result: EngineResult, after: Face | None) -> Row:
    before = target.face
    return Row(
        reference=reference.name,
        target=target.name,
        identity_before=identity_score(before.embedding, reference.face.embedding),
        identity_after=None if after is None else identity_score(after.embedding, reference.face.embedding),
        seam_ratio=result.seam_ratio,
        pose_change_degrees=None if after is None else after.pose.largest_difference(before.pose),
        mouth_openness_change=None if after is None else after.mouth_openness - before.mouth_openness,
        eye_openness_change=None if after is None else after.eye_openness - before.eye_openness,
        mouth_curve_change=None if after is None else after.mouth_curve - before.mouth_curve,
        glasses_kept=GLASSES_KEPT in result.warnings,
    )


def _tile(image: Image, face: Face, label: str = "") -> Image:
    box = face.detection.box
    half = float(box[2:].max()) * 0.95
    scale = _TILE / (2 * half)
    middle = box[:2] + box[2:] / 2
    matrix = np.array([[scale, 0, _TILE / 2 - middle[0] * scale], [0, scale, _TILE / 2 - middle[1] * scale]])
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = cv2.warpAffine(image, matrix, (_TILE, _TILE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if label:
        cv2.putText(tile, label, (5, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(tile, label, (5, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return np.asarray(tile, dtype=np.uint8)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


if __name__ == "__main__":
    main()
