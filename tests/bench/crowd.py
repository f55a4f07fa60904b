"""The process of the followers: thousands of clients, each as little as a client can be.

A client has dialogues, step by step, to log in and to be made a follower; what is waited for is
found by a pattern, not by parsing. All the time it looks for the *marks* that are in the texts of
posts (`~run.number~`) and counts which it has had how often, so that what is lost and what comes
twice is known of each, and when the first and the last one had a post. It answers questions with an
error, as a client has to; that is all it does with XML.

One loop over epoll(7) and nothing else, since asyncio would cost as much as the server does.
"""

import base64
import contextlib
import re
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final

PASSWORD: Final = "secret"

AT_ONCE: Final = 100
"""Clients in a dialogue at a time: a crowd that connects at once outruns a server's backlog."""

QUIET_S: Final = 30.0
"""Clients that hear nothing for so long in the middle of a dialogue are given up."""

NO_PLAIN: Final = "no PLAIN"
REFUSED: Final = "refused"
CLOSED: Final = "closed"
OTHER: Final = "other"
"""Kinds of trouble; the first three are of a login."""

_MARK: Final = re.compile(rb"~(\d+)\.(\d+)~")
_LONGEST_MARK: Final = 20
_QUESTION: Final = re.compile(rb"<iq ([^>]*)>")
_ATTRIBUTE: Final = re.compile(rb"\b(from|id|type)=['\"]([^'\"]*)")
_READ_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class Step:
    """What a client says, a pattern of what it waits for then, and what it says to that.

    What is said may name {domain}, {name}, {jid} and {login}.
    """

    says: str
    until: bytes
    answer: str = ""
    fails: bytes = rb"<stream:error.*</stream:error>|<failure.*</failure>|<error.*</error>"


_STREAM: Final = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' to='{domain}' version='1.0' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)

LOGIN: Final = (
    Step(
        _STREAM,
        until=rb"<mechanism>PLAIN</mechanism>.*</stream:features>",
        fails=rb"<stream:error.*</stream:error>|</stream:features>",
    ),
    Step(
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{login}</auth>",
        until=rb"<success",
    ),
    Step(_STREAM, until=rb"</stream:features>"),
    Step(
        "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
        "<resource>bench</resource></bind></iq>",
        until=rb"</jid>",
    ),
    Step(
        "<presence/><iq type='get' id='there' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>",
        until=rb"id=['\"]there['\"]",
    ),
)
"""At its end somebody is there."""


@dataclass(frozen=True, slots=True)
class Where:
    """The server that they log in to."""

    host: str
    port: int
    domain: str


@dataclass(frozen=True, slots=True)
class Account:
    """What became of posts."""

    expected: int  # deliveries
    lost: int
    doubled: int
    examples: tuple[str, ...]  # of what is wrong


@dataclass(slots=True)
class Run:
    """Who has had which of some posts, and how often."""

    posts: int
    followers: int
    seen: bytearray = field(init=False)  # by follower, then by post
    waiting: list[int] = field(init=False)  # by post: how many have not had it
    first: list[float] = field(init=False)  # by post: when it came to the first one

    def __post_init__(self) -> None:
        self.seen = bytearray(self.posts * self.followers)
        self.waiting = [self.followers] * self.posts
        self.first = [0.0] * self.posts

    def came(self, follower: int, post: int, now: float) -> bool:
        """One has come to somebody; whether he was the last who had not had it."""
        at = follower * self.posts + post
        times = self.seen[at]
        self.seen[at] = min(times + 1, 255)
        if times:
            return False
        waiting = self.waiting[post]
        if waiting == self.followers:
            self.first[post] = now
        self.waiting[post] = waiting - 1
        return waiting == 1


def marks_in(data: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """The marks in what has come, as (run, post); and what is to be put before what comes next."""
    found, end = [], 0
    for mark in _MARK.finditer(data):
        found.append((int(mark[1]), int(mark[2])))
        end = mark.end()
    return found, data[max(end, len(data) - _LONGEST_MARK) :]


def account_of(runs: Sequence[Run]) -> Account:
    """What became of the posts of some runs, up to now."""
    lost = doubled = 0
    examples = []
    for number, run in enumerate(runs):
        for at, times in enumerate(run.seen):
            if times != 1:
                lost += not times
                doubled += max(0, times - 1)
                who, post = divmod(at, run.posts)
                examples.append(f"f{who} had post {number}.{post} {times} times")
    expected = sum(len(run.seen) for run in runs)
    return Account(expected, lost, doubled, tuple(examples[:5]))


def live(pipe: Connection, where: Where, count: int) -> None:
    """Be so many clients and do what is wanted, until the pipe is closed."""
    with contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt):
        _Crowd(pipe, where, count).live()


class _Client:
    """One connection."""

    __slots__ = ("dialogue", "name", "number", "read", "socket", "step", "tail")

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"f{number}"
        self.socket: socket.socket | None = None
        self.dialogue: Iterator[Step] | None = None
        self.step: Step | None = None
        self.read = b""  # since that step was begun
        self.tail = b""  # what may be the beginning of a mark


class _Trouble(Exception):
    """Somebody cannot go on: who, the kind of it, what was said."""


class _Crowd:
    """All clients, and the pipe to whoever wants something of them."""

    def __init__(self, pipe: Connection, where: Where, count: int) -> None:
        self._pipe = pipe
        self._where = where
        self._clients = [_Client(number) for number in range(count)]
        self._by_file: dict[int, _Client] = {}
        self._runs: list[Run] = []
        self._files = select.epoll()
        self._files.register(pipe.fileno(), select.EPOLLIN)

    def live(self) -> None:
        while True:
            for file, _ in self._files.poll():
                client = self._by_file.get(file)
                if client is not None:
                    self._reads(client)
                    continue
                what, argument = self._pipe.recv()
                answer: object = None
                if what == "say":
                    answer = self._all_say(argument)
                elif what == "expect":
                    self._runs.append(Run(argument, len(self._clients)))
                else:
                    answer = account_of(self._runs)
                self._pipe.send(("done", answer))

    # Dialogues

    def _all_say(self, steps: Sequence[Step]) -> tuple[str, ...] | None:
        """Let each have a dialogue; the first trouble that there was."""
        waiting, talking = deque(self._clients), 0
        try:
            while waiting or talking:
                while waiting and talking < AT_ONCE:
                    client = waiting.popleft()
                    client.dialogue = iter(steps)
                    self._goes_on(client)
                    talking += 1
                for client in self._who_hears():
                    self._reads(client)
                    if client.dialogue is not None and client.step is None:
                        client.dialogue = None
                        talking -= 1
        except _Trouble as trouble:
            for client in self._clients:
                client.dialogue = client.step = None
            return trouble.args
        return None

    def _who_hears(self) -> list[_Client]:
        files = self._files.poll(QUIET_S)
        if not files:
            stuck = next(each for each in self._clients if each.step is not None)
            raise _Trouble(stuck.name, OTHER, f"it says nothing for {QUIET_S:.0f} s")
        if any(file not in self._by_file for file, _ in files):
            raise EOFError  # nothing else is wanted meanwhile
        return [self._by_file[file] for file, _ in files]

    def _goes_on(self, client: _Client) -> None:
        """Begin the next step of its dialogue, if there is one."""
        assert client.dialogue is not None
        client.step, client.read = next(client.dialogue, None), b""
        if client.step is not None:
            self._says(client, client.step.says)

    def _says(self, client: _Client, template: str) -> None:
        domain, name = self._where.domain, client.name
        login = base64.b64encode(f"\0{name}\0{PASSWORD}".encode()).decode()
        said = template.format(domain=domain, name=name, jid=f"{name}@{domain}", login=login)
        try:
            if client.socket is None:
                client.socket = self._connection(client)
            client.socket.sendall(said.encode())
        except OSError as error:
            raise _Trouble(name, CLOSED, error.strerror or str(error)) from error

    def _connection(self, client: _Client) -> socket.socket:
        connection = socket.create_connection((self._where.host, self._where.port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self._by_file[connection.fileno()] = client
        self._files.register(connection.fileno(), select.EPOLLIN)
        return connection

    def _listens(self, client: _Client, step: Step, data: bytes) -> None:
        """Go on with the dialogue when that has come which is waited for."""
        client.read += data
        if re.search(step.until, client.read, re.DOTALL):
            if step.answer:
                self._says(client, step.answer)
            self._goes_on(client)
        elif trouble := re.search(step.fails, client.read, re.DOTALL):
            said = trouble[0].decode(errors="replace")
            if said == "</stream:features>":
                raise _Trouble(client.name, NO_PLAIN, "it does not offer PLAIN without TLS")
            raise _Trouble(client.name, REFUSED if step in LOGIN else OTHER, said)

    # What comes

    def _reads(self, client: _Client) -> None:
        assert client.socket is not None
        try:
            data = client.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._is_gone(client)
            return
        self._counts(client, data)
        if client.step is not None:
            self._listens(client, client.step, data)
        if b"<iq " in data:
            self._answers(client, data)

    def _is_gone(self, client: _Client) -> None:
        assert client.socket is not None
        del self._by_file[client.socket.fileno()]
        client.socket.close()
        if client.step is not None:
            raise _Trouble(client.name, CLOSED, "the connection was closed")

    def _counts(self, client: _Client, data: bytes) -> None:
        now = time.perf_counter()
        marks, client.tail = marks_in(client.tail + data)
        for number, post in marks:
            run = self._runs[number]
            if run.came(client.number, post, now):
                self._pipe.send(("post", number, post, run.first[post], now))

    def _answers(self, client: _Client, data: bytes) -> None:
        """Nothing that is asked is known here (RFC 6120 §8.2.3)."""
        assert client.socket is not None
        for question in _QUESTION.finditer(data):
            asked = {
                name.decode(): value.decode() for name, value in _ATTRIBUTE.findall(question[1])
            }
            if asked.get("type") in ("get", "set"):
                to = f" to='{asked['from']}'" if "from" in asked else ""
                client.socket.sendall(
                    f"<iq type='error' id='{asked['id']}'{to}><error type='cancel'>"
                    "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
                    "</error></iq>".encode()
                )
