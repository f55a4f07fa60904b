"""What others wait for while one author with 10,000 followers sends as fast as he may.

Some authors with 3 to 10 followers each post now and then, in turn, at even distances: what counts
is the time from sending to the last of their followers. In every other row one author more, whose
rates are lifted, has a hundred posts to 10,000 followers on their way all the time: he sends the
next one when one has come to everybody. (The rates as they come allow him five at once and one a
second, which is milder.) Rows with him and rows without him take turns.

The server is a stub that counts and answers pings (`stub.py`), so that only the relay is measured;
with `--server` it is a real one, with 5,000 followers who are really logged in
(`crowded_server.py`), and what a chat message takes there meanwhile, without the relay, is measured
beside it. All are online. Afterwards everything must have come, and come once.
"""

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Protocol, Self

from tests.bench import figures
from tests.bench.latency import percentile, running
from tests.bench.limit import LIMITS, MARKER, post_xml
from tests.bench.stub import Stub
from xmpprelay.bench.tally import marks_in, text_of
from xmpprelay.bench.usage import cpu_s_of
from xmpprelay.errors import XmppRelayError
from xmpprelay.quickstart.relay_process import RelayProcess

OTHERS: Final = tuple(range(3, 11))
"""How many followers each of the others has."""

EVERY_S: Final = 0.05
"""Between two posts of others: slow enough that none waits for another one of these."""

HIS_PACE_S: Final = 0.005
"""Between two posts of the one author: of more than fifty at once some are refused."""

WITHIN_S: Final = 120.0
"""For anything that must come at all."""

ALONE: Final = "nobody else posts"
CROWDED: Final = "one posts all the time"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is sent."""

    followers: int  # of the one author
    ahead: int  # posts of his that are on their way
    posts: int  # of the others, in a row
    rounds: int
    server: str | None = None  # None: a stub


@dataclass(slots=True)
class Arrivals:
    """When posts of authors with few followers have come to all of them."""

    followers: tuple[int, ...]  # of each author
    last: dict[tuple[int, int], float] = field(default_factory=dict)  # author, post
    doubled: int = 0
    _left: dict[tuple[int, int], int] = field(default_factory=dict)

    def came(self, author: int, post: int, now: float) -> bool:
        """A post has come to somebody; whether everybody has it now."""
        which = author, post
        left = self._left.get(which, self.followers[author]) - 1
        self._left[which] = left
        if left < 0:
            self.doubled += 1
        elif left == 0:
            self.last[which] = now
        return left == 0


@dataclass(slots=True)
class Row:
    """What was found with the one author, or without him, in all rounds."""

    ms: list[float] = field(default_factory=list)  # each post of the others, to the last follower
    direct_ms: list[float] = field(default_factory=list)  # each chat message without the relay
    per_s: list[float] = field(default_factory=list)  # by round: deliveries of the one author
    cpu_s: list[float] = field(default_factory=list)  # by round: the relay's, of a second


Rows = dict[str, Row]


class MarkingStub(Stub):
    """Looks for the posts of the others as well, by the marks that are in their texts."""

    def __init__(self) -> None:
        super().__init__(MARKER.encode())
        self.arrivals = Arrivals(OTHERS)
        self.more = asyncio.Event()
        self._mark_tail = b""

    def arrived(self, data: bytes) -> None:
        super().arrived(data)
        now = time.perf_counter()
        marks, self._mark_tail = marks_in(self._mark_tail + data)
        for author, post in marks:
            if self.arrivals.came(author, post, now):
                self.more.set()

    async def has(self, author: int, post: int) -> float:
        """When an author's post had come to all his followers; TimeoutError."""
        async with asyncio.timeout(WITHIN_S):
            while (author, post) not in self.arrivals.last:
                self.more.clear()
                await self.more.wait()
        return self.arrivals.last[author, post]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    for name, default, meaning in (
        ("--followers", None, "of the author who sends as fast as he may"),
        ("--ahead", None, "posts of his that are on their way"),
        ("--posts", 200, "of the others, in a row"),
        ("--rounds", 5, "of both rows, in turn"),
    ):
        parser.add_argument(name, type=int, default=default, metavar="N", help=meaning)
    parser.add_argument("--server", choices=("prosody", "ejabberd"), help="a real one")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print a table; ends with an exit code if something was lost or came twice."""
    followers, ahead = (10_000, 100) if asked.server is None else (5000, 20)
    plan = Plan(
        asked.followers or followers,
        asked.ahead or ahead,
        asked.posts,
        asked.rounds,
        asked.server,
    )
    try:
        rows, wrong = asyncio.run(measured(plan))
    except XmppRelayError as error:
        sys.exit(f"Error: {error.sentence}")
    show(plan, rows)
    found = {"rows": {name: asdict(row) for name, row in rows.items()}}
    figures.write(asked.json, asdict(plan), found)
    if wrong:
        sys.exit(f"Error: {wrong} deliveries were lost, or came twice.")
    print("nothing was lost, and nothing came twice")


async def measured(plan: Plan) -> tuple[Rows, int]:
    """All rows, and how many deliveries were lost or came twice."""
    rows: Rows = {ALONE: Row(), CROWDED: Row()}
    async with _place(plan) as place:
        bench = _Bench(plan, place)
        await bench.others(2 * len(OTHERS))  # fills caches
        for _ in range(plan.rounds):
            await bench.alone(rows[ALONE])
            await bench.crowded(rows[CROWDED])
        return rows, await place.wrong()


class Place(Protocol):
    """Where it happens: the authors, their followers, a relay and a server."""

    @property
    def relay_pid(self) -> int: ...
    @property
    def deliveries(self) -> int:
        """Of the one author's posts, up to now."""

    async def floods(self) -> None:
        """Let him send and send, until this is cancelled."""

    async def is_through(self) -> None:
        """Return when all that he has sent has come."""

    async def one(self, author: int, post: int) -> float:
        """Let another one post; the milliseconds until it has come to all his followers."""

    async def direct(self) -> float | None:
        """The milliseconds of a chat message without the relay; None: there is no server."""

    async def wrong(self) -> int:
        """How many deliveries were lost, or came twice."""


@asynccontextmanager
async def _place(plan: Plan) -> AsyncIterator[Place]:
    if plan.server is not None:
        from tests.bench.crowded_server import on_server  # it imports from here

        async with on_server(plan) as place:
            yield place
        return
    with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as folder:
        async with MarkingStub() as stub:
            relay = RelayProcess(Path(folder), stub, LIMITS)  # type: ignore[arg-type]
            async with running(relay):
                await stub.is_up()
                yield await _OnStub(plan, stub, relay).peopled()


class _OnStub:
    """With a server that only counts."""

    def __init__(self, plan: Plan, stub: MarkingStub, relay: RelayProcess) -> None:
        self._plan = plan
        self._stub = stub
        self._relay = relay
        self._sent = 0  # posts of the one author

    async def peopled(self) -> Self:
        """All authors have their followers, who are there."""
        domain = self._stub.domain
        follows = {
            self._stub.author: [f"f{n}@{domain}" for n in range(self._plan.followers)],
            **{
                f"other{author}@{domain}": [f"o{author}-{n}@{domain}" for n in range(count)]
                for author, count in enumerate(OTHERS)
            },
        }
        await self._stub.follow(self._relay, follows)
        return self

    @property
    def relay_pid(self) -> int:
        return self._relay.pid

    @property
    def deliveries(self) -> int:
        return self._stub.counted

    async def floods(self) -> None:
        while True:
            if self._sent - self._stub.counted // self._plan.followers < self._plan.ahead:
                self._stub.sends(post_xml(self._stub, f"p{self._sent}"))
                self._sent += 1
            await asyncio.sleep(HIS_PACE_S)

    async def is_through(self) -> None:
        await self._stub.until(self._sent * self._plan.followers, WITHIN_S)

    async def one(self, author: int, post: int) -> float:
        began = time.perf_counter()
        self._stub.sends(
            f"<message from='other{author}@{self._stub.domain}/x' to='{self._stub.home}' "
            f"type='chat' id='o{author}-{post}'><body>{text_of(author, post)}</body></message>"
        )
        return 1000 * (await self._stub.has(author, post) - began)

    async def direct(self) -> float | None:
        return None

    async def wrong(self) -> int:
        too_many = self._stub.counted - self._sent * self._plan.followers
        return self._stub.arrivals.doubled + too_many


class _Bench:
    """Rows of posts of the others, with the one author and without him."""

    def __init__(self, plan: Plan, place: Place) -> None:
        self._plan = plan
        self._place = place
        self._numbers: Iterator[tuple[int, int]] = (  # author, post
            (author, post) for post in itertools.count() for author in range(len(OTHERS))
        )

    async def alone(self, row: Row) -> None:
        """The others, without him."""
        await self._row(row)

    async def crowded(self, row: Row) -> None:
        """The others while he has so many posts on their way."""
        place, before, began = self._place, self._place.deliveries, time.perf_counter()
        flood = asyncio.create_task(place.floods())
        async with asyncio.timeout(WITHIN_S):
            while place.deliveries < before + self._plan.followers:  # noqa: ASYNC110 - seldom
                await asyncio.sleep(0.05)
        await self._row(row)
        flood.cancel()
        await asyncio.wait({flood})
        await place.is_through()
        row.per_s.append((place.deliveries - before) / (time.perf_counter() - began))
        await self.others(len(OTHERS))  # a fence: what was to come has come

    async def _row(self, row: Row) -> None:
        used, began = cpu_s_of(self._place.relay_pid), time.perf_counter()
        ms, direct_ms = await asyncio.gather(self.others(self._plan.posts), self._directs())
        row.ms += ms
        row.direct_ms += direct_ms
        used_s, took_s = cpu_s_of(self._place.relay_pid) - used, time.perf_counter() - began
        row.cpu_s.append(used_s / took_s)

    async def others(self, count: int) -> list[float]:
        """So many posts of the others; the milliseconds of each to the last of its followers."""
        waits, start = [], time.perf_counter()
        for number in range(count):
            await asyncio.sleep(start + number * EVERY_S - time.perf_counter())
            waits.append(asyncio.create_task(self._place.one(*next(self._numbers))))
        return await asyncio.gather(*waits)

    async def _directs(self) -> list[float]:
        """As many chat messages; their milliseconds."""
        waits, start = [], time.perf_counter()
        for number in range(self._plan.posts):
            await asyncio.sleep(start + (number + 0.5) * EVERY_S - time.perf_counter())
            waits.append(asyncio.create_task(self._place.direct()))
        return [ms for ms in await asyncio.gather(*waits) if ms is not None]


def show(plan: Plan, rows: Rows) -> None:
    """Print what was found."""
    print(
        f"{plan.rounds * plan.posts} posts of authors with {min(OTHERS)} to {max(OTHERS)} "
        f"followers, in {plan.rounds} rounds; ms to the last follower"
    )
    print(f"{'':36}{'p50':>8}{'p99':>8}{'max':>8}")
    names = (ALONE, f"one posts to {plan.followers:,} all the time")
    for name, row in zip(names, rows.values(), strict=True):
        for of, ms in ((name, row.ms), ("  a chat message meanwhile, no relay", row.direct_ms)):
            if ms:
                values = [percentile(ms, 50), percentile(ms, 99), max(ms)]
                print(f"{of:36}" + "".join(f"{value:8.1f}" for value in values))
    crowded = rows[CROWDED]
    print(
        f"p99 by that alone: {ratio(rows, 99):.2f}; his deliveries a second: "
        f"{statistics.median(crowded.per_s):,.0f}; "
        f"the relay's share of a processor: {statistics.median(crowded.cpu_s):.2f}"
    )


def ratio(rows: Rows, percent: int) -> float:
    """So many percent of the others' posts: the time with the one author by that without him."""
    with_him, without = (percentile(rows[name].ms, percent) for name in (CROWDED, ALONE))
    return with_him / without
