"""Median milliseconds of each stage of a swap at several picture sizes, from a file to a file.

    python -m bench.swap --threads 2
    OMP_NUM_THREADS=1 python -m bench.swap --threads 1 --processor-time

With `--processor-time` it is the processor's, all threads together, so what else runs on the machine counts little. The
reference is scikit-image's astronaut, the target a person that the miniature's recipe draws, enlarged.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import cv2
import numpy as np

from core.faces import Face, FaceAnalyser, identity_score
from core.faces.arrays import Image
from core.runtime.images import ImageFormat, decode_image, encode_image
from services.faceswap.engines.mesh import MeshEngine
from weights.recipe.draw import sample

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Stopwatch:
    """Collects the seconds of named stages."""

    clock: Callable[[], float] = time.perf_counter
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, stage: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the work and note how long it took."""
        began = self.clock()
        result = work(*args, **kwargs)
        self.seconds.setdefault(stage, []).append(self.clock() - began)
        return result

    def medians(self) -> dict[str, float]:
        """Median milliseconds of each stage, and of their sum."""
        medians = {stage: statistics.median(values) * 1e3 for stage, values in self.seconds.items()}
        runs = zip(*self.seconds.values(), strict=True)
        return medians | {"total": statistics.median(sum(run) for run in runs) * 1e3}


def swap_stages(
    analyser: FaceAnalyser, engine: MeshEngine, target: bytes, reference: Image, runs: int, watch: Stopwatch
) -> Face:
    """Do whole swaps and return the target's face; the first one warms up and does not count."""
    for run in range(runs + 1):
        if run == 1:
            watch.seconds.clear()
        image = watch.measure("decode target", decode_image, target, field="target")
        source = watch.measure("analyse reference", analyser.analyse, reference)[0]
        face = watch.measure("analyse target", analyser.analyse, image)[0]
        result = watch.measure("warp and blend", engine.swap, image, face, reference, source)
        after = watch.measure("score", analyser.analyse_again, result.image, face)
        watch.measure("encode", encode_image, result.image, ImageFormat.PNG)
        assert after is not None
        assert identity_score(after.embedding, source.embedding) > 0.2
    return face


def main(arguments: list[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--processor-time", action="store_true")
    chosen = parser.parse_args(arguments)
    from skimage.data import astronaut

    cv2.setNumThreads(chosen.threads)
    reference = np.ascontiguousarray(astronaut())
    drawn = sample(901, 18).image
    analyser = FaceAnalyser(threads=chosen.threads)
    engine = MeshEngine(analyser.canonical)
    for size in chosen.sizes:
        target = np.asarray(cv2.resize(drawn, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
        watch = Stopwatch(time.process_time if chosen.processor_time else time.perf_counter)
        data = encode_image(target, ImageFormat.JPEG, 92).data
        face = swap_stages(analyser, engine, data, reference, chosen.runs, watch)
        print(f"{size} × {size}, face {face.width:.0f} wide, {chosen.threads} threads, median of {chosen.runs}:")
        for stage, milliseconds in watch.medians().items():
            print(f"  {stage:18} {milliseconds:8.1f} ms")


if __name__ == "__main__":
    main()
