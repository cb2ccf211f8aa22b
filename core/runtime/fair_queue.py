"""A queue with priorities that takes turns between tenants and is first in, first out within each."""

from __future__ import annotations

import copy
import enum
from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")

PATIENCE = 4
"""How many times in a row work of a lower priority is passed over before it gets a turn."""


class Priority(enum.Enum):
    """Which work goes first where several pieces wait."""

    HIGH = "high"
    """Before the tenant's own other work; it takes no turn of another tenant."""
    NORMAL = "normal"
    """In order."""
    LOW = "low"
    """After everybody's other work."""


class FairQueue(Generic[T]):
    """Items by tenant and priority. Not thread-safe: the worker guards it with its own lock.

    Low priority yields to every tenant, so it can be taken freely. High priority acts among the tenant's own items
    alone: nobody gains turns by calling everything urgent. What yields gets every fifth turn all the same.
    """

    def __init__(self) -> None:
        """Make an empty queue."""
        self._foreground: _Rotation[T] = _Rotation()
        self._background: _Rotation[T] = _Rotation()
        self._choice = _Choice()

    def __len__(self) -> int:
        """Return the number of items of all tenants."""
        return len(self._foreground) + len(self._background)

    def push(self, tenant: str, item: T, priority: Priority = Priority.NORMAL) -> None:
        """Put an item behind the tenant's others of its priority."""
        rotation = self._background if priority is Priority.LOW else self._foreground
        rotation.push(tenant, item, urgent=priority is Priority.HIGH)

    def pop(self) -> T:
        """Take the next item; its tenant's next turn comes after every other tenant's. Raises IndexError when empty."""
        if not self:
            raise IndexError("the queue is empty")
        first = self._choice.takes_first(bool(self._foreground), bool(self._background))
        return (self._foreground if first else self._background).pop()

    def remove(self, tenant: str, item: T) -> bool:
        """Take an item out of its place; return whether it was there."""
        return self._foreground.remove(tenant, item) or self._background.remove(tenant, item)

    def order(self) -> list[T]:
        """Return all items in the order in which `pop` will give them when nothing more comes."""
        rehearsal: FairQueue[T] = FairQueue()
        rehearsal._foreground = self._foreground.copy()
        rehearsal._background = self._background.copy()
        rehearsal._choice = copy.copy(self._choice)
        return [rehearsal.pop() for _ in range(len(self))]


class _Choice:
    """Chooses between a first and a second line; the second is passed over at most PATIENCE times in a row."""

    def __init__(self) -> None:
        self._passed_over = 0

    def takes_first(self, first: bool, second: bool) -> bool:
        """Return whether the first line has the turn, given which of them hold anything; at least one does."""
        if first and second and self._passed_over < PATIENCE:
            self._passed_over += 1
            return True
        self._passed_over = 0
        return first and not second


class _Line(Generic[T]):
    """One tenant's items: the urgent ones first."""

    def __init__(self) -> None:
        self._urgent: deque[T] = deque()
        self._others: deque[T] = deque()
        self._choice = _Choice()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._others)

    def push(self, item: T, *, urgent: bool) -> None:
        (self._urgent if urgent else self._others).append(item)

    def pop(self) -> T:
        first = self._choice.takes_first(bool(self._urgent), bool(self._others))
        return (self._urgent if first else self._others).popleft()

    def remove(self, item: T) -> bool:
        for items in (self._urgent, self._others):
            if item in items:
                items.remove(item)
                return True
        return False

    def copy(self) -> _Line[T]:
        line: _Line[T] = _Line()
        line._urgent, line._others = deque(self._urgent), deque(self._others)
        line._choice = copy.copy(self._choice)
        return line


class _Rotation(Generic[T]):
    """The tenants' lines, in the order of their turns."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, _Line[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def push(self, tenant: str, item: T, *, urgent: bool) -> None:
        self._lines.setdefault(tenant, _Line()).push(item, urgent=urgent)

    def pop(self) -> T:
        tenant, line = self._lines.popitem(last=False)
        item = line.pop()
        if line:
            self._lines[tenant] = line
        return item

    def remove(self, tenant: str, item: T) -> bool:
        line = self._lines.get(tenant)
        if line is None or not line.remove(item):
            return False
        if not line:
            del self._lines[tenant]
        return True

    def copy(self) -> _Rotation[T]:
        rotation: _Rotation[T] = _Rotation()
        rotation._lines = OrderedDict((tenant, line.copy()) for tenant, line in self._lines.items())
        return rotation
