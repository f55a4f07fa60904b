"""The relay's own limit: what a delivery costs it, if the server did nothing but count.

The server is a stub that counts what has a marker and answers pings (`stub.py`). Beside the relay,
in turn and against such a stub: bytes that are made already, written as fast as the stub reads
them; and a component that calls slixmpp's `send_message()` for each follower. All have a process of
their own; the processor's time is that of that process alone.

The relay has everything switched on: posts are on disk first, blocks are looked at, each window is
confirmed by a ping and stored before the next but one is written.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import figures
from tests.bench.latency import NO_LIMITS, running
from tests.bench.stub import Stub
from xmpprelay.bench.usage import Usage, usage_of
from xmpprelay.quickstart.relay_process import RelayProcess

MARKER: Final = "@count.this@"
TEXT: Final = (MARKER + " " + "a post that is as long as a post is in the middle, " * 4)[:160]
LIMITS: Final = NO_LIMITS | {"deliveries_per_minute": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Row:
    """What some deliveries took."""

    deliveries: int
    wall_s: float
    used: Usage

    @property
    def each_us(self) -> float:
        """Microseconds of the processor for one."""
        return 1e6 * self.used.cpu_s / self.deliveries

    @property
    def per_s(self) -> float:
        return self.deliveries / self.wall_s


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("--followers", type=int, default=5000, metavar="N")
    parser.add_argument("--burst", type=int, default=20, metavar="N", help="posts of a burst")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print a table."""
    rows = asyncio.run(measured(asked.followers, asked.burst, asked.rounds))
    show(rows, asked.followers, asked.burst)
    plan = {name: getattr(asked, name) for name in ("followers", "burst", "rounds")}
    figures.write(asked.json, plan, {"rows": told(rows)})


async def measured(followers: int, burst: int, rounds: int) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {"prebuilt bytes": [], "send_message()": [], "the relay": []}
    with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as folder:
        async with relay(Path(folder), followers) as post:
            for number in range(-1, rounds):  # the first fills caches
                for name, row in (
                    ("prebuilt bytes", await sender("prebuilt", followers, 100 * burst)),
                    ("send_message()", await sender("send_message", followers, 2)),
                    ("the relay", await post(burst)),
                ):
                    if number >= 0:
                        rows[name].append(row)
    return rows


@contextlib.asynccontextmanager
async def relay(folder: Path, followers: int) -> AsyncIterator[Callable[[int], Awaitable[Row]]]:
    """A relay with an author whose followers are all online; gives what posts a burst."""
    async with Stub(MARKER.encode()) as stub:
        process = RelayProcess(folder, stub, LIMITS)  # type: ignore[arg-type]
        async with running(process):
            await stub.is_up()
            await stub.follows(process, followers)

            async def post(burst: int) -> Row:
                before, expected = stub.counted, stub.counted + burst * followers
                used, began = usage_of(process.pid), time.perf_counter()
                for number in range(burst):
                    stub.sends(post_xml(stub, f"p{before}-{number}"))
                await stub.until(expected)
                wall_s = time.perf_counter() - began
                await asyncio.sleep(0.5)  # what is stored afterwards counts as well
                assert stub.counted == expected, "something came twice"
                return Row(burst * followers, wall_s, usage_of(process.pid) - used)

            yield post


def post_xml(stub: Stub, name: str) -> str:
    """The author's post, as his server brings it; `name` is that of the stanza."""
    return (
        f"<message from='{stub.author}/x' to='{stub.home}' type='chat' id='{name}'>"
        f"<body>{TEXT}</body></message>"
    )


async def sender(kind: str, followers: int, posts: int) -> Row:
    """What it takes another component to write as much; see `senders.py`."""
    async with Stub(MARKER.encode()) as stub:
        named = [kind, str(stub.component_port), stub.component_domain, str(followers), str(posts)]
        command = [sys.executable, "-m", "tests.bench.senders", *named, TEXT]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            await process.stdout.readline()  # it begins
            used, began = usage_of(process.pid), time.perf_counter()
            await stub.until(followers * posts)
            wall_s = time.perf_counter() - began
            return Row(followers * posts, wall_s, usage_of(process.pid) - used)
        finally:
            process.kill()
            await process.wait()


def show(rows: dict[str, list[Row]], followers: int, burst: int) -> None:
    print(f"{followers} followers, bursts of {burst} posts; medians")
    print(f"{'':20}{'deliveries/s':>14}{'µs of CPU each':>16}{'peak MiB':>10}")
    for name, found in rows.items():
        per_s, each_us = middle(found)
        peak = f"{found[-1].used.peak_bytes / 2**20:10.0f}" if name == "the relay" else ""
        print(f"{name:20}{per_s:14,.0f}{each_us:16.2f}{peak}")
    limit, plain, ours = (middle(rows[name]) for name in rows)
    print(
        f"rate by the limit: {ours[0] / limit[0]:.2f}; CPU by send_message(): "
        f"1/{plain[1] / ours[1]:.0f}"
    )


def middle(found: Sequence[Row]) -> tuple[float, float]:
    return (
        statistics.median(row.per_s for row in found),
        statistics.median(row.each_us for row in found),
    )


def told(rows: dict[str, list[Row]]) -> dict[str, object]:
    """As it is written to a file."""
    return {
        name: [
            {"per_s": row.per_s, "cpu_us": row.each_us, "peak_bytes": row.used.peak_bytes}
            for row in found
        ]
        for name, found in rows.items()
    }
