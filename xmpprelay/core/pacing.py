"""How fast something may be done: functions of (state, now, event), without a clock.

All times are seconds on one monotonic clock.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second in the long run, and so many at once."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket: what was left of a rate at a time."""

    left: float
    at: float

    @classmethod
    def full(cls, rate: Rate, now: float) -> "Bucket":
        """A bucket from which nothing was taken."""
        return cls(rate.burst, now)

    def now_holds(self, rate: Rate, now: float) -> float:
        """How much may be taken at once now; never more than the burst."""
        return min(rate.burst, self.left + max(0.0, now - self.at) * rate.per_second)

    def take(self, rate: Rate, now: float) -> "Bucket | float":
        """The bucket after one more, or, when it is empty, the seconds until one more is there."""
        holds = self.now_holds(rate, now)
        if holds < 1.0:
            return (1.0 - holds) / rate.per_second
        return Bucket(holds - 1.0, max(now, self.at))


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `first_s` to `last_s`, each shortened by full jitter."""

    first_s: float
    last_s: float
    failures: int = 0

    def wait_s(self, jitter: float) -> float:
        """The wait before the next try; `jitter` is from 0 to 1, drawn by the caller."""
        longest = min(self.last_s, self.first_s * 2.0 ** min(self.failures, 60))
        return longest * jitter

    def failed(self) -> "Backoff":
        """After one more failure."""
        return replace(self, failures=self.failures + 1)

    def succeeded(self) -> "Backoff":
        """After a success: from the start again."""
        return replace(self, failures=0)
