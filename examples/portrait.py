"""Draw a scene and put a face in, with the Python client. Start the services first: make up"""

from __future__ import annotations

import sys
from pathlib import Path

from likeness import Client, LikenessError
from likeness.results import GenerationEvent, Step

REFERENCE = Path(__file__).parent / "reference.jpg"


def show(event: GenerationEvent) -> None:
    """Tell of each step."""
    if isinstance(event, Step):
        print(f"step {event.step} of {event.total_steps}", file=sys.stderr)


def main() -> int:
    """Write out/portrait.png."""
    out = Path("out")
    out.mkdir(exist_ok=True)
    with Client() as client:
        try:
            drawing = client.generate(
                "a professional woman in a modern office", mode="fast", seed=7, on_progress=show, timeout_seconds=120
            )
            scene = drawing.pictures[0].picture.data
            assert scene is not None
            swap = client.swap(scene, REFERENCE, timeout_seconds=60)
        except LikenessError as error:
            print(f"{error.reason}: {error.message}", file=sys.stderr)
            return 1
    for face in swap.swapped:
        print(f"identity {face.identity_before:.2f} before, {face.identity_after or 0:.2f} after")
    print(swap.picture.save(out / "portrait.png"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
