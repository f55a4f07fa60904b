"""Rounds of several ways in turn: rates, times, what it costs.

A round has, for each way, a burst of posts and then posts one at a time, each sent when everybody
has had the one before. The rate of a burst is from before the first is sent to the last arrival.
The processor's time of a process is all that it used, also afterwards, to confirm and to store.

Every follower's account of every post is kept: at the end nothing may be lost, or have come twice.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xmpprelay.bench.followers import Followers, Posts
from xmpprelay.bench.tally import Account
from xmpprelay.bench.usage import cpu_s_of, usage_of
from xmpprelay.bench.ways import Way
from xmpprelay.errors import XmppRelayError

WARM_POSTS: Final = 5
"""Of each way, before it counts: caches, and the presence of the last followers."""

SETTLES_S: Final = 0.3
"""After the last arrival, until the processor's time is read: for what is confirmed and stored."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is sent."""

    followers: int
    rounds: int
    burst: int  # posts
    singles: int  # posts
    pause_s: float = 0.0  # before each of these; else it comes as soon as everybody has the last

    @property
    def patience_s(self) -> float:
        """How long anything may take: a burst at 500 deliveries a second."""
        return 30 + self.followers * self.burst / 500


@dataclass(frozen=True, slots=True)
class Used:
    """The processor's time of a delivery, in microseconds."""

    way: float | None  # of the component's process; None: there is none
    server: float | None  # None: its process is not known
    followers: float


@dataclass(frozen=True, slots=True)
class Turn:
    """What one way did in one round."""

    per_s: float  # deliveries, in the burst
    burst_us: Used
    first_ms: float  # p50 of the single posts: from sending to the first follower
    last_ms: float  # p50, to the last
    slowest_ms: float  # the last follower of the slowest
    single_us: Used


Turns = Mapping[str, list[Turn]]  # by the short name of the way, in the order of the rounds


@dataclass(frozen=True, slots=True)
class Found:
    """All that was found on one server."""

    turns: Turns
    idle_bytes: int  # the relay's memory at most, before anything was posted
    peak_bytes: int  # and at the end
    account: Account


async def measured(
    ways: Sequence[Way],
    followers: Followers,
    plan: Plan,
    server_pid: int | None = None,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Found:
    """All rounds on one server; the relay is the last of the ways.

    `tell` is told how many turns are done, of how many. XmppRelayError where posts do not come.
    """
    relay = ways[-1].pid
    assert relay is not None  # noqa: S101
    idle = usage_of(relay).peak_bytes
    bench = _Bench(followers, plan, server_pid)
    tell(0, plan.rounds * len(ways))
    for way in ways:
        await bench.burst(way, WARM_POSTS)
    turns: Turns = {way.short: [] for way in ways}
    for number in range(plan.rounds):
        for at in range(len(ways)):
            way = ways[(number + at) % len(ways)]  # none is always behind the same one
            turns[way.short].append(await bench.turn(way))
            tell(number * len(ways) + at + 1, plan.rounds * len(ways))
    for way in ways:
        await bench.burst(way, 1)  # a fence: what was to come by this way has come
    return Found(turns, idle, usage_of(relay).peak_bytes, await followers.account())


class _Bench:
    """Sends by one way or another to the same followers."""

    def __init__(self, followers: Followers, plan: Plan, server_pid: int | None) -> None:
        self._server_pid = server_pid
        self._followers = followers
        self._plan = plan

    async def turn(self, way: Way) -> Turn:
        """A burst, and single posts."""
        plan = self._plan
        before = self._cpu(way)
        per_s = await self.burst(way, plan.burst)
        between = await self._settled(way)
        firsts, lasts = await self._singles(way, plan.singles)
        after = await self._settled(way)
        return Turn(
            per_s=per_s,
            burst_us=_each(before, between, plan.burst * plan.followers),
            first_ms=statistics.median_low(firsts),
            last_ms=statistics.median_low(lasts),
            slowest_ms=max(lasts),
            single_us=_each(between, after, plan.singles * plan.followers),
        )

    async def burst(self, way: Way, count: int) -> float:
        """Send so many at once; the deliveries a second."""
        posts = await self._followers.expect(count)
        began = time.perf_counter()
        for number in range(count):
            way.sends(posts.text(number))
        try:
            ended = await posts.all_there(self._plan.patience_s)
        except TimeoutError:
            raise await self._lacking(way) from None
        return count * self._plan.followers / (ended - began)

    async def _singles(self, way: Way, count: int) -> tuple[list[float], list[float]]:
        """Send so many one by one; the milliseconds of each to the first and to the last."""
        posts = await self._followers.expect(count)
        times = [await self._single(way, posts, number) for number in range(count)]
        return [first for first, _ in times], [last for _, last in times]

    async def _single(self, way: Way, posts: Posts, number: int) -> tuple[float, float]:
        await asyncio.sleep(self._plan.pause_s)
        text = posts.text(number)
        began = time.perf_counter()
        way.sends(text)
        try:
            first, last = await posts.there(number, self._plan.patience_s)
        except TimeoutError:
            raise await self._lacking(way) from None
        return 1000 * (first - began), 1000 * (last - began)

    async def _lacking(self, way: Way) -> XmppRelayError:
        account = await self._followers.account()
        return XmppRelayError(
            f"By {way.name} not everything came within {self._plan.patience_s:.0f} s: of "
            f"{account.expected:,} deliveries {account.lost:,} are missing, such as: "
            f"{'; '.join(account.examples)}. Look at the server's log, at its shapers and limits."
        )

    async def _settled(self, way: Way) -> "_Cpu":
        await asyncio.sleep(SETTLES_S)
        return self._cpu(way)

    def _cpu(self, way: Way) -> "_Cpu":
        return _cpu_s(way.pid), _cpu_s(self._server_pid), _cpu_s(self._followers.pid)


_Cpu = tuple[float | None, float | None, float | None]
"""Seconds of: the component, the server, the followers."""


def _cpu_s(pid: int | None) -> float | None:
    return None if pid is None else cpu_s_of(pid)


def _each(before: _Cpu, after: _Cpu, deliveries: int) -> Used:
    way, server, followers = (
        None if a is None or b is None else 1e6 * (a - b) / deliveries
        for a, b in zip(after, before, strict=True)
    )
    assert followers is not None  # noqa: S101
    return Used(way, server, followers)
