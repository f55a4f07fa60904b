"""The simulated clock, and ordered ways for stanzas.

Nothing here waits: time is a number that jumps from one event to the next. Two runs from the same
seed do the same things at the same times.
"""

import heapq
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

START: Final = datetime(2030, 1, 1, tzinfo=UTC)

Do = Callable[[], None]


class Agenda:
    """What is to happen, in the order of time; and, when wanted, a trace of what has happened."""

    def __init__(self, *, trace: bool = False) -> None:
        self.now_s = 0.0
        self.pending = 0  # events but for those in the background
        self.lines: list[str] = []
        self.tracing = trace
        self._events: list[tuple[float, int, Do, bool]] = []
        self._last = 0
        self._now = (0.0, START)

    def now(self) -> datetime:
        """The time as an aware datetime."""
        if self._now[0] != self.now_s:
            self._now = self.now_s, START + timedelta(seconds=self.now_s)
        return self._now[1]

    def at(self, at_s: float, do: Do, *, background: bool = False) -> None:
        """Do something at a time; of two things at the same time, first what was said first."""
        self._last += 1
        self.pending += not background
        heapq.heappush(self._events, (max(at_s, self.now_s), self._last, do, background))

    def after(self, delay_s: float, do: Do, *, background: bool = False) -> None:
        """Do something after so many seconds."""
        self.at(self.now_s + delay_s, do, background=background)

    def run_until(self, end_s: float) -> None:
        """Let everything happen up to a time."""
        while self._events and self._events[0][0] <= end_s:
            self.step()
        self.now_s = max(self.now_s, end_s)

    def step(self) -> None:
        """Let the next thing happen."""
        self.now_s, _, do, background = heapq.heappop(self._events)
        self.pending -= not background
        do()

    def note(self, text: str) -> None:
        """Put a line into the trace. Callers look at `tracing` first where the text costs time."""
        if self.tracing:
            self.lines.append(f"{self.now_s:10.3f}  {text}")


def stamp(at_s: float) -> datetime:
    """A time as servers stamp presence: to the second."""
    return START + timedelta(seconds=int(at_s))


class Pipe:
    """An ordered way: what is put in comes out in that order, each after a delay of its own."""

    def __init__(
        self, agenda: Agenda, delay_s: Callable[[], float], out: Callable[[object], None]
    ) -> None:
        self._agenda = agenda
        self._delay_s = delay_s
        self._out = out
        self._inside: deque[object] = deque()
        self._free_s = 0.0

    def put(self, stanza: object) -> None:
        """Send something along."""
        self._free_s = max(self._free_s, self._agenda.now_s + self._delay_s())
        self._inside.append(stanza)
        self._agenda.at(self._free_s, self._arrive)

    def _arrive(self) -> None:
        if self._inside:  # what was cut off has left its event behind
            self._out(self._inside.popleft())

    def cut(self, keep: int = 0) -> list[object]:
        """Break it for good: only the first `keep` still arrive. Gives what was lost."""
        inside = list(self._inside)
        self._inside = deque(inside[:keep])
        return inside[keep:]

    def __len__(self) -> int:
        return len(self._inside)
