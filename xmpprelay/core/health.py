"""The health of a primary as one number, and when it is asked again while it is away.

`limit` is how many requests may be under way at once, 0 to 8. At 0 the primary is on standby: no
post is sent, it is only probed, at growing intervals with jitter. Two good probes open it again, at
1: it comes back gently. Each success adds `1/limit`, so one to a full round, but not where requests
begin to queue at the service; each failure halves it. Failures are what says something about the
service as a whole (no connection, time-outs, 5xx); that it refuses a post, or asks for patience, is
none.

Functions of (state, now, event). Times are seconds on one monotonic clock; jitter, from 0 to 1, is
drawn by the caller.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

MOST: Final = 8.0
"""Requests under way at once, at the best of times."""

FAILURES: Final = 3
"""So many in a row, at least, before a primary is on standby."""

FIRST_PROBE_S: Final = 5.0
LONGEST_PROBE_S: Final = 300.0
"""Probes come after five seconds, then after twice as long each time, up to this."""

GOOD_PROBES: Final = 2
PROBES_APART_S: Final = 2.0
"""So many good probes, so far apart, end a standby."""

CALM_S: Final = 600.0
"""After so long without a failure, probing begins with short intervals again."""


class Flag(StrEnum):
    """What the operator wants."""

    AUTO = "auto"
    ON = "on"  # on standby, whatever its health is
    OFF = "off"  # never on standby


class Stance(StrEnum):
    """How a primary is, in one word."""

    ONLINE = "online"  # there, and nothing waits for long
    TRICKLE = "trickle"  # there, and what has waited is being inserted
    STANDBY = "standby"  # away


@dataclass(frozen=True, slots=True)
class Health:
    """One primary's health."""

    limit: float = 1.0
    fails: float = 0.0  # failures since the last success, each weighed by 1/limit
    row: int = 0  # failures since the last success
    tries: int = 0  # probes since the standby began, and since the last calm; widens the interval
    good: int = 0  # good probes in a row
    probe_at: float | None = None  # when it is probed; None: it is not on standby
    failed_at: float | None = None  # the last failure, of a request or of a probe
    flag: Flag = Flag.AUTO

    @property
    def away(self) -> bool:
        """Whether no post is sent."""
        return self.flag is Flag.ON or (self.flag is Flag.AUTO and self.limit == 0)

    @property
    def at_once(self) -> int:
        """How many requests may be under way now."""
        return 0 if self.away else max(1, int(self.limit))

    def succeeded(self, now: float, *, quick: bool = True) -> "Health":
        """After a request that came through; one that had to wait there is no reason for more."""
        if (
            self.limit == 0
        ):  # it was under way when the standby began, or the operator's flag is OFF
            return replace(self, fails=0.0, row=0)
        calm = self.failed_at is None or now - self.failed_at >= CALM_S
        return replace(
            self,
            limit=min(MOST, self.limit + 1.0 / self.limit) if quick else self.limit,
            fails=0.0,
            row=0,
            tries=0 if calm else self.tries,
        )

    def failed(self, now: float, jitter: float, retry_after_s: float | None = None) -> "Health":
        """After a failure that says something about the service."""
        if self.limit == 0:
            return replace(self, failed_at=now)
        fails, row = self.fails + 1.0 / self.limit, self.row + 1
        after = replace(self, fails=fails, row=row, failed_at=now)
        if fails > 1.0 and row >= FAILURES:
            return after.stands_by(now, jitter, retry_after_s)
        return replace(after, limit=max(1.0, self.limit / 2))

    def stands_by(self, now: float, jitter: float, retry_after_s: float | None = None) -> "Health":
        """On standby from now on: at its start nothing is known of a primary, so it is probed."""
        began = replace(self, limit=0.0, fails=0.0, row=0, good=0)
        return began._probes_later(now, jitter, retry_after_s)

    def probed(
        self, up: bool, now: float, jitter: float, retry_after_s: float | None = None
    ) -> "Health":
        """After a probe."""
        if not up:
            return replace(self, good=0, failed_at=now)._probes_later(now, jitter, retry_after_s)
        if self.good + 1 < GOOD_PROBES:
            return replace(self, good=self.good + 1, probe_at=now + PROBES_APART_S)
        return replace(self, limit=1.0, good=0, probe_at=None)

    def probe_now(self, now: float) -> "Health":
        """Somebody wants to know."""
        return self if self.probe_at is None else replace(self, probe_at=now)

    def _probes_later(self, now: float, jitter: float, retry_after_s: float | None) -> "Health":
        longest = min(LONGEST_PROBE_S, FIRST_PROBE_S * 2.0 ** min(self.tries, 30))
        wait_s = longest * (0.5 + jitter / 2)
        if retry_after_s is not None:
            wait_s = max(wait_s, min(retry_after_s, LONGEST_PROBE_S))
        return replace(self, tries=self.tries + 1, probe_at=now + wait_s)


def stance(health: Health, waiting: bool) -> Stance:
    """The word for it; `waiting` is whether something has waited for long."""
    if health.away:
        return Stance.STANDBY
    return Stance.TRICKLE if waiting else Stance.ONLINE
