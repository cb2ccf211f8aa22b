"""Loaded adapters, the least recently used of which make room for others."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from core.qwen.loras.adapter import Adapter


class AdapterCache:
    """Keeps adapters by key, bounded in number and bytes. Safe in any thread; each adapter is loaded once at a time."""

    def __init__(self, *, max_count: int, max_bytes: int) -> None:
        """Keep at most ``max_count`` adapters and ``max_bytes`` of weights, but always the newest one."""
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._adapters: OrderedDict[str, Adapter] = OrderedDict()
        self._loading: dict[str, Future[Adapter]] = {}

    def __len__(self) -> int:
        """How many adapters are kept."""
        with self._lock:
            return len(self._adapters)

    @property
    def size_bytes(self) -> int:
        """Memory of the kept weights."""
        with self._lock:
            return self._size()

    def get(self, key: str, load: Callable[[], Adapter]) -> Adapter:
        """Return the adapter of ``key``, by ``load`` when it isn't kept. Raises what ``load`` raises."""
        with self._lock:
            if (kept := self._adapters.get(key)) is not None:
                self._adapters.move_to_end(key)
                return kept
            running = self._loading.get(key)
            if running is None:
                own: Future[Adapter] = Future()
                self._loading[key] = own
        if running is not None:
            return running.result()
        try:
            adapter = load()
        except BaseException as error:
            with self._lock:
                del self._loading[key]
            own.set_exception(error)
            raise
        with self._lock:
            del self._loading[key]
            self._adapters[key] = adapter
            while len(self._adapters) > 1 and (len(self._adapters) > self._max_count or self._size() > self._max_bytes):
                self._adapters.popitem(last=False)
        own.set_result(adapter)
        return adapter

    def discard(self, key: str) -> None:
        """Forget an adapter."""
        with self._lock:
            self._adapters.pop(key, None)

    def _size(self) -> int:
        return sum(adapter.size_bytes for adapter in self._adapters.values())
