"""Posts made safe a second: the whole way from a draft to `ok`, with 1, 100 and 1,000 submitters.

The relay is a whole one, which is not connected: what `intake` would call is called
(`Relay.accept`), and what it answers comes after the commit (SQLite, FULL). A thousand authors have
ten followers each, who are away, so that each post has a fan-out and a row for it. The submitters
are authors; each sends its next post when it has the answer to the last one.

"A commit each" is the plain writer to compare with: one connection by aiosqlite, FULL as well, and
for each post one INSERT of number, author, text and time, and one COMMIT. "Backlog" is the relay
again, with a million posts in the journal. The three take turns in each round, and each round makes
its databases anew but for the backlog, which grows by what is measured. Each run is a process of
its own. The texts have 160 characters, and each message an id that is its <origin-id/> as well, as
clients send them.

Afterwards each database is asked: as many posts as answers, each number once.
"""

import argparse
import asyncio
import json
import multiprocessing
import sqlite3
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Final

import aiosqlite

from tests.bench.latency import percentile
from xmpprelay import log, process
from xmpprelay.config import Config, Limits, Secret, Store, Xmpp
from xmpprelay.core.model import Draft, Mode
from xmpprelay.service import Service
from xmpprelay.store.bulk import CHUNK, ImportedPerson, import_follows, import_people
from xmpprelay.store.database import Database
from xmpprelay.store.operations import FollowRow
from xmpprelay.store.schema import EPOCH_START, MICROSECOND

AUTHORS: Final = 1000
FOLLOWERS: Final = 10  # of each author
POSTS: Final = {1: 1000, 100: 10_000, 1000: 20_000}  # by how many submitters there are
PLAIN_POSTS: Final = {1: 1000, 100: 3000, 1000: 5000}  # the plain writer is slow
TEXT: Final = "A post of a hundred and sixty characters, as people write them. ".ljust(152, "x")
NO_LIMITS: Final = Limits(
    posts_per_second=1000.0,
    burst=10_000,
    posts_per_hour=3_600_000,
    deliveries_per_minute=1_000_000_000,
)

EACH, EMPTY, BACKLOG = "a commit each", "the relay", "the relay, backlog"

Submit = Callable[[int, int], Awaitable[object]]  # a submitter's post with a number of its own


@dataclass(frozen=True, slots=True)
class Run:
    """What one run gave."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # of this process, a post


Runs = dict[tuple[int, str], list[Run]]  # by how many submitters there were, and what was measured


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--backlog", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print a table."""
    run(asked.rounds, asked.backlog, asked.json)


def run(rounds: int, backlog: int, file: Path | None) -> None:
    """Measure, print a table, and write the figures to a file where one is named."""
    runs = _measure(rounds, backlog)
    _print(runs, rounds, backlog)
    if file is not None:
        rows = [
            {"submitters": submitters, "kind": kind, "runs": [asdict(each) for each in found]}
            for (submitters, kind), found in runs.items()
        ]
        file.write_text(json.dumps({"backlog": backlog, "journal": rows}, indent=1) + "\n")


def _measure(rounds: int, backlog: int) -> Runs:
    runs: Runs = {}
    with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as name:
        folder = Path(name)
        asyncio.run(_people(folder / "backlog.db"))
        _fill(folder / "backlog.db", backlog)
        for number in range(rounds):
            for submitters in POSTS:
                plain, empty = (folder / f"{kind}{number}-{submitters}.db" for kind in "pe")
                asyncio.run(_people(empty))
                for kind, database in (
                    (EACH, plain),
                    (EMPTY, empty),
                    (BACKLOG, folder / "backlog.db"),
                ):
                    runs.setdefault((submitters, kind), []).append(
                        _by_itself(kind, database, submitters)
                    )
    return runs


def _by_itself(kind: str, database: Path, submitters: int) -> Run:
    """One run in a process of its own: what runs before it have left in memory costs it nothing."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_once, kind, database, submitters).result()


def _once(kind: str, database: Path, submitters: int) -> Run:
    log.configure("warning")
    return asyncio.run((_plain if kind == EACH else _relay)(database, submitters))


def _print(runs: Runs, rounds: int, backlog: int) -> None:
    print(f"Posts made safe; medians of {rounds} runs each; a backlog is {backlog:,} posts")
    print(f"{'submitters':>10}  {'':20}{'posts/s':>9}{'p50, ms':>9}{'p99, ms':>9}{'CPU, µs':>9}")
    rate = {}
    for (submitters, kind), each in runs.items():
        rate[submitters, kind] = median(run.per_s for run in each)
        figures = [median(getattr(run, name) for run in each) for name in ("p50_ms", "p99_ms")]
        print(
            f"{submitters:>10}  {kind:20}{rate[submitters, kind]:>9.0f}"
            + "".join(f"{figure:>9.2f}" for figure in figures)
            + f"{median(run.cpu_us for run in each):>9.0f}"
        )
    for submitters in POSTS:
        times = median(
            relay.per_s / plain.per_s
            for relay, plain in zip(runs[submitters, EMPTY], runs[submitters, EACH], strict=True)
        )
        full = median(
            late.per_s / early.per_s
            for late, early in zip(runs[submitters, BACKLOG], runs[submitters, EMPTY], strict=True)
        )
        print(f"{submitters:>10}  {times:.1f} × a commit each; with the backlog {full:.2f} of that")


# --- the relay -----------------------------------------------------------------------------------


async def _relay(database: Path, submitters: int) -> Run:
    before = _count(database)
    ids = [str(uuid.uuid4()) for _ in range(POSTS[submitters])]
    async with _service(database) as service:
        numbers: list[int] = []

        async def submit(author: int, number: int) -> None:
            message = ids.pop()
            accepted = await service.relay.accept(
                Draft(
                    author=f"p{author}@example.org",
                    text=f"{TEXT}{author:>4}{number:>4}",
                    lang=None,
                    origin=message,
                    stanza_id=message,
                )
            )
            assert not accepted.duplicate
            numbers.append(accepted.post.number)

        run = await _measured(submit, submitters, POSTS[submitters])
    assert len(set(numbers)) == len(numbers) == POSTS[submitters]
    assert _count(database) == before + len(numbers)
    return run


@asynccontextmanager
async def _service(database: Path) -> AsyncIterator[Service]:
    """A relay with all that belongs to it, not connected."""
    service = await Service.open(
        Config(
            Xmpp("relay.example.org", secret=Secret("secret")),
            store=Store(f"sqlite:///{database}"),
            limits=NO_LIMITS,
        )
    )
    try:
        yield service
    finally:
        await service.stop()


async def _people(database: Path) -> None:
    """A new database with the authors and their followers."""
    db = await Database.open(
        f"sqlite:///{database}", now=lambda: datetime.now(UTC) - timedelta(days=30)
    )
    people = [
        ImportedPerson(f"p{n}@example.org", f"author{n}", f"author{n}") for n in range(AUTHORS)
    ]
    ids = [person.id for person in await db.write(import_people, people)]
    follows = [
        FollowRow(ids[(n + 1 + further) % AUTHORS], ids[n], Mode.HOME)
        for n in range(AUTHORS)
        for further in range(FOLLOWERS)
    ]
    for first in range(0, len(follows), CHUNK):
        await db.write(import_follows, follows[first : first + CHUNK])
    await db.close()


def _fill(database: Path, posts: int) -> None:
    """Put so many posts into the journal, the newest of them a day old."""
    with sqlite3.connect(database) as conn:
        conn.execute("PRAGMA synchronous=OFF")
        conn.executemany(
            "INSERT INTO post (number, author, text, created, origin, stanza) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            _old_posts(posts),
        )
    conn.close()


def _old_posts(posts: int) -> Iterator[tuple[object, ...]]:
    last = (datetime.now(UTC) - timedelta(days=1) - EPOCH_START) // MICROSECOND
    for number in range(1, posts + 1):
        created = last - (posts - number) * 1_000_000
        author = 1 + number * 7919 % AUTHORS
        message = str(uuid.uuid4())
        yield number, author, f"{TEXT}{number:8}", created, message, message


def _count(database: Path) -> int:
    conn = sqlite3.connect(database)
    count: int = conn.execute("SELECT count(*) FROM post").fetchone()[0]
    conn.close()
    return count


# --- the plain writer ----------------------------------------------------------------------------


async def _plain(database: Path, submitters: int) -> Run:
    async with aiosqlite.connect(database) as conn:
        await conn.execute("PRAGMA journal_mode=WAL")
        await conn.execute("PRAGMA synchronous=FULL")
        await conn.execute(
            "CREATE TABLE post (number INTEGER PRIMARY KEY, author INT, text TEXT, created TEXT)"
        )
        turn = asyncio.Lock()

        async def submit(author: int, number: int) -> None:
            values = (author, f"{TEXT}{author:>4}{number:>4}", datetime.now(UTC).isoformat())
            async with turn:
                await conn.execute(
                    "INSERT INTO post (author, text, created) VALUES (?, ?, ?)", values
                )
                await conn.commit()

        run = await _measured(submit, submitters, PLAIN_POSTS[submitters])
    assert _count(database) == PLAIN_POSTS[submitters]
    return run


# --- both ----------------------------------------------------------------------------------------


async def _measured(submit: Submit, submitters: int, posts: int) -> Run:
    """Let each submitter send its share, one after the other, all of them side by side."""
    times: list[float] = []

    async def submits(submitter: int) -> None:
        for number in range(posts // submitters):
            began = time.perf_counter()
            await submit(submitter, number)
            times.append(1000 * (time.perf_counter() - began))

    process._tune_the_interpreter()  # as the relay does when it is ready
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(submits(submitter) for submitter in range(submitters)))
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    return Run(
        len(times) / took_s,
        percentile(times, 50),
        percentile(times, 99),
        cpu_s / len(times) * 1e6,
    )
