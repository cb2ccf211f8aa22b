"""Draw the pictures of docs/04-generator.md with a running generator of the miniature: modes, shapes and a LoRA.

    python -m scripts.documentation_pictures [--server 127.0.0.1:50051] [--folder docs/images]

The example LoRA is registered as ``milena`` when there is none of that name.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from likeness import Client
from likeness.errors import LoraNotFound
from likeness.results import LoraUse

ROOT = Path(__file__).resolve().parent.parent
LORA_FILE = ROOT / "examples" / "loras" / "milena.safetensors"
LORA_ID, TRIGGER_WORD = "milena", "milena woman"
STRENGTHS = (0.0, 0.5, 1.0)
GAP = 4
QUALITY = 88
MODE_PROMPTS = (
    "a professional woman in a modern office",
    "a man with a beard in a kitchen, blue shirt",
    "a woman with long black hair in a garden, yellow dress",
    "an old man with white hair in a library",
    "a smiling woman with blonde hair on the beach, red t-shirt",
)
SHAPE_PROMPT = "a woman with long brown hair in the mountains, green sweater"
LORA_PROMPTS = (
    ("in a café, blue shirt", "full"),
    ("a woman on the beach, yellow t-shirt", "full"),
    ("in a library, green sweater", "fast"),
)


def modes(client: Client, names: Sequence[str]) -> list[list[Image.Image]]:
    """Draw the prompts, a row each mode: the same seeds below each other."""
    return [
        [_draw(client, prompt, mode=name, seed=seed) for seed, prompt in enumerate(MODE_PROMPTS, 1)] for name in names
    ]


def shapes(client: Client, ratios: Sequence[str]) -> list[list[Image.Image]]:
    """Draw one prompt and seed in each shape, in one row."""
    return [[_draw(client, SHAPE_PROMPT, aspect_ratio=ratio, seed=4) for ratio in ratios]]


def lora(client: Client) -> list[list[Image.Image]]:
    """Draw three prompts, a row each, with the LoRA at rising strength."""
    try:
        client.get_lora(LORA_ID)
    except LoraNotFound:
        client.register_lora(LORA_ID, LORA_FILE, trigger_word=TRIGGER_WORD)
    return [
        [_draw(client, prompt, mode=mode, seed=7, loras=[LoraUse(LORA_ID, strength=each)]) for each in STRENGTHS]
        for prompt, mode in LORA_PROMPTS
    ]


def sheet(rows: Sequence[Sequence[Image.Image]], scale: float) -> Image.Image:
    """Lay rows of pictures on white, ``scale`` times as large, with a gap between them."""
    scaled = [[tile.resize((round(tile.width * scale), round(tile.height * scale))) for tile in row] for row in rows]
    width = max(sum(tile.width + GAP for tile in row) for row in scaled) - GAP
    heights = [max(tile.height for tile in row) for row in scaled]
    result = Image.new("RGB", (width, sum(heights) + GAP * (len(heights) - 1)), "white")
    top = 0
    for row, height in zip(scaled, heights, strict=True):
        left = 0
        for tile in row:
            result.paste(tile, (left, top + (height - tile.height) // 2))
            left += tile.width + GAP
        top += height + GAP
    return result


def _draw(client: Client, prompt: str, **choices: Any) -> Image.Image:
    data = client.generate(prompt, timeout_seconds=600, **choices).pictures[0].picture.data
    assert data is not None  # It would be with store.
    return Image.open(io.BytesIO(data)).convert("RGB")


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the sheets and write them as JPEG."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="127.0.0.1:50051", help="the generator (%(default)s)")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images", help="where to write")
    options = parser.parse_args(arguments)
    with Client(options.server) as client:
        told = client.generator_capabilities()
        sheets = {
            "generator-modes": sheet(modes(client, [mode.name for mode in told.modes]), 0.75),
            "generator-shapes": sheet(shapes(client, [size.aspect_ratio for size in told.sizes]), 0.5),
            "generator-lora": sheet(lora(client), 0.75),
        }
    for name, picture in sheets.items():
        picture.save(options.folder / f"{name}.jpg", quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
