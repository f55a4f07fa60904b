"""Notices that are told together: the first at once, the next ones at most every so often.

New followers, requests to follow and likes come one by one, and sometimes by the hundred. Somebody
is told of the first when it happens; what comes after it is kept, and told in one line when the
time is over. Nothing is remembered of those who were told of nothing for that long.

All times are seconds on one monotonic clock.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Notices(Generic[T]):
    """What is kept for each person, and when he was told last. `empty` makes what keeps it."""

    def __init__(self, every_s: float, empty: Callable[[], T]) -> None:
        self._every_s = every_s
        self._empty = empty
        self._kept: dict[int, T] = {}
        self._told_at: dict[int, float] = {}

    def of(self, person: int) -> T:
        """What is kept for a person, to be added to."""
        return self._kept.setdefault(person, self._empty())

    def kept_for(self, person: int) -> T | None:
        """What is kept for a person; None: nothing."""
        return self._kept.get(person)

    def take(self, person: int, now: float) -> T | None:
        """What a person is to be told now; None: nothing, or it is too soon.

        Whoever then has nothing to say says so by `not_told`.
        """
        if person not in self._kept:
            return None
        told_at = self._told_at.get(person)
        if told_at is not None and now - told_at < self._every_s:
            return None
        self._told_at[person] = now
        return self._kept.pop(person)

    def not_told(self, person: int) -> None:
        """Nothing of what was taken could be told: the next one comes at once."""
        self._told_at.pop(person, None)

    def due(self, now: float) -> Iterator[tuple[int, T]]:
        """Take what everybody is to be told now, by person; forget who was told long ago."""
        for person in list(self._kept):
            taken = self.take(person, now)
            if taken is not None:
                yield person, taken
        before = now - self._every_s
        self._told_at = {who: at for who, at in self._told_at.items() if at > before}

    def hurry(self) -> None:
        """Whoever is kept waiting is told by the next `due`."""
        self._told_at.clear()

    def forget(self, person: int) -> None:
        """Somebody has left."""
        self._kept.pop(person, None)
        self._told_at.pop(person, None)
