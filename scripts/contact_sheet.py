"""A sheet of pictures with captions: the reference, and each scene before and after the swap."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

CELL = 384
MARGIN = 24
CAPTION = 64
TITLE = 72
PAPER, INK, FAINT = (250, 249, 246), (32, 32, 36), (120, 118, 112)


@dataclass(frozen=True)
class Scene:
    """One scene: the pictures as encoded files, and their identity scores (cosine to the reference)."""

    name: str
    before: bytes
    after: bytes
    identity_before: float | None
    identity_after: float | None


def contact_sheet(reference: bytes, scenes: Sequence[Scene], title: str) -> Image.Image:
    """Return the sheet: the reference on the left, then a column a scene, before above after."""
    columns = len(scenes) + 1
    width = columns * (CELL + MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, TITLE + 2 * (CELL + CAPTION) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 22), title, INK, font=ImageFont.load_default(26))
    middle = TITLE + (CELL + CAPTION) // 2
    _place(sheet, draw, reference, (MARGIN, middle), "reference", "")
    for column, scene in enumerate(scenes, start=1):
        left = MARGIN + column * (CELL + MARGIN)
        _place(sheet, draw, scene.before, (left, TITLE), f"{scene.name}, before", _score(scene.identity_before))
        below = TITLE + CELL + CAPTION
        _place(sheet, draw, scene.after, (left, below), f"{scene.name}, after", _score(scene.identity_after))
    return sheet


def _score(identity: float | None) -> str:
    return "identity: no face found" if identity is None else f"identity {identity:.2f}"


def _plain(text: str) -> str:
    """Return the text without accents, which Pillow's own font does not have."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")


def _place(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, data: bytes, corner: tuple[int, int], caption: str, score: str
) -> None:
    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("RGB")
    scale = CELL / max(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    left, top = corner
    sheet.paste(picture, (left + (CELL - picture.width) // 2, top + (CELL - picture.height) // 2))
    draw.text((left, top + CELL + 6), _plain(caption), INK, font=ImageFont.load_default(20))
    draw.text((left, top + CELL + 31), score, FAINT, font=ImageFont.load_default(18))
