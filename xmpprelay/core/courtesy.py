"""How much is said to those who did not ask, and to those whom nobody here knows.

Two programs that answer each other talk for ever, and whoever writes under many names makes us
write to all of them. So what the relay says of itself is limited, and remembered for as long as the
limit needs, never without bound:

- what nobody asked for (a hint, a notice): one in ten seconds to a JID;
- what the relay has said to a JID in the last minute is known again when it comes back (S12.3);
- of one domain only so many stanzas a second that want an answer are dealt with at all;
- a stranger's text is answered once a day to a JID, and all strangers of a domain together are sent
  no more than they have sent, but for a small allowance that a few newcomers need.

Functions of (state, now, event); all times are seconds on one monotonic clock.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from xmpprelay.core.pacing import Buckets, Rate

UNASKED_EVERY_S: Final = 10.0
"""What nobody asked for is said to one JID at most so often."""

SAID_FOR_S: Final = 60.0
"""So long a line of ours is known again when it comes back (S12.3)."""

DAY_S: Final = 86_400.0

_UNASKED_KEPT: Final = 10_000
_SAID_KEPT: Final = 20_000
_TOLD_KEPT: Final = 20_000
_DOMAINS_KEPT: Final = 2_000
"""How much is remembered; guesses. A few megabytes in all, and far above what ten seconds, a minute
or a day of honest use bring. Above it the oldest are forgotten: somebody is told a second time, and
still only within the allowance of his domain."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much it is that comes in or goes out."""

    stanzas: float
    size_bytes: float

    def __add__(self, other: "Load") -> "Load":
        return Load(self.stanzas + other.stanzas, self.size_bytes + other.size_bytes)

    def covers(self, other: "Load") -> bool:
        """Whether this is at least as much as the other, in both."""
        return self.stanzas >= other.stanzas and self.size_bytes >= other.size_bytes


ALLOWANCE: Final = Load(20, 8_192)
"""What strangers of one domain may be sent ahead of what they have sent: twenty newcomers at once,
each with a line that says how to join. A guess."""

ALLOWANCE_PER_S: Final = Load(0.5, 256)
"""How fast that allowance comes back."""


HEARD: Final = Rate(per_second=500, burst=500)
"""Stanzas that want an answer, of one other domain, that are dealt with; each takes some 60 µs of a
processor, and so much of the server's as well. More of them are as good as lost on the way."""


class Lately:
    """When things happened for the last time, within a span; the oldest go above the bound."""

    def __init__(self, span_s: float, most: int) -> None:
        self._span_s = span_s
        self._most = most
        self._times: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._times)

    def since(self, thing: Hashable, now: float) -> float:
        """The seconds since a thing happened; infinite: not within the span."""
        at = self._times.get(thing)
        return math.inf if at is None or now - at >= self._span_s else now - at

    def happens(self, thing: Hashable, now: float) -> None:
        """Note that a thing happens now."""
        self._times[thing] = now
        self._times.move_to_end(thing)
        while self._times:
            oldest = next(iter(self._times.values()))
            if len(self._times) <= self._most and now - oldest < self._span_s:
                return
            self._times.popitem(last=False)


class Courtesy:
    """What one relay has said to whom, and what it may still say."""

    def __init__(self) -> None:
        self._unasked = Lately(UNASKED_EVERY_S, _UNASKED_KEPT)
        self._said = Lately(SAID_FOR_S, _SAID_KEPT)
        self._told = Lately(DAY_S, _TOLD_KEPT)
        self._heard = Buckets(HEARD, _DOMAINS_KEPT)
        self._allowances: OrderedDict[str, tuple[Load, float]] = OrderedDict()

    def says_unasked(self, jid: str, now: float) -> float:
        """Say something that nobody asked for: 0.0, and it may be said now, or the seconds until
        it may be.
        """
        since_s = self._unasked.since(jid, now)
        if since_s < UNASKED_EVERY_S:
            return UNASKED_EVERY_S - since_s
        self._unasked.happens(jid, now)
        return 0.0

    def says(self, jid: str, text: str, now: float) -> None:
        """Remember a line that is sent to somebody."""
        self._said.happens((jid, hash(text.strip())), now)

    def has_said(self, jid: str, text: str, now: float) -> bool:
        """Whether a line was sent to somebody within the last minute."""
        return self._said.since((jid, hash(text.strip())), now) < SAID_FOR_S

    def tells_today(self, jid: str, what: str, now: float) -> bool:
        """Tell a stranger something: whether he has not been told so within a day."""
        if self._told.since((jid, what), now) < DAY_S:
            return False
        self._told.happens((jid, what), now)
        return True

    def hears(self, domain: str, now: float) -> bool:
        """Hear somebody of a domain who wants an answer: whether that is not too often."""
        return not self._heard.take(domain, now)

    def answers(self, domain: str, came: Load, goes: Load, now: float) -> bool:
        """Answer a stranger of a domain: whether what came in and the allowance cover it.

        What is not answered counts for the next.
        """
        left, at = self._allowances.pop(domain, (ALLOWANCE, now))
        passed_s = max(0.0, now - at)
        grown = left + Load(
            ALLOWANCE_PER_S.stanzas * passed_s, ALLOWANCE_PER_S.size_bytes * passed_s
        )
        holds = _at_most(grown, ALLOWANCE) + came
        yes = holds.covers(goes)
        if yes:
            holds = Load(holds.stanzas - goes.stanzas, holds.size_bytes - goes.size_bytes)
        self._allowances[domain] = _at_most(holds, ALLOWANCE), max(now, at)
        if len(self._allowances) > _DOMAINS_KEPT:
            self._allowances.popitem(last=False)
        return yes


def _at_most(load: Load, most: Load) -> Load:
    return Load(min(load.stanzas, most.stanzas), min(load.size_bytes, most.size_bytes))
