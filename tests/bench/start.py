"""The start with 100,000 people and 1,000,000 follows: how long it takes, and what it needs.

The database is made here: a tenth of the people have a handle and post, everybody follows ten of
them, nine of ten people were live when the relay was killed, one in ten has chosen something, and
there are 20,000 posts, the last three of them on their way. Prosody is a private one, and the relay
a process of its own. The time runs from its start to when it tells its service manager that it is
ready: everything is loaded, and the stream is up. The memory is the most that it has had by then,
and again ten seconds later, in which it asks for everybody's presence.
"""

import argparse
import asyncio
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench import figures
from tests.integration.process import RelayProcess
from xmpprelay.bench.usage import usage_of
from xmpprelay.core.handles import skeleton
from xmpprelay.quickstart.prosody import Prosody
from xmpprelay.store.database import Database
from xmpprelay.store.schema import EPOCH_START, MICROSECOND

POSTS: Final = 20_000
ON_THEIR_WAY: Final = 3
FOLLOWED: Final = 10  # by each person
LATER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one start took."""

    seconds: float  # until it was ready
    loading_s: float  # of that: the database into memory, as the relay's own log says
    cpu_s: float  # of its process, until then
    peak_mib: float
    peak_later_mib: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--people", type=int, default=100_000, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print a table."""
    run(asked.rounds, asked.people, asked.json)


def run(rounds: int, people: int, file: Path | None) -> None:
    """Measure, print a table, and write the figures to a file where one is named."""
    runs = asyncio.run(_measure(rounds, people))
    follows = people * FOLLOWED
    print(
        f"{people:,} people and {follows:,} follows; the medians of {rounds} starts, and the most"
    )
    for name, unit in (
        ("seconds", "s until it is ready"),
        ("loading_s", "s of these for loading"),
        ("cpu_s", "s of the processor until then"),
        ("peak_mib", "MiB at most until then"),
        ("peak_later_mib", f"MiB at most, {LATER_S:.0f} s later"),
    ):
        values = [getattr(each, name) for each in runs]
        print(f"{median(values):>8.1f}{max(values):>8.1f}  {unit}")
    plan = {"people": people, "follows": follows, "rounds": rounds}
    figures.write(file, plan, {"start": [asdict(each) for each in runs]})


async def _measure(rounds: int, people: int) -> list[Run]:
    runs = []
    with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as folder:
        async with Prosody() as server, RelayProcess(server, Path(folder)) as relay:
            db = await Database.open(f"sqlite:///{relay.database}", now=lambda: datetime.now(UTC))
            await db.close()
            _fill(relay.database, people, server.domain)
            for _ in range(rounds):
                began = time.perf_counter()
                await relay.starts()
                seconds = time.perf_counter() - began
                usage = usage_of(relay.pid)
                await asyncio.sleep(LATER_S)
                later = usage_of(relay.pid)
                await relay.is_killed()
                loaded = next(json.loads(x) for x in relay.lines[::-1] if "store.loaded" in x)
                mib = (usage.peak_bytes / 2**20, later.peak_bytes / 2**20)
                runs.append(Run(seconds, loaded["seconds"], usage.cpu_s, *mib))
                _live_again(relay.database)
    return runs


def _fill(database: Path, people: int, domain: str) -> None:
    now = (datetime.now(UTC) - EPOCH_START) // MICROSECOND
    authors = people // FOLLOWED
    some = random.Random(8)

    def follows() -> Iterator[tuple[Any, ...]]:
        for person in range(1, people + 1):
            for author in sorted(some.sample(range(1, authors + 1), FOLLOWED)):
                mode = "author" if author % 2 else "home"
                yield person, author, mode, some.randrange(1, POSTS)

    conn = sqlite3.connect(database)
    with conn:
        conn.execute("PRAGMA synchronous=OFF")
        conn.executemany(
            "INSERT INTO person (id, jid, created) VALUES (?, ?, ?)",
            ((n, f"person{n}@{domain}", now) for n in range(1, people + 1)),
        )
        conn.executemany(
            "INSERT INTO handle (handle, skeleton, person, since) VALUES (?, ?, ?, ?)",
            ((f"p{n}", skeleton(f"p{n}"), n, now) for n in range(1, authors + 1)),
        )
        conn.executemany("INSERT INTO follow VALUES (?, ?, ?, ?)", follows())
        conn.executemany(
            "INSERT INTO setting (person, name, value) VALUES (?, 'replies', 'all')",
            ((n,) for n in range(10, people + 1, 10)),
        )
        conn.executemany(
            "INSERT INTO post (number, author, text, created, origin) VALUES (?, ?, ?, ?, ?)",
            ((n, 1 + n % authors, "x" * 160, now, f"{n}") for n in range(1, POSTS + 1)),
        )
        conn.executemany(
            "INSERT INTO standing (person, away_from, permission) VALUES (?, ?, 'granted')",
            ((n, 1 + n % POSTS) for n in range(1, people + 1)),
        )
    conn.close()
    _live_again(database)


def _live_again(database: Path) -> None:
    """Nine of ten people are live, and the last posts are on their way, as at the first start."""
    conn = sqlite3.connect(database)
    with conn:
        conn.execute("UPDATE standing SET away_from = NULL, missed = '[]' WHERE person % 10")
        conn.executemany(
            "INSERT INTO fanout VALUES (?, '', 0)",
            ((n,) for n in range(POSTS - ON_THEIR_WAY + 1, POSTS + 1)),
        )
    conn.close()
