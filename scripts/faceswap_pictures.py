"""Draw the pictures of docs/05-faceswap.md with a running faceswap service of the miniature.

    python -m scripts.faceswap_pictures [--server 127.0.0.1:50052] [--folder docs/images]

The people are the miniature's recipe's, the reference is the portrait of the examples.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from likeness import Client
from likeness.results import Picture
from weights.recipe.draw import sample

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "examples" / "reference.jpg"
SEED = 901
GROUP = (14, 17, 2)
"""A woman, a man and a woman."""
ONE, BESPECTACLED = 2, (1, 3)
SIDE = 256
GAP = 4
QUALITY = 88
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def person(index: int) -> Image.Image:
    """Draw a person of the recipe."""
    return Image.fromarray(np.ascontiguousarray(sample(SEED, index, (SIDE, SIDE)).image))


def row(pictures: Sequence[Image.Image], gap: int = GAP) -> Image.Image:
    """Put pictures of one height beside each other."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, pictures[0].height), "white")
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + gap
    return sheet


def column(pictures: Sequence[Image.Image]) -> Image.Image:
    """Put pictures of one width below each other."""
    turned = [picture.transpose(Image.Transpose.TRANSPOSE) for picture in pictures]
    return row(turned).transpose(Image.Transpose.TRANSPOSE)


def found_faces(client: Client) -> Image.Image:
    """Let faces be found that stand, lie, hang, are small and are dark, and be drawn."""
    first, second = person(14), person(ONE)
    small = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
    small.paste(second.resize((SIDE // 3, SIDE // 3), Image.Resampling.LANCZOS), (SIDE // 3, SIDE // 3))
    shown = [first, first.rotate(90), first.rotate(180), small, second.point(lambda value: value * 0.12)]
    answers = [client.detect_faces(_png(picture), drawing="png").drawing for picture in shown]
    return row([_opened(answer) for answer in answers if answer is not None])


def chosen_faces(client: Client) -> Image.Image:
    """Change nobody, those who look female, and all of a group."""
    group = row([person(index) for index in GROUP], gap=0)
    order = {"target_order": "left-to-right", "all_target_faces": True}
    results = [
        client.swap(_png(group), REFERENCE, target_gender="female", **order).picture,
        client.swap(_png(group), REFERENCE, **order).picture,
    ]
    return column([group, *(_opened(result) for result in results)])


def weights(client: Client) -> Image.Image:
    """Put the reference in by rising weights."""
    target = _png(person(ONE))
    return row([_opened(client.swap(target, REFERENCE, swap_weight=weight).picture) for weight in WEIGHTS])


def glasses(client: Client) -> Image.Image:
    """Put the reference behind two people's glasses: each before and after."""
    pairs = [(person(index), _opened(client.swap(_png(person(index)), REFERENCE).picture)) for index in BESPECTACLED]
    return row([picture for pair in pairs for picture in pair])


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw and write the four pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="127.0.0.1:50052", help="the faceswap service (%(default)s)")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images", help="where to write (%(default)s)")
    options = parser.parse_args(arguments)
    with Client(faceswap_address=options.server) as client:
        for name, draw in (
            ("found", found_faces),
            ("chosen", chosen_faces),
            ("weights", weights),
            ("glasses", glasses),
        ):
            file = options.folder / f"faceswap-{name}.jpg"
            draw(client).save(file, quality=QUALITY, optimize=True)
            print(f"{file}  {file.stat().st_size:,} bytes")


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _opened(picture: Picture) -> Image.Image:
    assert picture.data is not None
    return Image.open(io.BytesIO(picture.data)).convert("RGB")


if __name__ == "__main__":
    main()
