"""One primary service as the trickle sees it: how it is, what waits for it, how fast it is asked.

In memory only, and without I/O: all of it can be lost. What waits is in the database; here is of
each account only when its oldest row was made and when something is to be done about it.

How fast: as many turns at once as the health allows; the service's own limits, for all accounts
together and for each; the operator's ceiling. A limit that is told in answers counts above all.

Turns begin, and requests are counted. Each turn has one request booked when it begins; whatever it
asks besides (a look page by page, a status that is read back, whose fault a refusal is) is booked
as it leaves, and the next turns wait for it.

Times are seconds on one monotonic clock, but for those of rows, which are aware datetimes.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from xmpprelay.core.health import GOOD_PROBES, Flag, Health, Stance, stance
from xmpprelay.core.pacing import Bucket, Buckets, Rate
from xmpprelay.core.primary import Caps, Outcome, Probe, Reach, Result, Scope
from xmpprelay.core.turns import LIVE, Turns

SLOWER: Final = 1.25
"""A request that takes so many times as long as a quick one had to wait for others."""

QUICK_FADES: Final = 1.01
"""How quick it can be is learned anew: what was quickest counts a percent less each time."""

MOST_ACCOUNTS: Final = 100_000
"""Accounts whose own pace is remembered; none of them is forgotten before it is full again."""

RATE_OVER_S: Final = 60.0
"""Over so long the rate of insertions is measured, which tells when all will be through."""


class Site:
    """One primary service. `jitter` gives a number from 0 to 1, anew each time."""

    def __init__(
        self, name: str, ceiling: float | None, jitter: Callable[[], float], now_s: float
    ) -> None:
        self.name = name
        self.caps: Caps | None = None  # as it was known last
        self.turns = Turns()
        # What it was before nobody knows: one good probe is enough to begin.
        self.health = Health(limit=0.0, good=GOOD_PROBES - 1, probe_at=now_s)
        self.waiting: Counter[int] = Counter()  # account -> open rows
        self.under_way = 0  # turns
        self._booked = 0  # requests that are yet to leave
        self.reason = ""  # of the last failure or probe, a short code
        self.detail = ""  # the same for people
        self._jitter = jitter
        self._ceiling = None if ceiling is None else Rate(ceiling, 1.0)
        self._ceiling_bucket = Bucket(1.0, now_s)
        self._bucket: Bucket | None = None
        self._accounts: Buckets | None = None
        self._not_before: dict[int, float] = {}  # account -> it asked to be left alone
        self._silent_until = 0.0  # and all of it did
        self._done: deque[float] = deque()  # when rows were inserted, of the last minute
        self._succeeded_at: float | None = None
        self._quick_s: float | None = None  # how long a request takes that need not wait there

    @property
    def total(self) -> int:
        """How many rows are open."""
        return self.waiting.total()

    def stance(self, oldest: datetime | None, now: datetime) -> Stance:
        """How it is, in one word; `oldest` is when the oldest open row was made."""
        return stance(self.health, oldest is not None and now - oldest > LIVE)

    # When the next turn may begin

    def wait_s(self, now_s: float) -> float:
        """How long until another turn may begin; infinite: something else must happen first."""
        if self.caps is None or self.under_way >= self.health.at_once:
            return float("inf")
        waits = [self._silent_until - now_s]
        for rate, bucket in self._limits():
            taken = bucket.take(rate, now_s)
            if isinstance(taken, float):
                waits.append(taken)
        return max(0.0, *waits)

    def account_wait_s(self, account: int, now_s: float) -> float:
        """How long an account has to wait besides, by its own limits; takes one if it need not."""
        wait_s = self._not_before.get(account, 0.0) - now_s
        if wait_s > 0:
            return wait_s
        self._not_before.pop(account, None)
        return 0.0 if self._accounts is None else self._accounts.take(account, now_s)

    def begins(self, now_s: float) -> None:
        """A turn begins."""
        self.under_way += 1
        self._booked += 1
        self._book(now_s)

    def asks(self, now_s: float) -> None:
        """A request leaves. Not all drivers tell; then each turn counts as one.

        The probes of a standby do not count: of a week of them a debt would be left.
        """
        if self._booked:
            self._booked -= 1
        elif not self.health.away:
            self._book(now_s)

    def ends(self) -> None:
        """A turn has ended, in whatever way."""
        self.under_way -= 1
        self._booked = min(self._booked, self.under_way)

    def _book(self, now_s: float) -> None:
        if self._ceiling is not None:
            self._ceiling_bucket, _ = self._ceiling_bucket.book(self._ceiling, now_s)
        rate = None if self.caps is None else self.caps.site_rate
        if rate is not None:
            self._bucket, _ = (self._bucket or Bucket.full(rate, now_s)).book(rate, now_s)

    def _limits(self) -> list[tuple[Rate, Bucket]]:
        limits = []
        if self._ceiling is not None:
            limits.append((self._ceiling, self._ceiling_bucket))
        rate = None if self.caps is None else self.caps.site_rate
        if rate is not None and self._bucket is not None:
            limits.append((rate, self._bucket))
        return limits

    # What comes back

    def answered(self, account: int, result: Result, now_s: float, took_s: float = 0.0) -> None:
        """Learn from an answer, or from there being none; `took_s` is how long it took."""
        if result.left is not None and result.left_for_s:
            limit = None if self.caps is None else self.caps.account_rate
            # The relay alone leaves a third of a burst (`Rate.share`); so when less is left, other
            # programs of the person use it too, and the rest is for them.
            if result.left < (1.0 if limit is None else limit.burst / 3):
                self._not_before[account] = now_s + result.left_for_s
        match result.outcome:
            case Outcome.INSERTED | Outcome.DUPLICATE:
                self._succeeded(now_s, took_s)
                self._done.append(now_s)
            case Outcome.REJECTED:
                self._succeeded(now_s, took_s)
            case Outcome.UNKNOWN:
                self._failed(result, now_s)
            case Outcome.AUTH if result.scope is Scope.DRIVER:
                self._told(result.reason, result.detail)
                self.health = self.health.stands_by(now_s, self._jitter(), result.retry_after_s)
            case Outcome.AUTH:
                pass
            case _:
                self._patient(account, result, now_s)

    def _patient(self, account: int, result: Result, now_s: float) -> None:
        """Certainly not done: because it could not be reached, or because it asks for patience."""
        if result.retry_after_s is None:
            if result.scope is Scope.DRIVER:
                self._failed(result, now_s)
        elif result.scope is Scope.DRIVER:
            self._silent_until = max(self._silent_until, now_s + result.retry_after_s)
        else:
            self._not_before[account] = now_s + result.retry_after_s

    def _succeeded(self, now_s: float, took_s: float) -> None:
        self._succeeded_at = now_s
        faded_s = took_s if self._quick_s is None else self._quick_s * QUICK_FADES
        self._quick_s = min(took_s, faded_s)
        self.health = self.health.succeeded(now_s, quick=took_s <= SLOWER * self._quick_s)

    def _failed(self, result: Result, now_s: float) -> None:
        self._told(result.reason, result.detail)
        self.health = self.health.failed(now_s, self._jitter(), result.retry_after_s)

    def looked(self, result: Result | None, now_s: float) -> None:
        """A look has come through, or has failed with that."""
        if result is None:
            self.health = self.health.succeeded(now_s)
        else:
            self._failed(result, now_s)

    def probed(self, probe: Probe, now_s: float) -> None:
        """Learn from a probe."""
        if probe.caps is not None:
            self.knows(probe.caps, now_s)
        up = probe.reach is Reach.UP and self.caps is not None
        if not up:
            self._told(probe.reason or probe.reach.value, probe.detail)
        self.health = self.health.probed(up, now_s, self._jitter(), probe.retry_after_s)

    def knows(self, caps: Caps, now_s: float) -> None:
        """What it can do, by a probe, or as it was known the last time."""
        before = self.caps
        self.caps = caps
        if before is None or before.account_rate != caps.account_rate:
            rate = caps.account_rate
            self._accounts = None if rate is None else Buckets(rate, MOST_ACCOUNTS)
        if before is None or before.site_rate != caps.site_rate:
            self._bucket = None if caps.site_rate is None else Bucket.full(caps.site_rate, now_s)

    def flagged(self, flag: Flag, now_s: float) -> None:
        """The operator decides. Without his standby it is asked at once how it is."""
        self.health = replace(self.health, flag=flag).probe_now(now_s)

    def _told(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail

    # What is known of it

    def fine_since(self, at_s: float) -> bool:
        """Whether it has done what somebody asked since a time."""
        return self._succeeded_at is not None and self._succeeded_at >= at_s

    def per_second(self, now_s: float) -> float:
        """Rows inserted a second, over the last minute."""
        while self._done and self._done[0] < now_s - RATE_OVER_S:
            self._done.popleft()
        return len(self._done) / RATE_OVER_S
