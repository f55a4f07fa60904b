"""What others wait for while one author with 10,000 followers sends as fast as he may.

Some authors with 3 to 10 followers each post now and then, in turn, at even distances: what counts
is the time from sending to the last of their followers. In every other row one author more, whose
rates are lifted, has a hundred posts to 10,000 followers on their way all the time: he sends the
next one when one has come to everybody. (The rates as they come allow him five at once and one a
second, which is milder.) Rows with him and rows without him take turns.

The server is a stub that counts and answers pings (`stub.py`), so that only the relay is measured.
All followers are online. Afterwards everything must have come, and come once.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self

from tests.bench import figures
from tests.bench.latency import percentile, running
from tests.bench.limit import LIMITS, MARKER, post_xml
from tests.bench.stub import Stub
from xmpprelay.bench.tally import marks_in, text_of
from xmpprelay.bench.usage import cpu_s_of
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
        ("--followers", 10_000, "of the author who sends as fast as he may"),
        ("--ahead", 100, "posts of his that are on their way"),
        ("--posts", 200, "of the others, in a row"),
        ("--rounds", 5, "of both rows, in turn"),
    ):
        parser.add_argument(name, type=int, default=default, metavar="N", help=meaning)
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print a table; ends with an exit code if something came twice."""
    plan = Plan(asked.followers, asked.ahead, asked.posts, asked.rounds)
    rows, doubled = asyncio.run(measured(plan))
    show(plan, rows)
    found = {"rows": {name: asdict(row) for name, row in rows.items()}}
    figures.write(asked.json, asdict(plan), found)
    if doubled:
        sys.exit(f"Error: {doubled} deliveries came twice.")
    print("nothing was lost, and nothing came twice")


async def measured(plan: Plan) -> tuple[Rows, int]:
    """All rows, and how many deliveries came twice."""
    rows: Rows = {ALONE: Row(), CROWDED: Row()}
    async with _bench(plan) as bench:
        await bench.others(2 * len(OTHERS))  # fills caches
        for _ in range(plan.rounds):
            await bench.alone(rows[ALONE])
            await bench.crowded(rows[CROWDED])
        return rows, bench.doubled


@asynccontextmanager
async def _bench(plan: Plan) -> AsyncIterator["_Bench"]:
    with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as folder:
        async with MarkingStub() as stub:
            relay = RelayProcess(Path(folder), stub, LIMITS)  # type: ignore[arg-type]
            async with running(relay):
                await stub.is_up()
                yield await _Bench(plan, stub, relay).peopled()


class _Bench:
    """The authors, on a stub."""

    def __init__(self, plan: Plan, stub: MarkingStub, relay: RelayProcess) -> None:
        self._plan = plan
        self._stub = stub
        self._relay = relay
        self._numbers: Iterator[tuple[int, int]] = (  # author, post
            (author, post) for post in range(1 << 30) for author in range(len(OTHERS))
        )
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
    def doubled(self) -> int:
        too_many = self._stub.counted - self._sent * self._plan.followers
        return self._stub.arrivals.doubled + too_many

    async def alone(self, row: Row) -> None:
        """The others, without him."""
        before, began = cpu_s_of(self._relay.pid), time.perf_counter()
        row.ms += await self.others(self._plan.posts)
        self._counts(row, before, began)

    async def crowded(self, row: Row) -> None:
        """The others while he has so many posts on their way."""
        flood = asyncio.create_task(self._floods())
        try:
            await self._stub.until(self._stub.counted + self._plan.followers, WITHIN_S)
            counted = self._stub.counted
            before, began = cpu_s_of(self._relay.pid), time.perf_counter()
            row.ms += await self.others(self._plan.posts)
            deliveries = self._stub.counted - counted
            row.per_s.append(deliveries / (time.perf_counter() - began))
            self._counts(row, before, began)
        finally:
            flood.cancel()
        await self._stub.until(self._sent * self._plan.followers, WITHIN_S)
        await self.others(len(OTHERS))  # a fence: what was to come has come

    def _counts(self, row: Row, before: float, began: float) -> None:
        used_s = cpu_s_of(self._relay.pid) - before
        row.cpu_s.append(used_s / (time.perf_counter() - began))

    async def _floods(self) -> None:
        """He sends whenever fewer than so many posts of his are on their way."""
        while True:
            if self._sent - self._stub.counted // self._plan.followers < self._plan.ahead:
                self._stub.sends(post_xml(self._stub, f"p{self._sent}"))
                self._sent += 1
            await asyncio.sleep(HIS_PACE_S)

    async def others(self, count: int) -> list[float]:
        """So many posts of the others; the milliseconds of each to the last of its followers."""
        waits, start = [], time.perf_counter()
        for number in range(count):
            await asyncio.sleep(start + number * EVERY_S - time.perf_counter())
            waits.append(asyncio.create_task(self._one(*next(self._numbers))))
        return await asyncio.gather(*waits)

    async def _one(self, author: int, post: int) -> float:
        began = time.perf_counter()
        self._stub.sends(
            f"<message from='other{author}@{self._stub.domain}/x' to='{self._stub.home}' "
            f"type='chat' id='o{author}-{post}'><body>{text_of(author, post)}</body></message>"
        )
        return 1000 * (await self._stub.has(author, post) - began)


def show(plan: Plan, rows: Rows) -> None:
    """Print what was found."""
    print(
        f"{plan.rounds * plan.posts} posts of authors with {min(OTHERS)} to {max(OTHERS)} "
        f"followers, in {plan.rounds} rounds; ms to the last follower"
    )
    print(f"{'':34}{'p50':>8}{'p99':>8}{'max':>8}")
    names = (ALONE, f"one posts to {plan.followers:,} all the time")
    for name, row in zip(names, rows.values(), strict=True):
        values = [percentile(row.ms, 50), percentile(row.ms, 99), max(row.ms)]
        print(f"{name:34}" + "".join(f"{value:8.1f}" for value in values))
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
