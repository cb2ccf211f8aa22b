from __future__ import annotations

import io

from PIL import ExifTags, Image

from likeness.results import Picture
from likeness.ways.result import MadePicture, WayError, WaysResult, way_result
from likeness.ways.sheet import CELL, MISSING, PAPER, contact_sheet
from tests.support.services import picture

RED, BLUE = (210, 20, 20), (20, 20, 210)


def made(colour: tuple[int, int, int], seed: int) -> MadePicture:
    drawn = Picture("image/png", 32, 48, "", picture(colour))
    return MadePicture("in a café", seed, "anna in a café", picture=drawn, faces=1, identity=0.5, seconds=1.0)


def share_of(sheet: Image.Image, colour: tuple[int, int, int]) -> float:
    """Return how many cells' areas a colour has."""
    counts = sheet.getcolors(2**24)
    assert counts is not None
    return sum(count for count, found in counts if found == colour) / CELL**2


def test_a_sheet_shows_every_picture_the_reference_and_what_is_missing() -> None:
    missing = MadePicture("in a café", 2, "anna in a café", error=WayError("SERVICE_UNAVAILABLE", "away"))
    plain = way_result("plain", [made(RED, 1), made(RED, 2)])
    sheet = contact_sheet(
        picture((9, 200, 9)), WaysResult(plain, (way_result("lora", [made(BLUE, 1), missing]),), 0.8), "Ä"
    )
    assert abs(share_of(sheet, RED) - 2 * 2 / 3) < 0.02  # two of 32×48 in a square
    assert abs(share_of(sheet, BLUE) - 2 / 3) < 0.02
    assert 0.9 < share_of(sheet, MISSING) < 1
    assert share_of(sheet, (9, 200, 9)) > 0.05
    assert sheet.getpixel((sheet.width - 1, sheet.height - 1)) == PAPER


def test_a_sheet_grows_with_ways_and_pictures() -> None:
    one = WaysResult(way_result("plain", [made(RED, 1)]), (), None)
    more = WaysResult(
        way_result("plain", [made(RED, 1), made(RED, 2)]), (way_result("swap", [made(RED, 1)] * 2),), None
    )
    small, large = (contact_sheet(picture(), result, "x").size for result in (one, more))
    assert large[0] > small[0] and large[1] > small[1]


def test_a_way_without_pictures_takes_no_row_of_empty_cells() -> None:
    missing = MadePicture("in a café", 1, "in a café", error=WayError("SERVICE_UNAVAILABLE", "away"))
    plain = way_result("plain", [made(RED, 1)])
    with_edit = contact_sheet(picture(), WaysResult(plain, (way_result("edit", [missing]),), None), "x")
    with_swap = contact_sheet(picture(), WaysResult(plain, (way_result("swap", [made(RED, 1)]),), None), "x")
    assert share_of(with_edit, MISSING) == 0
    assert with_edit.height < with_swap.height - CELL / 2


def test_a_reference_that_only_the_services_can_read_costs_no_sheet() -> None:
    result = WaysResult(way_result("plain", [made(RED, 1)]), (), None)
    sheet = contact_sheet(b"a photo of another kind", result, "anna")
    assert abs(share_of(sheet, RED) - 2 / 3) < 0.02


def test_a_reference_that_was_taken_upright_stands_upright() -> None:
    lying = Image.new("RGB", (60, 30), RED)
    lying.paste(BLUE, (30, 0, 60, 30))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned a quarter clockwise: the left end comes up
    buffer = io.BytesIO()
    lying.save(buffer, "PNG", exif=exif)
    white = way_result("plain", [made(PAPER, 1)])
    sheet = contact_sheet(buffer.getvalue(), WaysResult(white, (), None), "anna")
    rows = {colour: set[int]() for colour in (RED, BLUE)}
    for y in range(sheet.height):
        for x in range(sheet.width):
            pixel = sheet.getpixel((x, y))
            if pixel in rows:
                rows[pixel].add(y)
    assert max(rows[RED]) < min(rows[BLUE])
