"""Floods from another domain, while somebody of our own server posts and waits for his receipts.

Each flood is for real: a private server, the relay as a process of its own, a component that speaks
for `far.test` and sends as fast as the server takes it (or as many a second as its row says). An
honest author posts all the time. What is measured is how long his receipts take, from the first
stanza of the flood until the relay has dealt with the last; what the relay's memory grows by; what
it sends back; and whether its stream stays up.

    python -m tests.chaos.floods [small|full]
"""

import asyncio
import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.chaos.crowd import Light, gather
from tests.chaos.steps import step
from tests.integration.clients import COMPONENT, STANZAS
from tests.integration.process import RelayProcess
from tests.servers.towns import FAR, FAR_SECRET, TOWNS, Town

GOAL_S: Final = 0.25
"""An honest author's receipts: p99."""

CALM_S: Final = 5.0
"""How long the author posts before the flood, to compare."""

POSTS_PER_S: Final = 50
"""How often he posts."""

BIG_BYTES_PER_S: Final = 500_000
"""Of stanzas that are large: ten times what servers let another server send them by default."""

ANSWER_WITHIN_S: Final = 300.0
"""For all that a flood brought; seconds, but for a machine that is busy."""

GROWTH_BYTES: Final = 32 * 1024 * 1024
"""What a flood may leave behind in the relay's memory: caches that are full now, not more."""


@dataclass(frozen=True)
class Flood:
    """Stanzas of many people of far.test; `per_s` None: as fast as the server takes them."""

    name: str
    stanzas: Sequence[str]
    per_s: int | None = None
    follows: bool = False  # eve of far.test follows the author, and has had posts


@dataclass
class Figures:
    """What was measured while one flood went on."""

    server: str
    flood: Flood
    receipts_s: list[float] = field(default_factory=list)
    calm_s: list[float] = field(default_factory=list)
    took_s: float = 0.0
    cpu_s: float = 0.0  # of it, the relay's processor time
    rss_before: int = 0
    rss_after: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    unreceipted: int = 0
    streams: int = 1
    stuck: str = ""  # where it ended too early

    def bad(self, *, timed: bool) -> list[str]:
        """What is not as it should be."""
        bad = [self.stuck] if self.stuck else []
        if self.unreceipted:
            bad.append(f"{self.unreceipted} posts without a receipt")
        if self.streams != 1:
            bad.append(f"{self.streams} streams")
        if self.rss_after - self.rss_before > GROWTH_BYTES:
            bad.append(f"memory grew by {_mib(self.rss_after - self.rss_before)}")
        if timed and percentile(self.receipts_s, 99) > GOAL_S:
            bad.append(f"p99 {1000 * percentile(self.receipts_s, 99):.0f} ms")
        return bad


# --- the floods ----------------------------------------------------------------------------------


def strangers(home: str, many: int) -> Flood:
    """Presences of people whom nobody here knows, each another one."""
    stanzas = [f"<presence from='u{n}@{FAR}/x' to='{home}'/>" for n in range(many)]
    return Flood(f"{many} strangers' presences", stanzas)


def asking(home: str, many: int) -> Flood:
    """Presences that want an answer, of people whom nobody knows."""
    kinds = ("probe", "subscribe", "unsubscribe", "probe")
    stanzas = [
        f"<presence from='u{n}@{FAR}' to='{home}' type='{kinds[n % 4]}'/>" for n in range(many)
    ]
    return Flood(f"{many} strangers' probes and subscriptions", stanzas)


def questions(home: str, many: int) -> Flood:
    """Questions, one half of which nobody understands."""
    payloads = (
        "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        "<query xmlns='unknown'/>",
        "<vCard xmlns='vcard-temp'/>",
        "<ping xmlns='urn:xmpp:ping'/><ping xmlns='urn:xmpp:ping'/>",
    )
    stanzas = [
        f"<iq from='u{n % 500}@{FAR}/x' to='{home}' type='get' id='q{n}'>{payloads[n % 4]}</iq>"
        for n in range(many)
    ]
    return Flood(f"{many} questions", stanzas)


def malformed(home: str, many: int, per_s: int) -> Flood:
    """Messages that are no posts, each in a way of its own."""
    inside = (
        "",
        "<body/>",
        "<body>&#x85;&#x2028;</body><body xml:lang='x'/>",
        "<body>x</body><encrypted xmlns='eu.siacs.conversations.axolotl'/>",
        "<body>join \u0430\u202e</body>",
        "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message>"
        "<body>x</body></message></forwarded></received><body>x</body>",
        "<error/><body>x</body>",
        f"<body>{'&amp;' * 2000}</body>",
        "<body>:join</body>",
        "<x xmlns='y'>" * 60 + "</x>" * 60 + "<body>hello</body>",
    )
    kinds = ("chat", "normal", "no such type", "groupchat", "headline")
    stanzas = [
        f"<message from='u{n % 997}@{FAR}' to='{home}' type='{kinds[n % 5]}' id=''>"
        f"{inside[n % 10]}</message>"
        for n in range(many)
    ]
    return Flood(f"{many} malformed messages, {per_s} a second", stanzas, per_s)


def bounces(home: str, many: int) -> Flood:
    """Error bounces with bodies, of a follower, with ids that the relay has given."""
    conditions = ("service-unavailable", "remote-server-timeout", "gone", "resource-constraint")
    stanzas = [
        f"<message from='eve@{FAR}/x' to='{home}' type='error' id='{{{n % 3}}}'>"
        f"<body>join me</body><error type='cancel'><{conditions[n % 4]} xmlns='{STANZAS}'/>"
        f"</error></message><presence from='eve@{FAR}/x' to='{home}'/>"
        for n in range(many)
    ]
    return Flood(f"{many} bounces with bodies, of a follower", stanzas, follows=True)


def deep(home: str, many: int, depth: int) -> Flood:
    """Elements in elements."""
    nested = "<a xmlns='t'>" + "<a>" * (depth - 2) + "</a>" * (depth - 2) + "</a>"
    kinds = (
        f"<iq from='u@{FAR}/x' to='{home}' type='set' id='d'>{nested}</iq>",
        f"<message from='u@{FAR}/x' to='{home}' id='d'><body>x</body>{nested}</message>",
        f"<presence from='u@{FAR}/x' to='{home}'>{nested}</presence>",
    )
    per_s = max(1, BIG_BYTES_PER_S // len(kinds[0]))
    name = f"{many} stanzas {depth} deep, {per_s} a second"
    return Flood(name, [kinds[n % 3] for n in range(many)], per_s)


def large(home: str, many: int) -> Flood:
    """Texts of 200 KiB."""
    text = "x" * 200 * 1024
    stanzas = [
        f"<message from='u{n}@{FAR}' to='{home}' type='chat' id='l'><body>{text}</body></message>"
        for n in range(many)
    ]
    per_s = BIG_BYTES_PER_S // len(text)
    return Flood(f"{many} texts of 200 KiB, {per_s} a second", stanzas, per_s)


def all_floods(town: Town, size: str) -> list[Flood]:
    """The floods of one size, for one server."""
    home = f"home@{town.component_domain}"
    part = 1.0 if size == "full" else 0.05
    many = int(20_000 * part)
    return [
        strangers(home, many),
        asking(home, many),
        questions(home, many),
        malformed(home, many, 1000),
        bounces(home, many // 4),
        deep(home, int(100 * part), town.deepest),
        large(home, int(100 * part)),
    ]


# --- those who take part -------------------------------------------------------------------------


_TAGS: Final = re.compile(rb"<(?:iq|origin-id)\s[^<>]*>")
_ATTRIBUTE: Final = re.compile(r"""([\w:]+)=(["'])(.*?)\2""")
_LONGEST: Final = 1000


class Far:
    """The component that speaks for far.test. It counts what comes and reads only what it must."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self.bytes_in = 0
        self.ids: list[str] = []  # of posts that came for eve
        self.pongs = asyncio.Queue[None]()

    async def __aenter__(self) -> "Far":
        reader, self._writer = await asyncio.open_connection(
            self._town.host, self._town.component_port
        )
        self._writer.write(
            f"<stream:stream xmlns='{COMPONENT}' to='{FAR}' "
            "xmlns:stream='http://etherx.jabber.org/streams'>".encode()
        )
        head = await reader.readuntil(b">")
        while b"id=" not in head:
            head = await reader.readuntil(b">")
        stream = head.split(b" id=")[1][1:].split(head.split(b" id=")[1][:1])[0].decode()
        digest = sha1((stream + FAR_SECRET).encode()).hexdigest()
        self._writer.write(f"<handshake>{digest}</handshake>".encode())
        await reader.readuntil(b"handshake")
        self._reading = asyncio.create_task(self._read(reader))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._reading

    async def _read(self, reader: asyncio.StreamReader) -> None:
        rest = b""  # the end of what came before: a tag may come in two pieces
        while data := await reader.read(1 << 18):
            self.bytes_in += len(data)
            seen, rest = len(rest), rest + data
            for found in _TAGS.finditer(rest):
                if found.end() > seen:
                    self._arrived(found[0].decode())
            rest = rest[rest.rfind(b"<") :][-_LONGEST:]

    def _arrived(self, tag: str) -> None:
        values = {name: value for name, _, value in _ATTRIBUTE.findall(tag)}
        name = values.get("id", "")
        if tag.startswith("<origin-id"):
            if len(self.ids) < 3:
                self.ids.append(name)
        elif name.startswith("last-of-all"):
            self.pongs.put_nowait(None)
        elif values.get("type") == "get":  # a server that is well answers, whatever it is
            self.sends(f"<iq from='{FAR}' to='{values['from']}' id='{name}' type='result'/>")

    def sends(self, xml: str) -> None:
        self._writer.write(xml.encode())

    async def floods(self, flood: Flood) -> int:
        """Send all of it; how many bytes that was."""
        size = 0
        step = max(1, (flood.per_s or 4000) // 20)  # so many at a time
        began = time.monotonic()
        for at in range(0, len(flood.stanzas), step):
            text = "".join(flood.stanzas[at : at + step])
            for n, name in enumerate(self.ids[:3]):
                text = text.replace(f"{{{n}}}", name)
            data = text.encode()
            size += len(data)
            self._writer.write(data)
            await self._writer.drain()
            if flood.per_s is not None:
                due = began + (at + step) / flood.per_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        return size

    async def until_all_is_dealt_with(self, relay: str, who: str = FAR) -> None:
        """Return when the relay has answered a question behind everything that `who` has sent."""
        with step("an answer behind the flood"):
            async with asyncio.timeout(ANSWER_WITHIN_S):
                while self.pongs.empty():  # a relay that is asked too much does not answer
                    self.sends(
                        f"<iq from='{who}' to='{relay}' type='get' id='last-of-all'>"
                        "<ping xmlns='urn:xmpp:ping'/></iq>"
                    )
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self.pongs.get(), 0.5)
                        return


class Author:
    """Somebody who posts all the time, and takes the time of each receipt."""

    def __init__(self, light: Light) -> None:
        self._light = light
        self._sent: dict[str, float] = {}
        self._took: list[tuple[float, float]] = []  # when a post was sent, and its receipt's time
        self._number = 0

    async def posts(self) -> None:
        """Post until cancelled, at an even pace, whether receipts come or not."""
        at = time.monotonic()
        while True:
            self._number += 1
            name = f"post-{self._number}"
            self._sent[name] = time.monotonic()
            self._light.sends(f"{name} of an honest author", name)
            at += 1 / POSTS_PER_S
            await asyncio.sleep(max(0.0, at - time.monotonic()))

    async def notes(self) -> None:
        """Take the times until cancelled."""
        while True:
            self._light.changed.clear()
            now = time.monotonic()
            for name in [name for name in self._sent if name in self._light.receipts]:
                sent_at = self._sent.pop(name)
                self._took.append((sent_at, now - sent_at))
            await self._light.changed.wait()

    def waiting(self) -> int:
        """How many posts have no receipt yet."""
        return len(self._sent)

    def receipts_s(self, since: float, until: float) -> list[float]:
        """How long it took for the posts of a time."""
        return [took for sent_at, took in self._took if since <= sent_at <= until]


def rss_of(pid: int) -> int:
    """The memory that a process has, in bytes."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096


def cpu_of(pid: int) -> float:
    """The processor time that a process has had, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(values: Iterable[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


# --- one after the other -------------------------------------------------------------------------


async def one(town: Town, flood: Flood, calm_s: float) -> Figures:
    """One flood, on a relay of its own."""
    figures = Figures(type(town).__name__.removesuffix("Town"), flood)
    try:
        await _one(town, flood, calm_s, figures)
    except (AssertionError, ConnectionError) as why:
        figures.stuck = f"{why}"
    return figures


async def _one(town: Town, flood: Flood, calm_s: float, figures: Figures) -> None:
    relay = town.component_domain
    async with contextlib.AsyncExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="relay-")))
        process = await ending.enter_async_context(RelayProcess(town, folder))
        await process.starts()
        light, reader = await gather(town, relay, ["alice", "bob"])
        ending.push_async_callback(light.drops)
        ending.push_async_callback(reader.drops)
        await light.asks("join alice")
        await reader.asks("follow alice")
        far = await ending.enter_async_context(Far(town))
        author = Author(light)
        tasks = [asyncio.create_task(author.posts()), asyncio.create_task(author.notes())]
        try:
            if flood.follows:
                far.sends(
                    f"<message from='eve@{FAR}' to='home@{relay}'><body>follow alice</body>"
                    "</message>"
                )
                with step("posts for eve"):
                    async with asyncio.timeout(ANSWER_WITHIN_S):
                        while len(far.ids) < 3:  # noqa: ASYNC110 - of the posts that go on
                            await asyncio.sleep(0.1)
            calm = time.monotonic()
            await asyncio.sleep(calm_s)
            figures.rss_before = rss_of(process.pid)
            before, cpu_s, began = far.bytes_in, cpu_of(process.pid), time.monotonic()
            figures.bytes_in = await far.floods(flood)
            await far.until_all_is_dealt_with(relay, f"eve@{FAR}/x" if flood.follows else FAR)
            ended = time.monotonic()
            figures.took_s, figures.cpu_s = ended - began, cpu_of(process.pid) - cpu_s
            tasks[0].cancel()
            with contextlib.suppress(TimeoutError):
                await light.until(lambda: not author.waiting(), 30.0)
            figures.unreceipted = author.waiting()
            figures.calm_s = author.receipts_s(calm, began)
            figures.receipts_s = author.receipts_s(began, ended)
            figures.bytes_out = far.bytes_in - before
            figures.rss_after = rss_of(process.pid)
            figures.streams = sum('"stream.up"' in line for line in process.lines)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def run(size: str, towns: Sequence[type[Town]] = TOWNS) -> AsyncIterator[dict[str, Any]]:
    """All floods of a size ("small", "full") on each server: the rows of `make chaos`.

    Each comes when it is there: name, size, lost, doubled, note, bad.
    """
    for kind in towns:
        async with kind() as town:
            for flood in all_floods(town, size):
                figures = await one(town, flood, CALM_S if size == "full" else 0.5)
                yield row_of(figures, timed=size == "full")


def row_of(got: Figures, *, timed: bool) -> dict[str, Any]:
    note = (
        f"receipts p50 {1000 * percentile(got.receipts_s, 50):.0f} ms, "
        f"p99 {1000 * percentile(got.receipts_s, 99):.0f} ms "
        f"(calm {1000 * percentile(got.calm_s, 99):.0f} ms); "
        f"memory {_mib(got.rss_before)} to {_mib(got.rss_after)}; "
        f"{got.bytes_in:,} bytes in, {got.bytes_out:,} back; "
        f"{got.took_s:.1f} s, {got.cpu_s:.1f} s of them the relay's"
    )
    return {
        "name": f"flood on {got.server}",
        "size": got.flood.name,
        "lost": got.unreceipted,
        "doubled": 0,
        "note": note,
        "bad": got.bad(timed=timed),
    }


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"


async def _all(size: str) -> list[dict[str, Any]]:
    return [row async for row in run(size)]


def main(size: str) -> int:
    """Run them, and print a table."""
    rows = asyncio.run(_all(size))
    table = Table(title=f"floods, {size}")
    for heading in ("on", "flood", "figures", "wrong"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(row["name"], row["size"], row["note"], "; ".join(row["bad"]))
    Console(width=150).print(table)
    return any(row["bad"] for row in rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "full"))
