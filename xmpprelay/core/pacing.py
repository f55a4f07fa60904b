"""How fast something may be done: functions of (state, now, event), without a clock.

All times are seconds on one monotonic clock.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second in the long run, and so many at once."""

    per_second: float
    burst: float

    @classmethod
    def share(cls, most: float, period_s: float) -> "Rate":
        """What may be taken where somebody else allows `most` within any period of that length.

        Nine tenths of it in all: a bucket lets its burst through besides what its rate gives. The
        burst is three tenths, so that what one author has posted in an outage goes at once, and the
        rate six; the rest is for other programs.
        """
        return cls(0.6 * most / period_s, max(1.0, 0.3 * most))


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

    def take(self, rate: Rate, now: float, cost: float = 1.0) -> "Bucket | float":
        """The bucket after one more, or, when it is empty, the seconds until one more is there.

        What costs more than is left goes into debt, and the next waits until that is paid: so even
        what costs more than the whole burst may be done, only seldom.
        """
        holds = self.now_holds(rate, now)
        if holds < 1.0:
            return (1.0 - holds) / rate.per_second
        return Bucket(holds - cost, max(now, self.at))

    def book(self, rate: Rate, now: float) -> "tuple[Bucket, float]":
        """The bucket after one more, and the seconds until that one may be used; 0.0: at once."""
        holds = self.now_holds(rate, now)
        wait_s = max(0.0, (1.0 - holds) / rate.per_second)
        return Bucket(holds - 1.0, max(now, self.at)), wait_s


class Buckets:
    """A bucket of the same rate for each of many; of more than `most`, the least used is forgotten.

    One that is forgotten is full again: `most` is to be far above what can be drained at a time.
    """

    def __init__(self, rate: Rate, most: int) -> None:
        self.rate = rate
        self._most = most
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: Hashable, now: float) -> float:
        """Take one: 0.0, or, when there is none, the seconds until there is."""
        bucket = self._buckets.get(key) or Bucket.full(self.rate, now)
        taken = bucket.take(self.rate, now)
        if isinstance(taken, float):
            return taken
        self._buckets[key] = taken
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return 0.0

    def give_back(self, key: Hashable, now: float) -> None:
        """Put one back that was taken and not used."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._buckets[key] = Bucket(bucket.now_holds(self.rate, now) + 1.0, now)


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
