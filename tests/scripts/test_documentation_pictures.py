from __future__ import annotations

import asyncio
from pathlib import Path

from PIL import Image

from scripts.documentation_pictures import GAP, main, sheet
from tests.support.services import FakeGenerator, running_generator


def test_a_sheet_lays_rows_below_each_other_and_each_picture_in_the_middle_of_its_row() -> None:
    tall, flat = Image.new("RGB", (40, 80), "red"), Image.new("RGB", (80, 40), "blue")
    picture = sheet([[tall, flat], [flat]], 0.5)
    assert picture.size == (20 + GAP + 40, 40 + GAP + 20)
    assert picture.getpixel((0, 0)) == (255, 0, 0)
    assert picture.getpixel((20 + GAP, 9)) == (255, 255, 255)
    assert picture.getpixel((20 + GAP, 10)) == (0, 0, 255)
    assert picture.getpixel((0, 40 + GAP)) == (0, 0, 255)


async def test_modes_shapes_and_the_registered_example_lora_are_drawn(tmp_path: Path) -> None:
    generator = FakeGenerator()
    async with running_generator(generator) as address:
        await asyncio.to_thread(main, ["--server", address, "--folder", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {
        "generator-modes.jpg",
        "generator-shapes.jpg",
        "generator-lora.jpg",
    }
    strengths = [request.loras[0].strength for request in generator.requests if request.loras]
    assert strengths == [0.0, 0.5, 1.0] * 3
