"""The figures of `bench.full_size` as a Markdown table, beside plain diffusers and the goals.

python -m bench.full_size_table full_size.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.full_size_baseline import BASELINE
from bench.full_size_model import CACHED_MODE

GOALS = {
    "full 1024x1024": "12.5 s in bfloat16, 8.5 s in float8",
    f"{CACHED_MODE} 1024x1024": "4 s",
    "fast 1024x1024": "0.8 s",
}
"""What 50 steps with guidance, the same with a step cache, and four steps should take at most on an H100."""
Document = Mapping[str, Any]


def recompiled(document: Document) -> list[str]:
    """Return the measurements during which graphs were compiled though all had been warmed up."""
    return [
        f"{variant}: {name}"
        for variant, measured in document["variants"].items()
        for name, figures in measured.items()
        if figures.get("graphs_compiled")
    ]


def table(document: Document) -> str:
    """Return what was measured, a row each, and below it what was not."""
    variants: Mapping[str, Mapping[str, Any]] = document["variants"]
    names = list(dict.fromkeys(name for measured in variants.values() for name in measured))
    # Who is compared stands first.
    columns = sorted(variants, key=lambda name: name != BASELINE)
    lines = [_row(["", *columns, "goal"]), "|---" * (len(columns) + 2) + "|"]
    for name in names:
        cells = [_cell(variants[column].get(name)) for column in columns]
        lines.append(_row([name, *cells, "" if document.get("tiny") else GOALS.get(name, "")]))
    facts = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    lines += ["", f"{document['device']}; {facts}; {document['seconds']} s in all."]
    lines += [f"Left out: {entry['what']}: {entry['reason']}." for entry in document["left_out"]]
    again = recompiled(document)
    lines.append(f"Compiled again: {', '.join(again)}." if again else "Nothing was compiled after the warm-up.")
    return "\n".join(lines)


def _cell(figures: Mapping[str, Any] | None) -> str:
    if figures is None:
        return "–"
    parts = []
    seconds = figures.get("seconds")
    if seconds is not None:
        parts.append(", ".join(f"{each:.2f}" for each in seconds) if isinstance(seconds, list) else f"{seconds:.2f}")
        parts[-1] += " s"
    parts += [f"{name}: {each['seconds_a_picture']:.3f} s" for name, each in figures.items() if "at once" in name]
    if figures.get("last_block_computed", 1) < 1:
        parts.append(f"{figures['last_block_computed']:.0%} of the blocks")
    if "graphs" in figures:
        parts.append(f"{figures['graphs']} graphs")
    if "peak_allocated_gib" in figures:
        parts.append(f"peak {figures['peak_allocated_gib']:.1f} GiB")
    if "estimated_gib" in figures:
        parts.append(f"estimated {figures['estimated_gib']:.1f} GiB")
    return "; ".join(parts)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
