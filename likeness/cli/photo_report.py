"""What became of the photos of a training set as a page that a person can look at: one HTML file, nothing beside it."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from likeness.training import DatasetImage

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2em; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(16em, 1fr)); gap: 1em; }}
figure {{ margin: 0; padding: .7em; border: 2px solid #3a3; border-radius: 6px; }}
figure.out {{ border-color: #c33; }}
img {{ max-width: 100%; }}
figcaption {{ overflow-wrap: anywhere; }}
</style></head><body><h1>{title}</h1>
<p>{summary}</p>{warnings}
<main>
{photos}
</main></body></html>
"""


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the option that asks for the page."""
    parser.add_argument(
        "--report", type=Path, metavar="FILE.html", help="write what became of each photo as a page with thumbnails"
    )


def write_report(path: Path | None, title: str, dataset: Sequence[DatasetImage], warnings: Sequence[str]) -> None:
    """Write the page where one is asked for. Raises OSError."""
    if path is not None:
        path.write_text(photo_page(title, dataset, warnings), encoding="utf-8")


def photo_page(title: str, dataset: Sequence[DatasetImage], warnings: Sequence[str]) -> str:
    """Return the page of a set of photos.

    Args:
        title: its heading.
        dataset: the photos, in their order; empty until they have been checked.
        warnings: what is worth knowing about them together.
    """
    used = sum(image.used for image in dataset)
    listed = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return _PAGE.format(
        title=escape(title),
        summary=f"{used} of {len(dataset)} photos are used." if dataset else "The photos have not been checked yet.",
        warnings=f"<ul>{listed}</ul>" if listed else "",
        photos="\n".join(map(_figure, dataset)),
    )


def _figure(image: DatasetImage) -> str:
    data = base64.b64encode(image.thumbnail).decode("ascii")
    shown = f'<img alt="" src="data:image/jpeg;base64,{data}">' if image.thumbnail else ""
    state = "left out" if not image.used else "held out to score against" if image.held_out else "used"
    findings = "".join(
        f"<li><b>{escape(finding.reason)}</b>{'' if finding.rejects else ' (kept)'}: {escape(finding.detail)}</li>"
        for finding in image.findings
    )
    told = [f"<b>{image.image_index + 1}. {escape(image.name)}</b>: {state}"]
    told += [f"“{escape(image.caption)}”"] if image.caption else []
    told += [escape(", ".join(image.crops))] if image.crops else []
    return (
        f'<figure class="{"in" if image.used else "out"}">{shown}<figcaption>{"<br>".join(told)}'
        f"{f'<ul>{findings}</ul>' if findings else ''}</figcaption></figure>"
    )
