"""The fan-out beside the server's own pubsub and a plain component: rates, times, what it costs.

A private server with many followers, each really logged in (`crowd.py`). The same texts come to all
of them in three ways, in turn (`rivals.py`): by the server's own pubsub, by a component that calls
`send_message()` for each, and by the relay, with everything that it has switched on: posts are on
disk first, blocks are looked at, and what was written is confirmed before more is.

A round has, for each way, a burst of posts and then posts one at a time, each sent when everybody
has had the one before. The rate of a burst is from before the first is sent to the last arrival.
The processor's time of a process is all that it used, also afterwards, to confirm and to store.
Ratios are to the server's own pubsub in the same round. All figures are medians of the rounds; the
slowest of the single posts is the slowest of all rounds.

Every follower's account of every post is kept: at the end nothing may be lost, or have come twice.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.bench.crowd import Account
from tests.bench.followers import Followers, Posts, allow_connections
from tests.bench.latency import percentile
from tests.bench.rivals import PLAIN_DOMAIN, PLAIN_SECRET, WAYS, Way
from tests.bench.usage import usage_of
from tests.servers.ejabberd import Ejabberd
from xmpprelay.errors import XmppRelayError
from xmpprelay.quickstart.private_server import PrivateServer
from xmpprelay.quickstart.prosody import Prosody

_PLAIN: Final = f'Component "{PLAIN_DOMAIN}"\n    component_secret = "{PLAIN_SECRET}"'


@dataclass(frozen=True, slots=True)
class Kind:
    """A server as it is configured."""

    title: str
    made: Callable[[], PrivateServer]


KINDS: Final[Mapping[str, Kind]] = {
    "prosody": Kind(
        "Prosody, its garbage collector as it comes",
        lambda: Prosody(extra_config=f"gc = {{}}\n{_PLAIN}"),  # after the private server's own
    ),
    "prosody-gc": Kind(
        "Prosody, gc = { threshold = 250, speed = 500 }", lambda: Prosody(extra_config=_PLAIN)
    ),
    "ejabberd": Kind("ejabberd", lambda: Ejabberd(components={PLAIN_DOMAIN: PLAIN_SECRET})),
}

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

    @property
    def patience_s(self) -> float:
        """How long anything may take: a burst at 500 deliveries a second."""
        return 30 + self.followers * self.burst / 500


@dataclass(frozen=True, slots=True)
class Used:
    """The processor's time of a delivery, in microseconds."""

    way: float | None  # of the component's process; None: there is none
    server: float
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


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    for name, default, meaning in (
        ("--followers", 1000, "who get each post"),
        ("--rounds", 5, "of which the figures are medians"),
        ("--burst", 20, "posts of a burst"),
        ("--posts", 20, "posts one at a time"),
    ):
        parser.add_argument(name, type=_count, default=default, metavar="N", help=meaning)
    parser.add_argument(
        "--server", action="append", choices=list(KINDS), help="that one only; may be given again"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 on")
    return int(text)


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure; ends with an exit code if something was lost, or cannot be measured."""
    plan = Plan(asked.followers, asked.rounds, asked.burst, asked.posts)
    try:
        well = run(plan, asked.server or list(KINDS), asked.json)
    except XmppRelayError as error:
        sys.exit(f"Error: {error.sentence}")
    if not well:
        sys.exit("Error: posts were lost, or came twice.")


def run(plan: Plan, kinds: Sequence[str], file: Path | None) -> bool:
    """Measure, and print a table for each server; whether all posts came, and came once."""
    allow_connections(plan.followers)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    told, well = {}, True
    for name in kinds:
        found = asyncio.run(measured(KINDS[name], plan))
        show(KINDS[name].title, plan, found)
        well = well and not (found.account.lost or found.account.doubled)
        told[name] = asdict(found) | {"title": KINDS[name].title, "ratios": ratios(found.turns)}
        if file is not None:  # as soon as there is something
            written = {"when": when, "plan": asdict(plan), "servers": told}
            file.write_text(json.dumps(written, indent=1) + "\n")
    return well


# --- Measuring ------------------------------------------------------------------------------------


async def measured(kind: Kind, plan: Plan) -> Found:
    """All rounds on one server."""
    async with contextlib.AsyncExitStack() as ending:
        server = await ending.enter_async_context(kind.made())
        followers = await ending.enter_async_context(Followers(server, plan.followers))
        ways = [await ending.enter_async_context(way(server, followers)) for way in WAYS]
        relay = ways[-1]
        assert relay.pid is not None
        idle = usage_of(relay.pid).peak_bytes
        bench = _Bench(server, followers, plan)
        for way in ways:
            await bench.burst(way, WARM_POSTS)
        turns: Turns = {way.short: [] for way in ways}
        for number in range(plan.rounds):
            for at in range(len(ways)):
                way = ways[(number + at) % len(ways)]  # none is always behind the same one
                turns[way.short].append(await bench.turn(way))
        for way in ways:
            await bench.burst(way, 1)  # a fence: what was to come by this way has come
        return Found(turns, idle, usage_of(relay.pid).peak_bytes, await followers.account())


class _Bench:
    """Sends by one way or another to the same followers."""

    def __init__(self, server: PrivateServer, followers: Followers, plan: Plan) -> None:
        self._server = server
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
            first_ms=percentile(firsts, 50),
            last_ms=percentile(lasts, 50),
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
            f"By {way.name} not everything came within {self._plan.patience_s:.0f} s: "
            f"{_told(account)}"
        )

    async def _settled(self, way: Way) -> "_Cpu":
        await asyncio.sleep(SETTLES_S)
        return self._cpu(way)

    def _cpu(self, way: Way) -> "_Cpu":
        component = None if way.pid is None else _cpu_s(way.pid)
        return component, _cpu_s(self._server.pid), _cpu_s(self._followers.pid)


_Cpu = tuple[float | None, float, float]  # seconds of: the component, the server, the followers


def _cpu_s(pid: int) -> float:
    """The processor's time of a process, by its own clock: /proc has it in steps of 10 ms only."""
    return time.clock_gettime(~pid << 3 | 2)  # as clock_getcpuclockid(3) makes it on Linux


def _each(before: _Cpu, after: _Cpu, deliveries: int) -> Used:
    way, server, followers = (
        None if a is None or b is None else 1e6 * (a - b) / deliveries
        for a, b in zip(after, before, strict=True)
    )
    assert server is not None
    assert followers is not None
    return Used(way, server, followers)


# --- Telling --------------------------------------------------------------------------------------


def ratios(turns: Turns) -> dict[str, dict[str, float]]:
    """Of each way: rates and times as parts of the first way's in the same round; medians."""
    own = turns[WAYS[0].short]
    return {
        way: {
            figure: statistics.median(
                getattr(ours, figure) / getattr(theirs, figure)
                for ours, theirs in zip(found, own, strict=True)
            )
            for figure in ("per_s", "first_ms", "last_ms")
        }
        for way, found in turns.items()
    }


def show(title: str, plan: Plan, found: Found) -> None:
    """Print what was found on one server."""
    ratio = ratios(found.turns)
    print(f"\n{title}: {plan.followers:,} followers, medians of {plan.rounds} rounds")
    print(f"{f'bursts of {plan.burst} posts':28}{'a second':>10}{'of own':>8}{_CPU}")
    for way in WAYS:
        turns = found.turns[way.short]
        per_s = statistics.median(turn.per_s for turn in turns)
        used = _used([turn.burst_us for turn in turns])
        print(f"{way.name:28}{per_s:10,.0f}{ratio[way.short]['per_s']:8.2f}{used}")
    print(f"{'one post at a time, ms':28}{'first':>10}{'of own':>8}{_CPU}", end="")
    print(f"{'last':>8}{'of own':>8}{'slowest':>9}")
    for way in WAYS:
        turns = found.turns[way.short]
        first = statistics.median(turn.first_ms for turn in turns)
        last = statistics.median(turn.last_ms for turn in turns)
        slowest = max(turn.slowest_ms for turn in turns)
        used = _used([turn.single_us for turn in turns])
        print(f"{way.name:28}{first:10.1f}{ratio[way.short]['first_ms']:8.2f}{used}", end="")
        print(f"{last:8.1f}{ratio[way.short]['last_ms']:8.2f}{slowest:9.1f}")
    load = statistics.median(turn.burst_us.followers for turn in found.turns["relay"])
    print(f"µs are the processor's for a delivery; the followers' own process needs {load:.1f}")
    idle, peak = found.idle_bytes / 2**20, found.peak_bytes / 2**20
    print(f"the relay's memory at most: {peak:.0f} MiB, {idle:.0f} before the first post")
    print(_told(found.account))


_CPU: Final = f"{'its µs':>9}{'server µs':>11}"


def _used(each: Sequence[Used]) -> str:
    server = statistics.median(used.server for used in each)
    of_way = [used.way for used in each if used.way is not None]
    way = f"{statistics.median(of_way):9.1f}" if of_way else f"{'–':>9}"
    return f"{way}{server:11.1f}"


def _told(account: Account) -> str:
    if not account.lost and not account.doubled:
        return f"of {account.expected:,} deliveries nothing was lost, and nothing came twice"
    return (
        f"of {account.expected:,} deliveries {account.lost:,} WERE LOST, and {account.doubled:,} "
        f"CAME TWICE: {'; '.join(account.examples)}"
    )
