"""The process of the followers: thousands of clients, each as little as a client can be.

A client has dialogues, step by step (`dialogues.py`), to log in and to be made a follower. All the
time it looks for the marks in the texts of posts and counts which it has had how often
(`tally.py`), so that what is lost and what comes twice is known of each, and when the first and the
last one had a post. It answers questions with an error, as a client has to; that is all it does
with XML.

One loop over epoll(7) and nothing else, since asyncio would cost as much as the server does. Only
the handshakes of TLS are waited for, one after the other.

A Ctrl-C in the terminal does not reach it: whoever drives it has things removed first.
"""

import contextlib
import select
import signal
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection
from typing import Final

from xmpprelay.bench.dialogues import (
    Failed,
    Login,
    Step,
    Then,
    Trouble,
    Where,
    answers,
    heard,
    said,
)
from xmpprelay.bench.encryption import context_for, reason
from xmpprelay.bench.tally import Run, account_of, marks_in

AT_ONCE: Final = 100
"""Clients in a dialogue at a time: a crowd that connects at once outruns a server's backlog."""

QUIET_S: Final = 30.0
"""Clients that hear nothing for so long in the middle of a dialogue are given up."""

_READ_BYTES: Final = 65536


class Who(Enum):
    """Which of the clients have a dialogue."""

    ALL = "all"
    THERE = "those who are logged in"
    MADE = "those who may have made an account and are not logged in; they connect anew"


@dataclass(frozen=True, slots=True)
class Talk:
    """A dialogue that is wanted; with `goes_on` the trouble of one does not end that of others."""

    steps: Sequence[Step]
    who: Who = Who.ALL
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """The trouble of one client."""

    who: str
    trouble: Trouble
    said: str


def live(pipe: Connection, where: Where, logins: Sequence[Login]) -> None:
    """Be so many clients and do what is wanted, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, ConnectionError):
        _Crowd(pipe, where, logins).live()


class _Client:
    """One connection."""

    __slots__ = ("dialogue", "login", "made", "number", "read", "socket", "step", "tail", "there")

    def __init__(self, number: int, login: Login) -> None:
        self.number = number
        self.login = login
        self.socket: socket.socket | None = None
        self.dialogue: Iterator[Step] | None = None
        self.step: Step | None = None
        self.read = b""  # since that step was begun
        self.tail = b""  # what may be the beginning of a mark
        self.there = False  # logged in
        self.made = False  # has an account, maybe, that it made itself


class _Trouble(Exception):
    """Somebody cannot go on."""

    def __init__(self, client: _Client, trouble: Trouble, said: str) -> None:
        super().__init__(said)
        self.client = client
        self.told = Told(client.login.jid, trouble, said)


class _Enough(Exception):
    """What was asked for is not wanted any more."""


class _Crowd:
    """All clients, and the pipe to whoever wants something of them."""

    def __init__(self, pipe: Connection, where: Where, logins: Sequence[Login]) -> None:
        self._pipe = pipe
        self._where = where
        self._tls = context_for(where)
        self._clients = [_Client(number, login) for number, login in enumerate(logins)]
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
                elif file == self._pipe.fileno():
                    self._obeys(*self._pipe.recv())

    def _obeys(self, what: str, argument: object) -> None:
        answer: object = None
        if isinstance(argument, Talk):
            answer = self._talk(argument)
        elif isinstance(argument, int):
            self._runs.append(Run(argument, len(self._clients)))
        elif what == "account":
            answer = account_of(self._runs, [client.login.jid for client in self._clients])
        else:
            return  # "enough", of what was done already
        self._pipe.send(("done", answer))

    # Dialogues

    def _talk(self, talk: Talk) -> list[Told]:
        """Let them have a dialogue; the troubles that there were."""
        troubles: list[Told] = []
        clients = [client for client in self._clients if _is_meant(client, talk.who)]
        waiting, talking, done = deque(clients), set[_Client](), 0
        try:
            while waiting or talking:
                try:
                    while waiting and len(talking) < AT_ONCE:
                        client = waiting.popleft()
                        talking.add(client)
                        self._begins(client, talk)
                    for client in self._who_hears(talking):
                        self._reads(client)
                        if client in talking and client.dialogue is None:
                            talking.discard(client)
                            done += 1
                            self._pipe.send(("so far", done, len(clients)))
                except _Trouble as trouble:
                    troubles.append(trouble.told)
                    if not talk.goes_on:
                        break
                    _is_silent(trouble.client)
                    talking.discard(trouble.client)
        except _Enough:
            pass
        for client in self._clients:
            _is_silent(client)
        return troubles

    def _begins(self, client: _Client, talk: Talk) -> None:
        if talk.who is Who.MADE and client.socket is not None:
            self._by_file.pop(client.socket.fileno(), None)
            client.socket.close()  # which takes it out of the epoll
            client.socket = None
        client.dialogue = iter(talk.steps)
        self._goes_on(client)

    def _who_hears(self, talking: set[_Client]) -> list[_Client]:
        files = self._files.poll(QUIET_S)
        if not files:
            stuck = next(each for each in talking if each.step is not None)
            raise _Trouble(stuck, Trouble.SILENT, f"it says nothing for {QUIET_S:.0f} s")
        if any(file == self._pipe.fileno() for file, _ in files):
            self._pipe.recv()  # only "enough" may be said meanwhile, or nothing ever more
            raise _Enough
        return [self._by_file[file] for file, _ in files if file in self._by_file]

    def _goes_on(self, client: _Client) -> None:
        """Begin the next step of its dialogue, if there is one."""
        assert client.dialogue is not None  # noqa: S101
        client.step, client.read = next(client.dialogue, None), b""
        if client.step is None:
            client.dialogue = None
            return
        client.made = client.made or client.step.makes
        self._says(client, client.step.says)

    def _says(self, client: _Client, template: str) -> None:
        try:
            if client.socket is None:
                client.socket = self._connection(client)
            client.socket.sendall(said(template, client.login).encode())
        except OSError as error:
            raise _Trouble(client, Trouble.CLOSED, reason(error)) from error

    def _connection(self, client: _Client) -> socket.socket:
        address = self._where.host, self._where.port
        connection = socket.create_connection(address, timeout=QUIET_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self._by_file[connection.fileno()] = client
        self._files.register(connection.fileno(), select.EPOLLIN)
        return connection

    def _encrypts(self, client: _Client) -> None:
        assert client.socket is not None  # noqa: S101
        assert self._tls is not None  # noqa: S101
        client.socket.settimeout(QUIET_S)
        try:  # the file stays the same
            domain = client.login.domain
            client.socket = self._tls.wrap_socket(client.socket, server_hostname=domain)
        except ssl.SSLCertVerificationError as error:
            raise _Trouble(client, Trouble.CERTIFICATE, error.verify_message) from error
        except OSError as error:
            raise _Trouble(client, Trouble.CLOSED, reason(error)) from error
        client.socket.setblocking(False)

    def _listens(self, client: _Client, step: Step, data: bytes) -> None:
        """Go on with the dialogue when that has come which is waited for."""
        client.read += data
        found = heard(step, client.read)
        if isinstance(found, Failed):
            raise _Trouble(client, found.trouble, found.said)
        if found is None:
            return
        if step.then is Then.ENCRYPT:
            self._encrypts(client)
        elif step.then is Then.THERE:
            client.there = True
        elif step.then is Then.GONE:
            client.there = client.made = False
        if step.answer:
            self._says(client, step.answer)
        self._goes_on(client)

    # What comes

    def _reads(self, client: _Client) -> None:
        """Take what has come, all of it: what TLS holds back is not told of by epoll."""
        while True:
            assert client.socket is not None  # noqa: S101
            try:
                data = client.socket.recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            except OSError:
                data = b""
            if not data:
                self._is_gone(client)
                return
            self._counts(client, data)
            if client.step is not None:
                self._listens(client, client.step, data)
            for answer in answers(data):
                with contextlib.suppress(OSError):  # the next read tells
                    client.socket.sendall(answer.encode())
            if not (isinstance(client.socket, ssl.SSLSocket) and client.socket.pending()):
                return

    def _is_gone(self, client: _Client) -> None:
        assert client.socket is not None  # noqa: S101
        del self._by_file[client.socket.fileno()]
        client.socket.close()
        if client.there:
            client.there = False
            self._pipe.send(("gone", client.login.jid))
        if client.step is not None:
            raise _Trouble(client, Trouble.CLOSED, "the connection was closed")

    def _counts(self, client: _Client, data: bytes) -> None:
        now = time.perf_counter()
        marks, client.tail = marks_in(client.tail + data)
        for number, post in marks:
            run = self._runs[number]
            if run.came(client.number, post, now):
                self._pipe.send(("post", number, post, run.first[post], now))


def _is_meant(client: _Client, who: Who) -> bool:
    return (
        who is Who.ALL
        or (who is Who.THERE and client.there)
        or (who is Who.MADE and client.made and not client.there)
    )


def _is_silent(client: _Client) -> None:
    client.dialogue = client.step = None
