"""Measures Qwen-Image-2512 at full size on one GPU, with random weights, in the product's own classes.

python -m bench.full_size [--device cuda:0] [--output full_size.json] [--budget-seconds 480]

First `QwenImagePipeline` as diffusers runs it. Then for each variant (bfloat16 as it is, bfloat16 compiled, float8
compiled): seconds to make, to load and to warm up; full and fast mode and a step cache; three LoRAs in turn; small
pictures in batches, or where blocks are compiled a size and a length of prompt that were not warmed up; graphs compiled
meanwhile, and the peak of memory each time.

The file is written after every measurement. What fails, or what the budget leaves no time for, is named in it, and the
others go on. The exit status is 1 when something was compiled after the warm-up. Random weights say nothing of
pictures: only time and memory mean something here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.full_size_model import variants_named, versions
from bench.full_size_run import Bench
from bench.full_size_table import recompiled, table
from bench.report import Report


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, measure, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--output", type=Path, default=Path("full_size.json"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 1328], help="sides of square pictures")
    parser.add_argument("--full-steps", type=int, default=50)
    parser.add_argument(
        "--budget-seconds",
        type=float,
        default=480,
        help="begin nothing that would not end by then (%(default)s); importing libraries comes before",
    )
    parser.add_argument("--variants", nargs="+", default=["bfloat16", "bfloat16-compiled", "float8-compiled"])
    parser.add_argument("--compiler", default="inductor", help="backend of torch.compile")
    parser.add_argument("--tiny", action="store_true", help="a model of two blocks in float32, to try this script")
    chosen = parser.parse_args(arguments)
    device = torch.device(chosen.device)
    try:
        variants = variants_named(chosen.variants, tiny=chosen.tiny)
    except ValueError as error:
        parser.error(str(error))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    report = Report(chosen.output, chosen.budget_seconds, device=name, versions=versions(), tiny=chosen.tiny)
    with tempfile.TemporaryDirectory() as folder:
        Bench(chosen, report, Path(folder)).run(variants)
    again = recompiled(report.document)
    report.document["compiled_again"] = again
    report.write()
    print(f"\n{table(report.document)}")
    return 1 if again else 0


if __name__ == "__main__":
    sys.exit(main())
