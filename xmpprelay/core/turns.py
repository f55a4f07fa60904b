"""Whose turn it is: round robin over accounts, with what is fresh not behind what has waited.

Each account gives its oldest row, one at a time: the order within an account is absolute, and an
account that waits (for its settle time, for its author, for its credentials) holds up no other.
Turns alternate between accounts whose oldest row is young ("live") and the rest, so that after an
outage what people post now does not wait behind the backlog of others.

A mutable piece without a clock: times are aware datetimes, given by the caller.
"""

import heapq
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

LIVE: Final = timedelta(seconds=60)
"""An account whose oldest row is younger is not part of a backlog."""


@dataclass(slots=True)
class _Waiting:
    born: datetime  # of its oldest row
    due: datetime


class Turns:
    """The accounts that have something to be done, and that nothing is being done for."""

    def __init__(self) -> None:
        self._waiting: dict[int, _Waiting] = {}
        self._later: list[tuple[datetime, int]] = []  # a heap; entries may be out of date
        self._ready: tuple[deque[int], deque[int]] = (deque(), deque())  # live, backlog
        self._queued: dict[int, int] = {}  # account -> which of the two it stands in
        self._last = 1  # from which the last turn was taken

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, account: int) -> bool:
        return account in self._waiting

    def put(self, account: int, born: datetime, due: datetime) -> None:
        """An account's oldest row, and when something is to be done about it."""
        self._waiting[account] = _Waiting(born, due)
        if account not in self._queued:
            heapq.heappush(self._later, (due, account))

    def drop(self, account: int) -> None:
        """An account has nothing any more."""
        self._waiting.pop(account, None)

    def wait_s(self, now: datetime) -> float | None:
        """How long there is certainly no turn; None: until something is put, for ever."""
        if self._queued:
            return 0.0
        return max(0.0, (self._later[0][0] - now).total_seconds()) if self._later else None

    def take(self, now: datetime) -> int | None:
        """The account whose turn it is, which is not among them then; None: nobody's."""
        self._ripen(now)
        for side in (1 - self._last, self._last):
            queue = self._ready[side]
            while queue:
                account = queue.popleft()
                del self._queued[account]
                waiting = self._waiting.get(account)
                if waiting is None:
                    continue
                if waiting.due > now:  # put off since
                    heapq.heappush(self._later, (waiting.due, account))
                    continue
                self._last = side
                del self._waiting[account]
                return account
        return None

    def _ripen(self, now: datetime) -> None:
        while self._later and self._later[0][0] <= now:
            due, account = heapq.heappop(self._later)
            waiting = self._waiting.get(account)
            if waiting is None or waiting.due != due or account in self._queued:
                continue
            side = 0 if now - waiting.born < LIVE else 1
            self._queued[account] = side
            self._ready[side].append(account)
