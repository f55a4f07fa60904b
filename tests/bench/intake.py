"""How much comes in in a second: the relay, slixmpp and the parser alone, on the same bytes.

The relay is whole, with a database, 100 authors and 10,000 people who follow another one; only its
socket is missing. It is given the bytes as the socket would give them, in pieces of 16 KiB with a
turn of the loop between them, and parses them. What is told is the processor's time, of all
threads, until everything is answered and stored. Beside it, in turn, in the same run:

- expat alone, and the tree of elements that slixmpp reads with;
- a component of slixmpp with one handler, and one with 18 of its plugins besides, which answer
  what is nobody's with errors, and do nothing else.

It is checked that every stanza was answered that has to be, once, and that all posts are stored.
"""

import argparse
import asyncio
import gc
import itertools
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final, Protocol
from xml.etree.ElementTree import XMLPullParser
from xml.parsers import expat

from slixmpp import ComponentXMPP

from tests.bench.incoming import (
    AUTHORS,
    CAPABLE,
    FOLLOWERS,
    HOME,
    KINDS,
    OWN,
    RELAY,
    STAR,
    Kind,
    Which,
    author,
    chat,
    follower,
)
from xmpprelay.config import Config, Limits, Secret, Store, Xmpp
from xmpprelay.service import Service
from xmpprelay.xmpp.component import READ_BYTES

COMPONENT: Final = "jabber:component:accept"
STREAM: Final = (
    f"<stream:stream xmlns='{COMPONENT}' xmlns:stream='http://etherx.jabber.org/streams' "
    f"from='{RELAY}' id='7'>"
)
PLUGINS: Final = (4, 30, 50, 54, 59, 60, 66, 77, 85, 92, 115, 128, 163, 184, 199, 203, 280, 308)
NO_LIMITS: Final = Limits(
    posts_per_second=1e6,
    burst=1_000_000,
    posts_per_hour=1_000_000_000,
    deliveries_per_minute=1_000_000_000,
)
NO_MORE: Final = Limits(posts_per_second=1e-6, burst=1, posts_per_hour=1)
_IQ: Final = re.compile(
    rb'<iq from="([^"]*)" to="([^"]*)" type="get" id="(\w*)"><(\w+) xmlns="([^"]*)"'
)
_STANZA: Final = re.compile(rb"<(?:message|presence|iq) ")


class End:
    """The transport of a component: what is written is counted, and questions are answered."""

    def __init__(self, component: ComponentXMPP) -> None:
        self._component = component
        self.written = 0  # stanzas that are no questions
        self.reads = True
        component.connection_made(self)  # type: ignore[arg-type]
        self.gives(STREAM + "<handshake/>")

    def gives(self, xml: str | bytes) -> None:
        """Let the component receive it, at once."""
        self._component.data_received(xml.encode() if isinstance(xml, str) else xml)

    async def feeds(self, pieces: Sequence[bytes]) -> None:
        """Let it receive the bytes as from a socket."""
        for piece in pieces:
            while not self.reads:  # noqa: ASYNC110 - of the turns that it takes
                await asyncio.sleep(0)
            self._component.data_received(piece)
            await asyncio.sleep(0)

    # asyncio.Transport

    def write(self, data: bytes) -> None:
        self.written += len(_STANZA.findall(data))
        for question in _IQ.finditer(data):
            self.written -= 1
            asyncio.get_running_loop().call_soon(self.gives, _answer(*question.groups()))

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def set_write_buffer_limits(self, **_: Any) -> None: ...

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        asyncio.get_running_loop().call_soon(self._component.connection_lost, None)

    close = abort


def _answer(sender: bytes, to: bytes, name: bytes, payload: bytes, namespace: bytes) -> bytes:
    """What a server, or a client, says to a question of the relay."""
    inside = ""
    if namespace == b"jabber:iq:version":
        inside = "<query xmlns='jabber:iq:version'><name>Prosody</name></query>"
    elif namespace == b"http://jabber.org/protocol/disco#info":
        inside = CAPABLE
    del payload
    return b"<iq type='result' from='%b' to='%b' id='%b'>%b</iq>" % (
        to,
        sender,
        name,
        inside.encode(),
    )


class Measured(Protocol):
    """Something that takes bytes."""

    async def take(self, kind: Kind, count: int) -> float:
        """The seconds of the processor that it took."""


@contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    gc.collect()
    began = time.process_time()
    yield lambda: time.process_time() - began


_keys = itertools.count(1000)


def _pieces(kind: Kind, numbers: Iterable[int]) -> list[bytes]:
    """As much as is read at a time, of whole stanzas: an answer may come between two pieces."""
    pieces, piece = [], bytearray()
    for number in numbers:
        stanza = kind.make(number, next(_keys)).encode()
        if len(piece) + len(stanza) > READ_BYTES:
            pieces.append(bytes(piece))
            piece.clear()
        piece += stanza
    return [*pieces, bytes(piece)]


class Expat(Measured):
    """The parser, with nobody who listens."""

    async def take(self, kind: Kind, count: int) -> float:
        pieces = _pieces(kind, range(count))
        parser = expat.ParserCreate(None, " ")
        parser.Parse(STREAM.encode())
        with _timed() as took_s:
            for piece in pieces:
                parser.Parse(piece)
            return took_s()


class Elements(Measured):
    """The parser that makes elements, as slixmpp uses it."""

    async def take(self, kind: Kind, count: int) -> float:
        pieces = _pieces(kind, range(count))
        parser, depth, seen = XMLPullParser(("start", "end")), 0, 0
        parser.feed(STREAM)
        [(_, root)] = parser.read_events()
        with _timed() as took_s:
            for piece in pieces:
                parser.feed(piece)
                for event, _ in parser.read_events():
                    depth += 1 if event == "start" else -1
                    if event == "end" and not depth:
                        seen += 1
                        root.clear()
            took = took_s()
        assert seen == count
        return took


class Slixmpp(Measured):
    """A component as one writes it with slixmpp: one handler for messages."""

    def __init__(self, plugins: Sequence[int] = ()) -> None:
        self._component = ComponentXMPP(RELAY, "secret", "localhost", 1)
        for number in plugins:
            self._component.register_plugin(f"xep_{number:04}")
        self.seen = 0
        self._component.add_event_handler("message", self._message)
        self._end = End(self._component)

    def _message(self, _: Any) -> None:
        self.seen += 1

    async def take(self, kind: Kind, count: int) -> float:
        pieces = _pieces(kind, range(count))
        with _timed() as took_s:
            await self._end.feeds(pieces)
            return took_s()


class Relay(Measured):
    """The relay."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.end = End(service.component)

    @classmethod
    async def open(cls, name: str, limits: Limits) -> "Relay":
        config = Config(
            xmpp=Xmpp(domain=RELAY, secret=Secret("secret")),
            store=Store(url=f"sqlite:///{name}.db"),
            limits=limits,
        )
        service = await Service.open(config)
        service.outbox.ask_again_after_s = ()  # the silent: it is another matter
        relay = cls(service)
        names: list[tuple[str, str | None, tuple[str, ...]]] = [(f"{STAR}@{OWN}", STAR, ())]
        names += [(author(n), f"author{n}", ()) for n in range(AUTHORS)]
        names += [(follower(n), None, (STAR,)) for n in range(FOLLOWERS)]
        await service.people.add_all(names, lambda _: None)
        for n in range(FOLLOWERS):
            relay.end.gives(f"<presence from='{follower(n)}' to='{HOME}' type='subscribed'/>")
        for n in range(AUTHORS):  # the one post that the rate of some allows
            relay.end.gives(chat(author(n), n))
        await relay.quiet()
        return relay

    async def quiet(self) -> None:
        """Return when all that has come in is dealt with and stored."""
        service = self.service
        for _ in range(3):
            while service.component.precedence:  # noqa: ASYNC110 - of the turns that it takes
                await asyncio.sleep(0)
            await service.intake.drained()
            for _ in range(4):
                await asyncio.sleep(0)
            await service.outbox.settled()

    async def take(self, kind: Kind, count: int) -> float:
        per_go = kind.gathers or count
        goes = [
            _pieces(kind, range(start, min(start + per_go, count)))
            for start in range(0, count, per_go)
        ]
        before, number = self.end.written, self.service.delivery.next_number
        with _timed() as took_s:
            for pieces in goes:
                await self.end.feeds(pieces)
                if kind.gathers:
                    await self.service.intake.drained()
            await self.quiet()
            took = took_s()
        self._check(
            kind, count, self.end.written - before, self.service.delivery.next_number - number
        )
        return took

    def _check(self, kind: Kind, count: int, answers: int, posts: int) -> None:
        told = f"{kind.name}: {answers} answers to {count}, {posts} posts"
        if kind.few:
            assert answers <= count, told
            assert posts < count, told
        else:
            assert answers == kind.answers * count, told
            assert posts == kind.posts * count, told
        assert not self.service.component.failures
        assert not self.service.intake.failures


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure what the options say."""
    found = asyncio.run(main(asked.stanzas, asked.rounds, asked.only))
    _show(found)
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many, how often, and what of it."""
    parser.add_argument("--stanzas", type=int, default=1_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--json", type=Path, metavar="FILE")


async def main(count: int, rounds: int, only: str) -> dict[str, dict[str, list[float]]]:
    """What each took, by kind of stanza, in microseconds of the processor."""
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as folder:
        relays = {
            which: await Relay.open(
                f"{folder}/{which.name}", NO_MORE if which is Which.STRICT else NO_LIMITS
            )
            for which in Which
        }
        others: dict[str, Measured] = {
            "expat": Expat(),
            "elements": Elements(),
            "slixmpp": Slixmpp(),
            "18 plugins": Slixmpp(PLUGINS),
        }
        for _ in range(rounds):
            for kind in KINDS:
                if only not in kind.name:
                    continue
                row, some = found.setdefault(kind.name, {}), count // kind.part
                for name, each in (others | {"relay": relays[kind.at]}).items():
                    took_s = await each.take(kind, some)
                    row.setdefault(name, []).append(1e6 * took_s / some)
        for relay in relays.values():
            await relay.service.stop()
    return found


def _show(found: dict[str, dict[str, list[float]]]) -> None:
    ways = list(next(iter(found.values())))
    print(
        f"{'µs of the processor each':34}" + "".join(f"{way:>12}" for way in ways) + "   a second"
    )
    for name, row in found.items():
        each = {way: median(figures) for way, figures in row.items()}
        figures = "".join(f"{figure:12.1f}" for figure in each.values())
        print(f"{name:34}{figures}{1e6 / each['relay']:11,.0f}")
