"""A sheet of all pictures: a row a way, a column a scene and seed, the reference on the left."""

from __future__ import annotations

import io
import unicodedata

from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from likeness.ways.result import MadePicture, WayResult, WaysResult

CELL = 192
MARGIN = 12
CAPTION = 40
HEADER = 34
TITLE = 106
LABEL = 160
CLOSED = 44
SCENE_CHARACTERS = 18
PAPER, INK, FAINT, MISSING = (250, 249, 246), (32, 32, 36), (110, 108, 102), (228, 226, 220)
_LINE_CHARACTERS = 24


def contact_sheet(reference: bytes, result: WaysResult, title: str) -> Image.Image:
    """Return the sheet of a comparison, whose pictures must have come along with their bytes."""
    rows = (result.plain, *result.ways)
    columns = len(result.plain.pictures)
    left = MARGIN + LABEL
    top = MARGIN + TITLE + HEADER
    heights = [CELL + CAPTION + MARGIN if way.made else CLOSED for way in rows]
    size = (left + columns * (CELL + MARGIN), top + sum(heights))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (left, MARGIN), title, INK, 22)
    try:
        _place(sheet, reference, (MARGIN, MARGIN), TITLE + HEADER - MARGIN)
        where = "the reference is on the left"
    except (UnidentifiedImageError, OSError):  # the services read more formats than Pillow does everywhere
        where = "the reference is not shown: its format cannot be read here"
    _write(draw, (left, MARGIN + 32), where, FAINT, 14)
    for column, picture in enumerate(result.plain.pictures):
        _write(
            draw,
            (left + column * (CELL + MARGIN), MARGIN + TITLE + 10),
            f"{_short(picture.scene)}, seed {picture.seed}",
            INK,
            14,
        )
    for row, way in enumerate(rows):
        down = top + sum(heights[:row])
        if not way.made:
            _write(draw, (MARGIN, down), way.name, INK, 20)
            _write(draw, (left, down + 4), way.error.message if way.error is not None else "no picture", FAINT, 14)
            continue
        _label(draw, (MARGIN, down), way)
        for column, picture in enumerate(way.pictures):
            _cell(sheet, draw, (left + column * (CELL + MARGIN), down), picture)
    return sheet


def _label(draw: ImageDraw.ImageDraw, corner: tuple[int, int], way: WayResult) -> None:
    left, top = corner
    lines = [f"identity {_number(way.identity)}"]
    if way.identity_to_photos is not None:
        lines.append(f"to photos {_number(way.identity_to_photos)}")
    lines.append(f"scene kept {_number(way.scene_kept)}")
    if way.adherence is not None:
        lines.append(f"adherence {_number(way.adherence)}")
    if way.seconds is not None:
        lines.append(f"{way.seconds:.1f} s a picture")
    _write(draw, (left, top), way.name, INK, 20)
    for number, line in enumerate(lines):
        _write(draw, (left, top + 28 + 18 * number), line, FAINT, 14)


def _cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], made: MadePicture) -> None:
    left, top = corner
    if made.picture is None or made.picture.data is None:
        draw.rectangle((left, top, left + CELL - 1, top + CELL - 1), MISSING)
        reason = made.error.reason if made.error is not None else "no picture"
        for number, start in enumerate(range(0, len(reason), _LINE_CHARACTERS)):
            part = reason[start : start + _LINE_CHARACTERS]
            _write(draw, (left + 8, top + CELL // 2 - 8 + 16 * number), part, INK, 13)
        return
    _place(sheet, made.picture.data, corner, CELL)
    caption = "not measured"
    if made.identity is not None:
        caption = f"identity {made.identity:.2f}" if made.faces else "no face"
    _write(draw, (left, top + CELL + 4), caption, INK, 14)
    second = [] if made.scene_kept is None else [f"scene {made.scene_kept:.2f}"]
    second += [] if made.adherence is None else [f"adherence {made.adherence:.2f}"]
    _write(draw, (left, top + CELL + 21), ", ".join(second), FAINT, 13)


def _place(sheet: Image.Image, data: bytes, corner: tuple[int, int], side: int) -> None:
    """Lay an encoded picture into the middle of a square."""
    with Image.open(io.BytesIO(data)) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    left, top = corner
    sheet.paste(
        picture.resize(size, Image.Resampling.LANCZOS), (left + (side - size[0]) // 2, top + (side - size[1]) // 2)
    )


def _short(text: str) -> str:
    return text if len(text) <= SCENE_CHARACTERS else f"{text[: SCENE_CHARACTERS - 3]}..."


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _write(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, ink: tuple[int, int, int], size: int) -> None:
    # Pillow's own font has no accents.
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    draw.text(corner, plain, ink, font=ImageFont.load_default(size))
