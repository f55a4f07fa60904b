"""What XEP-0033 would save on ejabberd: a stanza for twenty people instead of one for each.

A bare component, which has its bytes ready, writes to followers who are really logged in, in
windows of 100 stanzas, two in flight, each confirmed by presence probes to all to whom it was
written, as the relay has to do it there (docs/reliability.md). With `mod_multicast` the posts, and
the probes as well, go to twenty addresses (`bcc`) in a stanza: one process of the server works them
off in order, so that a probe stays behind the post. Beside it the same without anything that
confirms, and the server's own pubsub. All take turns.
"""

import argparse
import asyncio
import contextlib
import hashlib
import re
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.bench import figures
from tests.bench.rivals import PLAIN_DOMAIN, PLAIN_SECRET, clients_of, followers_of
from tests.servers import new_account
from tests.servers.ejabberd import Ejabberd
from xmpprelay.bench.author import Author
from xmpprelay.bench.dialogues import Login, Step
from xmpprelay.bench.followers import Followers, Posts, allow_connections
from xmpprelay.bench.usage import cpu_s_of
from xmpprelay.bench.ways import OwnPubsub

WINDOW: Final = 100
WINDOWS: Final = 2
GROUP: Final = 20
"""Addresses that ejabberd takes in a stanza of a component, unless its limits are changed."""

PATIENCE_S: Final = 60.0
_FROM: Final = f"author@{PLAIN_DOMAIN}"
_TO_MARK: Final = re.compile(rb"to=['\"]author@[^/'\"]*/mark(\d+)['\"]")
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Way:
    """How the component writes."""

    name: str
    grouped: bool
    confirmed: bool


WAYS: Final = (
    Way("a stanza for each", grouped=False, confirmed=False),
    Way("a stanza for each, confirmed", grouped=False, confirmed=True),
    Way("a stanza for twenty", grouped=True, confirmed=False),
    Way("a stanza for twenty, confirmed", grouped=True, confirmed=True),
)
OWN: Final = "the server's own pubsub"


@dataclass(frozen=True, slots=True)
class Row:
    """What one burst took."""

    per_s: float
    last_ms: float
    server_us: float  # of the processor, for a delivery


class Stream:
    """The component's connection; counts who has answered to which mark."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._answers: Counter[int] = Counter()
        self._more = asyncio.Event()

    async def log_in(self) -> None:
        self.writer.write(
            "<stream:stream xmlns='jabber:component:accept' xmlns:stream="
            f"'http://etherx.jabber.org/streams' to='{PLAIN_DOMAIN}'>".encode()
        )
        head = b""
        while (found := re.search(rb"\bid=['\"]([^'\"]*)", head)) is None:
            head += await self._reader.read(1000)
        digest = hashlib.sha1(found[1] + PLAIN_SECRET.encode()).hexdigest()
        self.writer.write(f"<handshake>{digest}</handshake>".encode())
        await self._reader.readuntil(b"<handshake")

    async def listens(self) -> None:
        rest = b""
        while data := await self._reader.read(1 << 16):
            data, end = rest + data, 0
            for found in _TO_MARK.finditer(data):
                self._answers[int(found[1])] += 1
                end = found.end()
            rest = data[max(end, len(data) - _LONGEST) :]
            self._more.set()

    async def answered(self, mark: int, people: int) -> None:
        """Return when so many have answered."""
        while self._answers[mark] < people:
            self._more.clear()
            await self._more.wait()


class Bench:
    """Bursts of posts, by one way or another."""

    def __init__(self, server: Ejabberd, followers: Followers, stream: Stream) -> None:
        self._server, self._followers, self._stream = server, followers, stream
        self._marks = 0

    async def own(self, node: OwnPubsub, burst: int) -> Row:
        """By the server's own pubsub."""
        posts = await self._followers.expect(burst)
        used, began = cpu_s_of(self._server.pid), time.perf_counter()
        for number in range(burst):
            node.sends(posts.text(number))
        return await self._row(posts, burst, used, began)

    async def component(self, way: Way, burst: int) -> Row:
        """By the component: what a window has are some people, and the posts for all of them."""
        posts = await self._followers.expect(burst)
        texts = [posts.text(number) for number in range(burst)]
        used, began = cpu_s_of(self._server.pid), time.perf_counter()
        jids, share = self._followers.jids, max(1, WINDOW // burst)
        free = asyncio.Semaphore(WINDOWS)
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as under_way:
            for at in range(0, len(jids), share):
                people = jids[at : at + share]
                data = "".join(written(way, people, _post(text)) for text in texts)
                if not way.confirmed:
                    self._stream.writer.write(data.encode())
                    await self._stream.writer.drain()
                    continue
                await free.acquire()
                self._marks += 1
                probe = f"<presence from='{_FROM}/mark{self._marks}' type='probe'", "</presence>"
                self._stream.writer.write((data + written(way, people, probe)).encode())
                under_way.create_task(self._confirmed(self._marks, len(people), free))
        return await self._row(posts, burst, used, began)

    async def _confirmed(self, mark: int, people: int, free: asyncio.Semaphore) -> None:
        await self._stream.answered(mark, people)
        free.release()

    async def _row(self, posts: Posts, burst: int, used: float, began: float) -> Row:
        took = await posts.all_there(PATIENCE_S) - began
        await asyncio.sleep(0.2)
        deliveries = burst * len(self._followers.jids)
        server_us = 1e6 * (cpu_s_of(self._server.pid) - used) / deliveries
        return Row(deliveries / took, 1000 * took, server_us)


def _post(text: str) -> tuple[str, str]:
    """What stands before the address, and after it."""
    return f"<message from='{_FROM}' type='chat' id='1.abcdef'", (
        f"<body>{text}</body><origin-id xmlns='urn:xmpp:sid:0' id='1.abcdef'/>"
        "<no-store xmlns='urn:xmpp:hints'/></message>"
    )


def written(way: Way, people: Sequence[str], stanza: tuple[str, str]) -> str:
    """The stanzas in which these people get one, each of them once."""
    before, after = stanza
    if not way.grouped:
        return "".join(f"{before} to='{jid}'>{after}" for jid in people)
    out = []
    for at in range(0, len(people), GROUP):
        addresses = "".join(f"<address type='bcc' jid='{j}'/>" for j in people[at : at + GROUP])
        out.append(
            f"{before} to='multicast.example.test'>"
            f"<addresses xmlns='http://jabber.org/protocol/address'>{addresses}</addresses>{after}"
        )
    return "".join(out)


async def _is_let_see(stream: Stream, followers: Followers) -> None:
    """Each of them lets the component see that he is there."""
    asks = f"<presence from='{_FROM}' to='%s' type='subscribe'/>"
    allows = (
        f"<presence to='{_FROM}' type='subscribed'/>"
        "<iq type='get' id='seen' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
    )
    stream.writer.write("".join(asks % jid for jid in followers.jids).encode())
    await stream.writer.drain()
    await asyncio.sleep(1)  # no answer says that all of them have been asked
    await followers.say(Step(allows, until=rb"id=['\"]seen"))
    probes = f"<presence from='{_FROM}/mark0' to='%s' type='probe'/>"
    stream.writer.write("".join(probes % jid for jid in followers.jids).encode())
    async with asyncio.timeout(PATIENCE_S):
        await stream.answered(0, len(followers.jids))


@contextlib.asynccontextmanager
async def scene(count: int) -> AsyncIterator[tuple[Bench, OwnPubsub, Followers]]:
    """An ejabberd, followers who let the component see that they are there, and a node."""
    components = {PLAIN_DOMAIN: PLAIN_SECRET}
    async with (
        Ejabberd(components=components, multicast=True) as server,
        followers_of(server, count) as followers,
    ):
        account = await new_account(server, "author")
        stream = Stream(*await asyncio.open_connection(server.host, server.component_port))
        await stream.log_in()
        listening = asyncio.create_task(stream.listens())
        await _is_let_see(stream, followers)
        async with (
            Author(clients_of(server), Login(account.jid, account.password)) as author,
            OwnPubsub(author, followers) as node,
        ):
            yield Bench(server, followers, stream), node, followers
        listening.cancel()
        stream.writer.close()


async def measured(count: int, rounds: int, burst: int) -> dict[str, dict[int, list[Row]]]:
    """By the title of the way, and the posts of a burst: what each round gave."""
    allow_connections(count)
    titles = [OWN, *(way.name for way in WAYS)]
    rows: dict[str, dict[int, list[Row]]] = {title: {} for title in titles}
    async with scene(count) as (bench, node, followers):
        for size in (1, burst):
            for number in range(-1, rounds):  # the first fills caches
                found = [await bench.own(node, size)]
                found += [await bench.component(way, size) for way in WAYS]
                if number >= 0:
                    for title, row in zip(titles, found, strict=True):
                        rows[title].setdefault(size, []).append(row)
        account = await followers.account()
    if not account.well:
        raise SystemExit(f"Error: posts were lost, or came twice: {account}")
    return rows


def show(rows: dict[str, dict[int, list[Row]]], count: int) -> None:
    print(f"ejabberd, {count:,} followers; medians")
    print(f"{'':32}{'posts':>6}{'a second':>10}{'last, ms':>10}{'server, µs':>12}")
    for title, by_burst in rows.items():
        for burst, found in by_burst.items():
            middle = [statistics.median(getattr(row, f) for row in found) for f in Row.__slots__]
            print(f"{title:32}{burst:6}{middle[0]:10,.0f}{middle[1]:10.1f}{middle[2]:12.1f}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("--followers", type=int, default=1000, metavar="N")
    parser.add_argument("--burst", type=int, default=20, metavar="N", help="posts of a burst")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print a table."""
    rows = asyncio.run(measured(asked.followers, asked.rounds, asked.burst))
    show(rows, asked.followers)
    plan = {"followers": asked.followers, "burst": asked.burst, "rounds": asked.rounds}
    told = {
        title: {str(burst): [asdict(row) for row in found] for burst, found in by_burst.items()}
        for title, by_burst in rows.items()
    }
    figures.write(asked.json, plan, {"rows": told})
