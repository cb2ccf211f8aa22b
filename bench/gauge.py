"""Time and memory of work on a device."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


class Gauge:
    """Measures work on one device."""

    def __init__(self, device: torch.device) -> None:
        """Measure what runs on ``device``."""
        self.device = device
        self._cuda = device.type == "cuda"

    def timed(self, work: Callable[[], T]) -> tuple[T, float]:
        """Do ``work`` and return its result with the seconds until the device had done it."""
        began = time.perf_counter()
        result = work()
        if self._cuda:
            torch.cuda.synchronize(self.device)
        return result, round(time.perf_counter() - began, 3)

    def reset_peak(self) -> None:
        """Begin to look for the peak of memory anew."""
        if self._cuda:
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> dict[str, float]:
        """Return the peak of memory in GiB, by name; nothing on a CPU."""
        if not self._cuda:
            return {}
        return {
            "peak_allocated_gib": round(torch.cuda.max_memory_allocated(self.device) / 2**30, 2),
            "peak_reserved_gib": round(torch.cuda.max_memory_reserved(self.device) / 2**30, 2),
        }

    def expected(self, seconds: float) -> float:
        """Return what to expect for work that takes a GPU so many seconds; nothing is known of a CPU."""
        return seconds if self._cuda else 0.0

    def clear(self) -> None:
        """Give back what is no longer used, graphs too; tell what stays."""
        torch._dynamo.reset()
        gc.collect()
        if self._cuda:
            torch.cuda.empty_cache()
            print(f"{torch.cuda.memory_allocated(self.device) / 2**30:.2f} GiB are still allocated", flush=True)
