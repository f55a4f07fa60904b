"""How long a post takes while ten thousand people log in: from its bytes to its first follower's.

The relay is a process of its own; the server at the other end of its stream is in this one, and is
only as much of one as the relay needs. Ten authors post in turn, each post goes to one reader, who
is there all the time; ten thousand others, who follow somebody else, log in and out:

- not at all; a post each 20 ms;
- 10,000 a minute, evenly; a post each 20 ms;
- all at once, as fast as the relay reads them, with a post behind each 500 of them: the time runs
  from when the server begins to write the post;
- after such a burst, while what it has brought is dealt with; a post each 20 ms.

`passed` posts of others are made before each round, while all of them are away.

These take turns. Of the bursts the relay's own time is told as well, until their last post is
there: the times depend on what else the machine does.
"""

import argparse
import asyncio
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

from tests.bench import figures
from tests.bench.incoming import (
    CAPABLE,
    FOLLOWERS,
    HOME,
    OWN,
    RELAY,
    STAR,
    away,
    follower,
    here,
    probe,
)
from tests.bench.latency import percentile, running
from xmpprelay.bench.usage import usage_of
from xmpprelay.quickstart.relay_process import RelayProcess

WRITERS: Final = 10
READER: Final = f"reader@{OWN}"
EVERY_S: Final = 0.02
A_MINUTE: Final = FOLLOWERS / 60
BEHIND: Final = 500
NO_LIMITS: Final = {
    "posts_per_second": 1000,
    "burst": 10_000,
    "posts_per_hour": 3_600_000,
    "deliveries_per_minute": 1_000_000_000,
}
STREAM: Final = (
    "<stream:stream xmlns='jabber:component:accept' "
    f"xmlns:stream='http://etherx.jabber.org/streams' from='{RELAY}' id='7'>"
)
_QUESTION: Final = re.compile(
    rb'<iq from="([^"]*)" to="([^"]*)" type="get" id="(\w*)"><\w+ xmlns="([^"]*)"'
)
_INSIDE: Final = {
    b"jabber:iq:version": b"<query xmlns='jabber:iq:version'><name>Prosody</name></query>",
    b"http://jabber.org/protocol/disco#info": CAPABLE.encode(),
}
_POST: Final = re.compile(rb"post (\d{6})")
_LONGEST: Final = 2048


class Server:
    """What the relay connects to; one connection at a time."""

    domain = OWN
    component_domain = RELAY
    component_secret = "secret"
    host = "127.0.0.1"
    component_port = 0

    def __init__(self) -> None:
        self.arrived: dict[int, float] = {}
        self._wanted = -1
        self._there = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._answers: list[bytes] = []
        self._numbers = 0
        self._listening: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._serve, self.host, 0)
        self.component_port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listening is not None
        self._listening.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        await reader.readuntil(b">")
        writer.write(STREAM.encode())
        await reader.readuntil(b"</handshake>")
        writer.write(b"<handshake/>")
        rest = b""
        while data := await reader.read(1 << 16):
            now, data = time.perf_counter(), rest + data
            for found in _POST.finditer(data):
                self.arrived.setdefault(int(found[1]), now)
            if self._wanted in self.arrived:
                self._there.set()
            whole = data.rfind(b"><", 0) + 1  # nothing that is looked for goes beyond a stanza
            for sender, to, name, namespace in _QUESTION.findall(data[:whole]):
                inside = _INSIDE.get(namespace, b"")
                answer = b"<iq type='result' from='%b' to='%b' id='%b'>%b</iq>"
                writer.write(answer % (to, sender, name, inside))
            rest = data[whole:][-_LONGEST:] if whole else data
        writer.close()

    async def sends(self, xml: str) -> None:
        """Stanzas to the relay; returns when at most a little of them is still here."""
        assert self._writer is not None
        self._writer.write(xml.encode())
        await self._writer.drain()

    async def posts(self) -> tuple[int, float]:
        """The next author's post: its number, and when it began to be sent."""
        number, self._numbers = self._numbers, self._numbers + 1
        began = time.perf_counter()
        await self.sends(
            f"<message from='writer{number % WRITERS}@{OWN}/x' to='{HOME}' type='chat' "
            f"id='p{number}'><body>post {number:06}</body></message>"
        )
        return number, began

    async def has(self, number: int) -> None:
        """Return when the reader has got a post."""
        self._wanted = number
        self._there.clear()
        if number not in self.arrived:
            async with asyncio.timeout(300):
                await self._there.wait()


async def main(rounds: int, posts: int, passed: int) -> dict[str, list[float]]:
    """The milliseconds from a post's bytes to its reader's, by what goes on."""
    times: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as folder:
        async with Server() as server:
            relay = RelayProcess(Path(folder), server, NO_LIMITS)  # type: ignore[arg-type]
            async with running(relay):
                await _people(relay, Path(folder, "people.csv"))
                await server.sends(here(READER) + "".join(_shows(n) for n in range(FOLLOWERS)))
                for n in range(20):  # fills caches
                    await server.has((await server.posts())[0])
                    del server.arrived[n]
                for _ in range(rounds):
                    await _pass_by(server, passed)
                    times["nobody comes"] += await _evenly(server, posts, iter(()))
                    times["10,000 a minute"] += await _evenly(server, posts, _comings())
                    for name, stanza in (("log in", _login), ("log out", away)):
                        before = usage_of(relay.pid)
                        times[f"all {name} at once"] += await _at_once(server, stanza)
                        used = usage_of(relay.pid) - before
                        times[f"the relay's own, all {name}"].append(1000 * used.cpu_s)
                        times[f"after all {name}"] += await _evenly(server, posts, iter(()))
    return times


async def _people(relay: RelayProcess, table: Path) -> None:
    writers = [f"writer{n}" for n in range(WRITERS)]
    rows = ["jid,handle,follows", f"{STAR}@{OWN},{STAR},", f"{READER},,{' '.join(writers)}"]
    rows += [f"{name}@{OWN},{name}," for name in writers]
    rows += [f"{follower(n)},,{STAR}" for n in range(FOLLOWERS)]
    table.write_text("\n".join(rows) + "\n")  # noqa: ASYNC240 - nothing else goes on
    await relay.command("people", "import", str(table))


async def _pass_by(server: Server, posts: int) -> None:
    """So many posts are made while the ten thousand are away; they follow none of these authors."""
    for first in range(0, posts, WRITERS):
        numbers = [(await server.posts())[0] for _ in range(min(WRITERS, posts - first))]
        await server.has(numbers[-1])


def _shows(n: int) -> str:
    """Everybody lets the relay see his presence."""
    return f"<presence from='{follower(n)}' to='{HOME}' type='subscribed'/>"


def _login(sender: str) -> str:
    """A client has come, and its server asks for its contacts' presence."""
    return here(sender) + probe(sender)


def _comings() -> Iterator[str]:
    while True:
        for stanza in (_login, away):
            for n in range(FOLLOWERS):
                yield stanza(follower(n))


async def _evenly(server: Server, posts: int, comings: Iterator[str]) -> list[float]:
    """Posts one at a time; what it took for each."""
    sent, due = [], 0.0
    began = time.perf_counter()
    for n in range(posts):
        await asyncio.sleep(began + n * EVERY_S - time.perf_counter())
        due += A_MINUTE * EVERY_S
        while due >= 1:
            await server.sends(next(comings, ""))
            due -= 1
        sent.append(await server.posts())
    return await _took(server, sent)


async def _at_once(server: Server, stanza: Callable[[str], str]) -> list[float]:
    sent = []
    for first in range(0, FOLLOWERS, BEHIND):
        await server.sends("".join(stanza(follower(first + n)) for n in range(BEHIND)))
        sent.append(await server.posts())
    return await _took(server, sent)


async def _took(server: Server, sent: list[tuple[int, float]]) -> list[float]:
    times = []
    for number, began in sent:
        await server.has(number)
        times.append(1000 * (server.arrived[number] - began))
    return times


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many, and how often."""
    parser.add_argument("--posts", type=int, default=500, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--passed", type=int, default=1000, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: Any) -> None:
    """Measure what the options say, and print a table."""
    times = asyncio.run(main(asked.rounds, asked.posts, asked.passed))
    print(f"{'milliseconds':30}{'p50':>10}{'p99':>10}{'max':>10}")
    for name, found in times.items():
        values = (percentile(found, 50), percentile(found, 99), max(found))
        print(f"{name:30}" + "".join(f"{value:10.1f}" for value in values))
    plan = {name: getattr(asked, name) for name in ("posts", "rounds", "passed")}
    figures.write(asked.json, plan, {"times": times})
