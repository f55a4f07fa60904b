"""The relay's memory while posts wait for a server that does not read: above idle, by how many.

The server is a stub (`stub.py`). An author's followers are all online; then the stub stops reading,
and so many posts are made: each is on disk, and in front of a stream that takes nothing. What the
relay has in memory then, and what it has at most until everything has come after the stub reads
again, is compared with what it had before the first of these posts. For each pair of followers and
posts it is another relay, which has delivered a burst before.

At the end everything must have come, and come once.
"""

import argparse
import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Final

from tests.bench import figures
from tests.bench.latency import running
from tests.bench.limit import LIMITS, MARKER, post_xml
from tests.bench.stub import Stub
from xmpprelay.bench.usage import forget_peak, resident_bytes, usage_of
from xmpprelay.quickstart.relay_process import RelayProcess

WARM_POSTS: Final = 20

PACE_S: Final = 0.005
"""Between two posts: of more than fifty at once some are refused."""

SETTLES_S: Final = 2.0
"""Until memory is read: for what is made ready, confirmed and stored."""

GOAL_MIB: Final = 32

_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """What was found with so many followers and posts."""

    followers: int
    posts: int
    idle_mib: float  # resident, before
    waiting_mib: float  # above that, while nothing is read
    peak_mib: float  # above that, at most until everything has come
    drained_s: float  # from when it is read again


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    for name, default, meaning in (
        ("--followers", [1000, 10_000], "online; several numbers may be given"),
        ("--posts", [100, 1000], "that wait; several numbers may be given"),
    ):
        parser.add_argument(name, type=int, nargs="+", default=default, metavar="N", help=meaning)
    parser.add_argument("--rounds", type=int, default=1, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print a table; ends with an exit code if something was lost or came twice."""
    rows: list[Row] = []
    try:
        for _ in range(asked.rounds):
            for followers, posts in product(asked.followers, asked.posts):
                rows.append(asyncio.run(measured(followers, posts)))
    except NotOnce as error:
        sys.exit(f"Error: {error}")
    show(rows)
    plan = {name: getattr(asked, name) for name in ("followers", "posts", "rounds")}
    figures.write(asked.json, plan, {"rows": [asdict(row) for row in rows]})


class NotOnce(Exception):
    """Deliveries were lost, or came twice."""


async def measured(followers: int, posts: int) -> Row:
    """With a relay of its own."""
    with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as folder:
        async with Stub(MARKER.encode()) as stub:
            relay = RelayProcess(Path(folder), stub, LIMITS)  # type: ignore[arg-type]
            async with running(relay):
                await stub.is_up()
                await stub.follows(relay, followers)
                await _post(stub, "warm", WARM_POSTS)
                await stub.until(WARM_POSTS * followers)
                await asyncio.sleep(SETTLES_S)
                forget_peak(relay.pid)
                idle = resident_bytes(relay.pid)
                stub.stops_reading()
                await _post(stub, "p", posts)
                await _are_safe(Path(folder) / "relay.db", WARM_POSTS + posts)
                await asyncio.sleep(SETTLES_S)
                waiting = resident_bytes(relay.pid)
                stub.reads_again()
                began, expected = time.perf_counter(), (WARM_POSTS + posts) * followers
                await _all_come(stub, expected)
                drained_s = time.perf_counter() - began
                await asyncio.sleep(SETTLES_S)
                if stub.counted != expected:
                    raise NotOnce(f"{stub.counted - expected} deliveries came twice")
                peak = usage_of(relay.pid).peak_bytes
    above = ((each - idle) / _MIB for each in (waiting, peak))
    return Row(followers, posts, idle / _MIB, *above, drained_s)


async def _post(stub: Stub, name: str, posts: int) -> None:
    for number in range(posts):
        stub.sends(post_xml(stub, f"{name}{number}"))
        await asyncio.sleep(PACE_S)


async def _are_safe(database: Path, posts: int) -> None:
    """Return when so many are on disk: `ok` is not read either."""

    def count() -> int:
        conn = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        try:
            return int(conn.execute("SELECT count(*) FROM post").fetchone()[0])
        finally:
            conn.close()

    async with asyncio.timeout(120):
        while await asyncio.to_thread(count) < posts:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.2)


async def _all_come(stub: Stub, expected: int) -> None:
    try:
        await stub.until(expected, within_s=60 + expected / 20_000)
    except TimeoutError:
        raise NotOnce(f"{expected - stub.counted} deliveries did not come") from None


def show(rows: list[Row]) -> None:
    """Print what was found; medians, where there are several rounds."""
    print("The relay's memory while posts wait for a server that does not read; MiB above idle")
    print(f"{'followers':>10}{'posts':>8}{'idle':>8}{'waiting':>9}{'at most':>9}{'s to drain':>12}")
    for pair in dict.fromkeys((row.followers, row.posts) for row in rows):
        found = [row for row in rows if (row.followers, row.posts) == pair]
        idle, waiting, peak, drained = (
            statistics.median(getattr(row, name) for row in found)
            for name in ("idle_mib", "waiting_mib", "peak_mib", "drained_s")
        )
        print(
            f"{pair[0]:10,}{pair[1]:8,}{idle:8.0f}{waiting:9.1f}{peak:9.1f}{drained:12.1f}"
            f"{'' if peak <= GOAL_MIB else f'  above {GOAL_MIB}'}"
        )
    print("nothing was lost, and nothing came twice")
