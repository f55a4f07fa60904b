"""What pubsub costs: from publishing to the first follower, beside the chat path; and a page read.

Two authors, each followed by the same thousand people of another domain, who are all online: one
by chat, as who typed `follow` has him, one by subscriptions to his node. They post in turns, one
post at a time; the times are from sending to the arrival of the first and of the last, and the
ratio is of the medians. The other domain is a component of the same server, in this process.

Then a journal of a million posts, a hundred thousand of them by one author, is asked for pages of
fifty of his items, from the newest on; the times are those of the client, from the question to the
parsed answer, and those of a ping to the same address are there for comparison.
"""

import argparse
import asyncio
import contextlib
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench import figures
from tests.bench.latency import percentile, running, show
from tests.integration.clients import FarServer, Person, Stanza
from tests.integration.pubsub import entry, is_event, items, publish, subscribe, texts
from tests.servers import new_account
from xmpprelay.quickstart.prosody import Prosody
from xmpprelay.quickstart.relay_process import RelayProcess

DOMAIN: Final = "many.test"
SECRET: Final = "many"
FOLLOWERS: Final = 1000
PEOPLE: Final = tuple(f"f{number}@{DOMAIN}" for number in range(FOLLOWERS))
NO_LIMITS: Final = {
    "posts_per_second": 1000,
    "burst": 10_000,
    "posts_per_hour": 3_600_000,
    "deliveries_per_minute": 1_000_000_000,
    "domain_follows_per_minute": 1_000_000,
}

POSTS_IN_ALL: Final = 1_000_000
OTHERS: Final = 900
OF_ONE: Final = 100_000
PAGE: Final = 50
Told = dict[str, list[float]]

PING: Final = "<ping xmlns='urn:xmpp:ping'/>"


@dataclass(slots=True)
class Arrivals:
    """When a post has come to whom."""

    times: list[float] = field(default_factory=list)
    all_there: asyncio.Event = field(default_factory=asyncio.Event)


class Crowd(FarServer):
    """A domain full of followers; it only counts what comes."""

    def __init__(self, server: Prosody) -> None:
        super().__init__(
            DOMAIN, SECRET, server.host, server.component_port, server.component_domain
        )
        self.arrivals = Arrivals()

    def _arrived(self, stanza: Stanza) -> None:
        if is_event(stanza) or stanza.post_id is not None:
            self.arrivals.times.append(time.perf_counter())
            if len(self.arrivals.times) == FOLLOWERS:
                self.arrivals.all_there.set()
        else:
            super()._arrived(stanza)

    async def subscribe(self, publisher: str) -> None:
        """Everybody subscribes to an author's node, and comes online."""
        for number, jid in enumerate(PEOPLE):
            self.sends(
                f"<iq from='{jid}/x' to='{publisher}@{self.relay}' id='s{number}' type='set'>"
                f"{subscribe(jid)}</iq>"
            )
            if number % 20 == 19:  # the people of one domain are heard 500 times a second
                await self.gets(kind="iq", id=f"s{number}")
                await asyncio.sleep(0.05)
        for jid in PEOPLE:
            self.sends(
                f"<presence from='{jid}/x' to='{self.home}'/>"
                f"<presence from='{jid}' to='{self.home}' type='subscribed'/>"
            )
        await self.fence("f0")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("--posts", type=int, default=100, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print two tables."""
    times = asyncio.run(main(asked.posts))
    figures.write(asked.json, {"posts": asked.posts, "followers": FOLLOWERS}, {"times": times})


async def main(posts: int) -> Told:
    """Measure, and print two tables; the milliseconds, by what they are of."""
    component = f'Component "{DOMAIN}"\n    component_secret = "{SECRET}"'
    async with Prosody(extra_config=component) as server:
        with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as folder:
            fanned = await fan_out(server, Path(folder), posts)
        with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as folder:
            return fanned | await pages(server, Path(folder), posts)


@contextlib.asynccontextmanager
async def authors(server: Prosody, *names: str) -> AsyncIterator[list[Person]]:
    people = [Person(await new_account(server, name), server.component_domain) for name in names]
    for person in people:
        await person.comes()
    yield people
    for person in people:
        await person.drops()


# --- Publishing -----------------------------------------------------------------------------------


async def fan_out(server: Prosody, folder: Path, posts: int) -> Told:
    relay = RelayProcess(folder, server, NO_LIMITS)
    async with running(relay), authors(server, "chatter", "publisher") as (chatter, publisher):
        await chatter.joins("chatter")
        await publisher.joins("publisher")
        table = folder / "people.csv"
        table.write_text("jid,handle,follows\n" + "".join(f"{jid},,chatter\n" for jid in PEOPLE))
        await relay.command("people", "import", str(table))
        async with Crowd(server) as crowd:
            await crowd.subscribe("publisher")
            times: dict[str, list[tuple[float, float]]] = {"chat": [], "pubsub": []}
            for number in range(-5, posts):  # the first ones fill caches
                for way, author in (("chat", chatter), ("pubsub", publisher)):
                    found = await one_post(crowd, author, way, f"post {number}")
                    if number >= 0:
                        times[way].append(found)
    print(f"{posts} posts each, one at a time, to {FOLLOWERS} followers; milliseconds from sending")
    print(f"{'to':30}{'p50':>8}{'p99':>8}{'max':>8}")
    told: Told = {}
    for way, found in times.items():
        told[f"the first follower, by {way}"] = [first for first, _ in found]
        told[f"the last follower, by {way}"] = [last for _, last in found]
    for row, values in told.items():
        show(row, values)
    for which, name in enumerate(("first", "last")):
        chat, pubsub = (percentile([t[which] for t in times[w]], 50) for w in ("chat", "pubsub"))
        print(f"pubsub by chat, the {name} follower: {pubsub / chat:.2f}")
    return told


async def one_post(crowd: Crowd, author: Person, way: str, text: str) -> tuple[float, float]:
    """Post, and wait until everybody has had it; the milliseconds to the first and to the last."""
    crowd.arrivals = arrivals = Arrivals()
    author.mail.forget()
    began = time.perf_counter()
    if way == "chat":
        author.sends(text)
    else:
        await author.asks(author.author("publisher"), publish(entry(text)), "set")
    async with asyncio.timeout(60):
        await arrivals.all_there.wait()
    return 1000 * (arrivals.times[0] - began), 1000 * (max(arrivals.times) - began)


# --- Reading --------------------------------------------------------------------------------------


async def pages(server: Prosody, folder: Path, posts: int) -> Told:
    relay = RelayProcess(folder, server, NO_LIMITS)
    async with authors(server, "writer") as (writer,):
        async with running(relay):
            await writer.joins("writer")
        fill(folder / "relay.db")
        async with running(relay):
            page, pings = await read(writer, posts)
    print(f"{posts} pages of {PAGE} items of {OF_ONE:,}, of {POSTS_IN_ALL:,} posts; milliseconds")
    print(f"{'':30}{'p50':>8}{'p99':>8}{'max':>8}")
    show("a page of items", page)
    show("a ping", pings)
    return {"a page of items": page, "a ping": pings}


async def read(reader: Person, posts: int) -> tuple[list[float], list[float]]:
    at, oldest = reader.author("writer"), ""
    page, pings = [], []
    for _ in range(posts):
        asked = items(page=f"<max>{PAGE}</max><before>{oldest}</before>")
        began = time.perf_counter()
        answer = await reader.asks(at, asked)
        page.append(1000 * (time.perf_counter() - began))
        found = list(texts(answer))
        assert len(found) == PAGE, answer
        oldest = found[0]
        began = time.perf_counter()
        await reader.asks(at, PING)
        pings.append(1000 * (time.perf_counter() - began))
    return page, pings


def fill(database: Path) -> None:
    """A journal of a million posts; every tenth is by the one who has joined."""
    with contextlib.closing(sqlite3.connect(database)) as conn, conn:
        [(first,)] = conn.execute("SELECT coalesce(max(number), 0) + 1 FROM post")
        writer = conn.execute("SELECT person FROM handle WHERE handle = 'writer'").fetchone()[0]
        conn.executemany(
            "INSERT INTO person (id, jid, created) VALUES (?, ?, 0)",
            ((1000 + n, f"other{n}@example.test") for n in range(OTHERS)),
        )
        conn.executemany(
            "INSERT INTO post (number, author, text, created) VALUES (?, ?, ?, ?)",
            rows(first, writer),
        )


def rows(first: int, writer: int) -> Iterator[tuple[int, int, str, int]]:
    every = POSTS_IN_ALL // OF_ONE
    for n in range(POSTS_IN_ALL):
        author = writer if n % every == 0 else 1000 + n % OTHERS
        yield (
            first + n,
            author,
            f"post {n}: " + "words " * 20,
            1_700_000_000_000_000 + n * 1_000_000,
        )
