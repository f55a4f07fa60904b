"""The return from an outage: a backlog of many authors, and people who go on posting meanwhile."""

import asyncio
import tracemalloc
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Final

from sqlalchemy import select

from tests.primaries.faults import REFUSE, Op
from tests.primaries.profiles import MASTODON
from tests.primaries.twin import Twin
from tests.primaries.world import Capacity, World
from tests.properties.trickle.loop import VirtualLoop
from tests.properties.trickle.relay import Disk, People, Relay, now
from xmpprelay.core.insertion import Rules
from xmpprelay.store.posts import PostRow, append_post
from xmpprelay.store.schema import insertion
from xmpprelay.trickle.engine import Place

WAITING_AUTHORS: Final = 200
LIVE_AUTHORS: Final = 20
CAPACITY: Final = 20.0  # requests a second
LIVE: Final = 2.0  # posts a second
RTT_S: Final = 0.05
OUTAGE_S: Final = 3600.0
OVER_S: Final = 2.0
"""A second is too short to tell a rate of twenty within a tenth."""


@dataclass(frozen=True, slots=True)
class Return:
    """What came of it."""

    backlog: int
    drained_s: float  # from the end of the outage until the backlog was through
    ideal_s: float
    live_s: Sequence[float]  # of posts made meanwhile: from the post to its insertion, ascending
    peak: float  # requests a second, in the busiest two seconds
    refused: int  # too many, for a primary that refuses those
    stored: int
    expected: int

    def live_at(self, share: float) -> float:
        """The time within which that share of the live posts was there."""
        return self.live_s[min(len(self.live_s) - 1, int(share * len(self.live_s)))]


async def _returns(posts: int, *, limited: bool, read_back: bool, ceiling: float) -> Return:
    rng, loop = Random(1), asyncio.get_running_loop()
    capacity = Capacity(CAPACITY, slows_down=not limited)
    world = World(replace(MASTODON, limits=()), now=lambda: now().timestamp(), capacity=capacity)
    disk = Disk(now, WAITING_AUTHORS + LIVE_AUTHORS)
    left: list[float] = []

    def leaves(where: str, _op: Op) -> None:
        if where == "leaves":
            left.append(loop.time())
            relay.place.site.asks(loop.time())

    twin = Twin(
        world,
        sleep=asyncio.sleep,
        rtt_s=lambda: RTT_S,
        moment=leaves,
        read_back=read_back,
    )
    told = ceiling if limited else None
    relay = Relay(disk, twin, _linked(world, disk.people), Rules(), rng, world.site, told)
    start = now().timestamp()
    world.script.outage(REFUSE, start=start, end=start + OUTAGE_S)
    await relay.starts()
    await asyncio.sleep(60.0)
    await _come(relay, posts, WAITING_AUTHORS)
    back = asyncio.Event()
    relay.standby.announce = lambda situation: back.set() if situation.since is None else None
    await back.wait()
    began, made = loop.time(), 0
    while disk.any_open(WAITING_AUTHORS):
        author = WAITING_AUTHORS + made % LIVE_AUTHORS + 1
        await relay.posts(PostRow(author, f"live {made}", account=author))
        made += 1
        await asyncio.sleep(rng.expovariate(LIVE))
    drained_s = loop.time() - began
    await asyncio.sleep(60.0)
    await relay.dies()
    return Return(
        backlog=posts,
        drained_s=drained_s,
        ideal_s=posts / (CAPACITY / (1 + read_back) - LIVE),
        live_s=_waited(disk),
        peak=max(_within(left, at) for at in left) / OVER_S,
        refused=capacity.over if limited else 0,
        stored=len(world.stored()),
        expected=posts + made,
    )


def _within(times: Sequence[float], since: float) -> int:
    return bisect_left(times, since + OVER_S) - bisect_left(times, since)


def _linked(world: World, people: int) -> People:
    return People({each: world.join(f"p{each}", each) for each in range(1, people + 1)})


async def _come(relay: Relay, posts: int, authors: int) -> None:
    """So many posts come in at once."""
    rows = [PostRow(n % authors + 1, f"waits {n}", account=n % authors + 1) for n in range(posts)]
    for appended in await relay.disk.write_all(append_post, rows):
        relay.engine.queued(appended.queued)


def _waited(disk: Disk) -> list[float]:
    """How long each live post waited until it was sent, ascending."""
    asked = select(insertion.c.created, insertion.c.last_sent)
    with disk.conn.begin():
        rows = disk.conn.execute(asked.where(insertion.c.account > WAITING_AUTHORS)).all()
    return sorted((row.last_sent - row.created).total_seconds() for row in rows)


def returns(
    posts: int, *, limited: bool, read_back: bool = False, ceiling: float = CAPACITY
) -> Return:
    """Run it; `limited`: it refuses above its capacity, and the operator has set the ceiling.

    `read_back`: so each turn makes two requests.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_returns(posts, limited=limited, read_back=read_back, ceiling=ceiling))


@dataclass(frozen=True, slots=True)
class Away:
    """What a long outage costs."""

    waiting: int  # rows
    probes: int
    most_probes: int  # within five minutes, but for the first hour
    taken_bytes: int  # of memory, at a start of the relay


async def _away(posts: int, days: int) -> Away:
    world = World(MASTODON, now=lambda: now().timestamp())
    disk = Disk(now, WAITING_AUTHORS)
    accounts = _linked(world, disk.people)
    twin = Twin(world, sleep=asyncio.sleep, rtt_s=lambda: RTT_S)
    world.script.outage(REFUSE, start=0.0, end=now().timestamp() + (days + 1) * 86_400.0)
    rules = Rules(max_age=timedelta(days=30))
    first = Relay(disk, twin, accounts, rules, Random(1), world.site)
    await _come(first, posts, WAITING_AUTHORS)
    tracemalloc.start()
    relay = Relay(disk, twin, accounts, rules, Random(1), world.site)
    probes: list[float] = []
    probe = relay.standby.probe

    async def counted(place: Place) -> None:
        probes.append(asyncio.get_running_loop().time())
        await probe(place)

    relay.engine.probe = counted
    await relay.starts()
    taken_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    await asyncio.sleep(days * 86_400.0)
    waiting = relay.place.site.total
    await relay.dies()
    later = [at for at in probes if at > 3600.0]
    most = max(sum(other < at + 300.0 for other in later[n : n + 10]) for n, at in enumerate(later))
    return Away(waiting, len(probes), most, taken_bytes)


def away(posts: int, days: int) -> Away:
    """A primary that is away for days while so many posts wait."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_away(posts, days))
