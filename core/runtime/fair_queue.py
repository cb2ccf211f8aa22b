"""A bounded queue that takes turns between tenants and is first in, first out within each."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items by tenant. Not thread-safe: the worker guards it with its own lock."""

    def __init__(self) -> None:
        """Make an empty queue."""
        self._tenants: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of items of all tenants."""
        return sum(map(len, self._tenants.values()))

    def push(self, tenant: str, item: T) -> None:
        """Put an item behind the tenant's others."""
        self._tenants.setdefault(tenant, deque()).append(item)

    def pop(self) -> T:
        """Take the next item; its tenant's next turn comes after every other tenant's. Raises IndexError when empty."""
        if not self._tenants:
            raise IndexError("the queue is empty")
        tenant, items = self._tenants.popitem(last=False)
        item = items.popleft()
        if items:
            self._tenants[tenant] = items
        return item

    def remove(self, tenant: str, item: T) -> bool:
        """Take an item out of its place; return whether it was there."""
        items = self._tenants.get(tenant)
        if items is None or item not in items:
            return False
        items.remove(item)
        if not items:
            del self._tenants[tenant]
        return True

    def order(self) -> list[T]:
        """Return all items in the order in which `pop` will give them."""
        rows = [list(items) for items in self._tenants.values()]
        longest = max(map(len, rows), default=0)
        return [row[turn] for turn in range(longest) for row in rows if turn < len(row)]
