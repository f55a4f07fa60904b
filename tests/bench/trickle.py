"""What live posts wait for while a backlog of ten thousand is inserted into the primary service.

One author, ten followers who are online on a stub of a server; the primary service is a table of
SQLite, which the relay writes itself, so that its work is the relay's. Rounds with the primary on
standby and rounds with the trickle going take turns; posts go one at a time, each as soon as all
have had the one before, and join the backlog.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.bench.latency import percentile, running, show
from tests.bench.limit import LIMITS, MARKER, post_xml
from tests.bench.stub import Stub
from xmpprelay.quickstart.primaries import Table
from xmpprelay.quickstart.relay_process import RelayProcess

FOLLOWERS: Final = 10
AT_ONCE: Final = 50


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("--posts", type=int, default=500, metavar="N", help="of a round")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--backlog", type=int, default=10_000, metavar="N")
    parser.add_argument(
        "--per-second", type=float, default=0.0, metavar="N", help="inserted at most; 0: no bound"
    )


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print a table."""
    asyncio.run(main(asked.posts, asked.rounds, asked.backlog, asked.per_second))


async def main(posts: int, rounds: int, backlog: int, per_second: float) -> None:
    """Measure, and print a table."""
    rows: dict[str, list[float]] = {"on standby": [], "the trickle goes": []}
    inserted: list[float] = []
    with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as name:
        async with Stub(MARKER.encode()) as stub:
            primary = Table(Path(name)).options | {"per_second": per_second, "settle_s": 0.1}
            relay = RelayProcess(Path(name), stub, LIMITS, primary)
            async with running(relay):
                await stub.is_up()
                await stub.follows(relay, FOLLOWERS)
                await relay.command("primary", "standby", "on")
                for begin in range(0, backlog, AT_ONCE):
                    expected = stub.counted + AT_ONCE * FOLLOWERS
                    for number in range(begin, begin + AT_ONCE):
                        stub.sends(post_xml(stub, f"b{number}"))
                    await stub.until(expected)
                for kind in list(rows) * rounds:
                    goes = kind == "the trickle goes"
                    await relay.command("primary", "standby", "off" if goes else "on")
                    if goes:
                        await asyncio.sleep(2)  # so that it has begun
                    before, began = await relay.waiting(), time.perf_counter()
                    rows[kind] += [await one_post(stub) for _ in range(posts)]
                    took_s, left = time.perf_counter() - began, await relay.waiting()
                    if goes:
                        inserted.append((before + posts - left) / took_s)
                        assert left > 0, "the backlog is through: ask for a longer one"
    print(f"{posts} posts a round, one at a time, to {FOLLOWERS} followers; ms to the last")
    print(f"{'':30}{'p50':>8}{'p99':>8}{'max':>8}")
    for kind, values in rows.items():
        show(kind, values)
    standby, goes_on = (percentile(values, 99) for values in rows.values())
    print(f"p99, while it goes: {goes_on / standby:.2f} of standby")
    print(f"inserted meanwhile, a second: {min(inserted):.0f} to {max(inserted):.0f}")


async def one_post(stub: Stub) -> float:
    """Post, and wait until all have had it; the milliseconds."""
    expected, began = stub.counted + FOLLOWERS, time.perf_counter()
    stub.sends(post_xml(stub, f"m{expected}"))
    await stub.until(expected)
    return 1000 * (time.perf_counter() - began)
