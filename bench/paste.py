"""Pasting a drawn face back: ours and that of insightface's swapper, side by side over the same crop.

The picture is the portrait of the examples around a face half as wide as the frame, enlarged. The network is a tiny one
of inswapper's signature, which tints the crop, so that only what happens around it counts and the paste can be seen.
Insightface's time is that of `INSwapper.get` with `paste_back=True` less that without it; ours is the mask, with the
search for hair over the face, and `core.faces.blending.paste`, with its copy of the picture. Both are the processor's
time, so what else runs on the machine counts little. Peak memory is measured in processes of their own. It needs the
packages of the development environment.

    OMP_NUM_THREADS=1 python -m bench.paste [--sides 1024 2048 4096] [--output bench/results/paste.json]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import re
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from bench.report import machine
from core.faces import FaceAnalyser
from core.faces.alignment import carry, cut, similarity, swapper_template
from core.faces.arrays import FloatArray, Image
from core.faces.blending import paste
from core.runtime.images import ImageFormat, decode_image, encode_image
from services.faceswap.engines.drawn_face import paste_mask

_PORTRAIT = Path(__file__).resolve().parents[1] / "examples" / "reference.jpg"
_CROP = 128
_TINT = (0.22, -0.02, -0.1)
"""What the network adds to red, green and blue, of 1."""
_PANEL = 440
_QUALITY = 88


@dataclass(frozen=True)
class Scene:
    """A picture with a face half as wide."""

    image: Image
    """S×S×3 uint8 RGB."""
    points: FloatArray
    """5×2: the points by which the face is aligned."""
    mesh: FloatArray
    """468×3."""
    face_pixels: float
    """Width of the face."""


def make_scene(analyser: FaceAnalyser, side: int) -> Scene:
    """Cut the portrait to twice its face's width, and enlarge it to `side` pixels."""
    portrait = decode_image(_PORTRAIT.read_bytes(), field="portrait")
    x, y, width, height = (float(value) for value in analyser.analyse(portrait, attributes=False)[0].detection.box)
    left, top = int(x - width / 2), int(y + height / 2 - width)
    part = portrait[max(top, 0) : top + round(2 * width), max(left, 0) : left + round(2 * width)]
    image = np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    face = analyser.analyse(image, attributes=False)[0]
    return Scene(image, face.landmarks, face.mesh.points, face.width)


class Theirs:
    """insightface's swapper over the tiny network."""

    def __init__(self) -> None:
        """Write the network and load it."""
        from insightface.model_zoo.inswapper import INSwapper

        from tests.support.swap_networks import inswapper

        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            path = inswapper(Path(folder) / "inswapper_128.onnx", tint=1.0, emap=np.eye(512, dtype=np.float32))
            self._network = INSwapper(str(path))
        embedding = np.zeros(512, dtype=np.float32)
        embedding[:3] = _TINT
        embedding[3] = np.sqrt(1 - np.square(_TINT).sum())
        self._source = SimpleNamespace(normed_embedding=embedding)

    def get(self, scene: Scene, bgr: Image, *, paste_back: bool) -> Any:
        """Swap; `bgr` is the picture as OpenCV orders its channels."""
        face = SimpleNamespace(kps=scene.points.astype(np.float32))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._network.get(bgr, face, self._source, paste_back=paste_back)

    def crop(self, scene: Scene) -> FloatArray:
        """128×128×3 RGB, 0–255: the face as the network draws it."""
        drawn, _ = self.get(scene, np.ascontiguousarray(scene.image[..., ::-1]), paste_back=False)
        return np.asarray(drawn[..., ::-1], dtype=np.float32)


@dataclass(frozen=True)
class Ours:
    """Our paste of a drawn crop into a scene."""

    scene: Scene
    matrix: FloatArray
    cut_out: FloatArray
    """The crop as it was before it was drawn, 0–1."""

    @classmethod
    def of(cls, scene: Scene) -> Ours:
        """Align the scene's face."""
        matrix = similarity(scene.points, swapper_template(_CROP, _CROP))
        return cls(scene, matrix, cut(scene.image, matrix, _CROP).astype(np.float32) / 255)

    def mask(self) -> FloatArray:
        """Return the crop's mask."""
        return paste_mask(self.cut_out, carry(self.matrix, self.scene.mesh))

    def paste(self, drawn: FloatArray, mask: FloatArray) -> Image:
        """Paste the drawn crop."""
        return paste(self.scene.image, drawn, mask, self.matrix)


def measure(scene: Scene, theirs: Theirs, runs: int) -> tuple[dict[str, Any], Image, Image]:
    """Return the processor's milliseconds for both, in turn, medians of `runs` after a first one, and both pictures."""
    ours, drawn = Ours.of(scene), theirs.crop(scene)
    bgr = np.ascontiguousarray(scene.image[..., ::-1])
    seconds: dict[str, list[float]] = {"mask": [], "paste": [], "insightface": []}
    for run in range(runs + 1):
        times = [time.process_time()]
        theirs.get(scene, bgr, paste_back=False)
        times.append(time.process_time())
        other = theirs.get(scene, bgr, paste_back=True)
        times.append(time.process_time())
        mask = ours.mask()
        times.append(time.process_time())
        own = ours.paste(drawn, mask)
        times.append(time.process_time())
        if run:
            without, whole, masking, pasting = np.diff(times)
            seconds["insightface"].append(whole - without)
            seconds["mask"].append(masking)
            seconds["paste"].append(pasting)
    figures = {name: round(statistics.median(values) * 1e3, 1) for name, values in seconds.items()}
    faster = statistics.median(seconds["insightface"]) / (
        statistics.median(seconds["mask"]) + statistics.median(seconds["paste"])
    )
    return {"processor_milliseconds": figures, "times_faster": round(faster, 1)}, own, np.asarray(other[..., ::-1])


def peak_mib(side: int, which: str) -> float:
    """Return by how much a paste raises the process's peak memory, in MiB; Linux alone. Call it in a fresh process."""
    scene, theirs = make_scene(FaceAnalyser(), side), Theirs()
    ours, drawn = Ours.of(scene), theirs.crop(scene)
    bgr = np.ascontiguousarray(scene.image[..., ::-1])
    mask = ours.mask()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _memory("VmRSS")
    result = ours.paste(drawn, mask) if which == "ours" else theirs.get(scene, bgr, paste_back=True)
    assert result.shape == scene.image.shape
    return round(_memory("VmHWM") - before, 1)


def _memory(name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return 0.0 if found is None else int(found[1]) / 1024


def side_by_side(theirs: Image, ours: Image) -> Image:
    """Both pictures, and below each a part of it: hair, temple and an eye."""
    rows = []
    height, width = ours.shape[:2]
    whole = (slice(None), slice(None))
    temple = (slice(round(0.06 * height), round(0.46 * height)), slice(round(0.1 * width), round(0.5 * width)))
    for window in (whole, temple):
        panels = [
            cv2.resize(picture[window], (_PANEL, _PANEL), interpolation=cv2.INTER_AREA) for picture in (theirs, ours)
        ]
        rows.append(np.hstack(panels))
    sheet = np.vstack(rows)
    for column, name in enumerate(("insightface", "Likeness")):
        left = column * _PANEL
        cv2.rectangle(sheet, (left, 0), (left + 130, 34), (20, 20, 20), cv2.FILLED)
        cv2.putText(sheet, name, (left + 8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 1, cv2.LINE_AA)
    return np.asarray(sheet, dtype=np.uint8)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[1024, 2048, 4096], help="of the square pictures")
    parser.add_argument("--runs", type=int, default=7, help="of each paste (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory out")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--picture", type=Path, help="where to write both results of the first size as a JPEG file")
    chosen = parser.parse_args(arguments)
    cv2.setNumThreads(chosen.threads)
    analyser, theirs = FaceAnalyser(threads=chosen.threads), Theirs()
    sizes = []
    for side in chosen.sides:
        scene = make_scene(analyser, side)
        figures, own, other = measure(scene, theirs, chosen.runs)
        if chosen.picture and side == chosen.sides[0]:
            sheet = encode_image(side_by_side(other, own), ImageFormat.JPEG, _QUALITY)
            chosen.picture.write_bytes(sheet.data)
        if not chosen.no_memory:
            with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
                places = [(side, which) for which in ("ours", "insightface")]
                own_mib, other_mib = pool.starmap(peak_mib, places, chunksize=1)
            figures["peak_mib"] = {"ours": own_mib, "insightface": other_mib}
        sizes.append({"side": side, "face_pixels": round(scene.face_pixels), **figures})
        print(json.dumps(sizes[-1]), flush=True)
    if chosen.output:
        facts = machine("opencv-python-headless", "numpy", "insightface")
        document = {"machine": facts, "threads": chosen.threads, "runs": chosen.runs, "sizes": sizes}
        chosen.output.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
