"""What is to be done again and again, each thing at most once in a while: pure, for two outlets.

What is asked for is due at once, or when its pause since the last time is over. However often it is
asked for meanwhile, it is done once, and after the last asking; so nothing that has changed stays
unsaid, and nothing is said a thousand times.
"""

from collections import OrderedDict
from collections.abc import Hashable
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Paced(Generic[T]):
    """Things that wait, at most so many, each done at most once in `every_s`."""

    def __init__(self, every_s: float, most: int) -> None:
        self._every_s = every_s
        self._most = most
        self._waiting: set[T] = set()
        self._due: list[tuple[float, int, T]] = []  # a heap: by time, then in order
        self._order = count()
        self._done: OrderedDict[T, float] = OrderedDict()  # those lately done, the first first

    def ask(self, thing: T, now_s: float) -> bool:
        """Something is to be done; whether there is room for it."""
        if thing in self._waiting:
            return True
        if len(self._waiting) >= self._most:
            return False
        done_at = self._done.get(thing)
        self.put_off(thing, now_s if done_at is None else max(now_s, done_at + self._every_s))
        return True

    def put_off(self, thing: T, until_s: float) -> None:
        """It is due at that time; nothing changes for what waits already."""
        if thing not in self._waiting:
            self._waiting.add(thing)
            heappush(self._due, (until_s, next(self._order), thing))

    def next_s(self) -> float | None:
        """When the next thing is due; None: nothing waits."""
        return self._due[0][0] if self._due else None

    def take(self, now_s: float) -> T | None:
        """A thing that is due, the one that is so for longest; None: nothing is.

        It counts as done at that time.
        """
        while self._done and next(iter(self._done.values())) + self._every_s <= now_s:
            self._done.popitem(last=False)
        if not self._due or self._due[0][0] > now_s:
            return None
        _, _, thing = heappop(self._due)
        self._waiting.discard(thing)
        self._done.pop(thing, None)
        self._done[thing] = now_s
        return thing
