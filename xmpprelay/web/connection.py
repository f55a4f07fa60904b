"""One connection of a browser or a proxy, and how much time and room it gets.

aiohttp bounds the lines and the number of headers, and closes what is idle. It waits without an end
for somebody who asks for a page and does not read it, and lets a client send one byte a minute as
long as a connection may be idle. Hence a look at all connections every second:

    HEAD    waiting for a request: from the first byte of it, or from the connection's beginning
    ANSWER  somebody is at work on it, or it is being sent and the client does not read
    SENT    all of it is with the system, as soon as nothing is left in the buffer
    IDLE    nothing to do; aiohttp closes it some time later

What is over its time is cut off, and so is a client that sends on and on before it is answered.
"""

import asyncio
import resource
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from aiohttp import web

from xmpprelay.web.answers import Answers

CONNECTIONS: Final = 200
"""A proxy in front needs fewer; each may hold some 300 kB of memory."""

_OPEN_ELSEWHERE: Final = 64
"""Files that the rest of the relay may need at once (`ulimit -n`)."""


def connections_allowed() -> int:
    """How many connections leave the rest of the relay the files that it may have to open."""
    may_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if may_open == resource.RLIM_INFINITY:
        return CONNECTIONS
    return min(CONNECTIONS, max(4, (may_open - _OPEN_ELSEWHERE) // 4))


@dataclass(frozen=True, slots=True)
class Bounds:
    """What clients may take up, all of them and each."""

    connections: int = field(default_factory=connections_allowed)
    line_bytes: int = 8190  # of the request line and of each header: what nginx lets through
    headers: int = 64
    unanswered_bytes: int = 65_536  # of requests that nobody has begun to answer
    head_s: float = 10.0
    answer_s: float = 30.0
    idle_s: float = 75.0  # longer than nginx keeps connections to what is behind it (60 s)
    lingering_s: float = 1.0  # for the rest of a body that nobody reads, so that the answer is seen
    look_every_s: float = 1.0
    listen_again_s: float = 60.0
    stop_s: float = 0.5  # for answers under way when the relay stops


class Phase(Enum):
    """What a connection waits for."""

    HEAD = 1
    ANSWER = 2
    SENT = 3
    IDLE = 4


class Door:
    """All connections: lets in as many as there is room for, and cuts off what takes too long."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.inside: set[Connection] = set()
        self.came_when_full = 0
        self.cut_off = 0

    def enters(self, connection: "Connection") -> bool:
        """Let a connection in; where it is full, in place of the one that is idle for longest."""
        if len(self.inside) >= self.bounds.connections:
            self.came_when_full += 1
            idle = [other for other in self.inside if other.idle]
            if not idle:
                return False
            longest = min(idle, key=lambda other: other.since_s)
            longest.cut_off()
            self.inside.discard(longest)
        self.inside.add(connection)
        return True

    def leaves(self, connection: "Connection") -> None:
        """It has ended."""
        self.inside.discard(connection)

    async def watch(self) -> None:
        """Look at everybody again and again; ends with a cancellation."""
        while True:
            await asyncio.sleep(self.bounds.look_every_s)
            for connection in [each for each in self.inside if each.overdue()]:
                self.cut_off += 1
                connection.cut_off()


class Connection(web.RequestHandler):
    """A connection of `server`, with our limits, headers and error pages."""

    def __init__(self, server: web.Server, door: Door, answers: Answers) -> None:
        self._now_s = asyncio.get_running_loop().time
        bounds = door.bounds
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=bounds.idle_s,
            max_line_size=bounds.line_bytes,
            max_field_size=bounds.line_bytes,
            max_headers=bounds.headers,
            lingering_time=bounds.lingering_s,
            access_log=None,  # type: ignore[arg-type] # the library has it so where there is none
            auto_decompress=False,  # nobody reads a body
        )
        self._door = door
        self._answers = answers
        self._wire: asyncio.Transport | None = None  # aiohttp forgets its own as it closes it
        self._phase: Phase = Phase.HEAD
        self.since_s: float = self._now_s()
        self._unanswered_bytes = 0
        self._heard_more = False  # something came while an answer was under way
        self._ends = False  # no further request is read

    # As asyncio calls it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come; he is let in, or sent away at once."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for mypy
        self._wire = transport
        if self._door.enters(self):
            super().connection_made(transport)
        else:
            transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client has gone."""
        self._door.leaves(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request; none: aiohttp goes on with what it has put aside."""
        if data and not self._ends:
            if self._unanswered_bytes > self._door.bounds.unanswered_bytes:
                self.cut_off()
                return
            self._unanswered_bytes += len(data)
            if self._phase is Phase.ANSWER:
                self._heard_more = True
            elif self._phase is not Phase.HEAD:
                self._enter(Phase.HEAD)
        super().data_received(data)

    # As the door sees it

    @property
    def idle(self) -> bool:
        """Nothing is asked and nothing owed."""
        return self._phase in (Phase.SENT, Phase.IDLE) and not self._ends and not self._unsent()

    def overdue(self) -> bool:
        """Whether this has taken too long."""
        if self._phase is Phase.SENT and self.idle:
            self._phase = Phase.IDLE
        if self._phase is Phase.IDLE:
            return False
        bounds = self._door.bounds
        limit_s = bounds.head_s if self._phase is Phase.HEAD else bounds.answer_s
        return self._now_s() - self.since_s > limit_s

    def cut_off(self) -> None:
        """End it now, whatever has not been sent yet."""
        if self._wire is not None:
            self._wire.abort()

    def _unsent(self) -> bool:
        return self._wire is not None and self._wire.get_write_buffer_size() > 0

    def _enter(self, phase: Phase) -> None:
        self._phase, self.since_s = phase, self._now_s()

    # As aiohttp calls it

    def answering(self) -> None:
        """A whole request is there, and somebody begins to answer it."""
        self._unanswered_bytes = 0
        self._heard_more = False
        self._enter(Phase.ANSWER)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer, with our headers; the one place that all answers go through."""
        answer = self._answers.dressed(request, resp)
        try:
            return await super().finish_response(request, answer, start_time)
        finally:
            self._ends = answer.keep_alive is False
            if self._heard_more and not self._ends:
                self._enter(Phase.HEAD)
            else:
                self._phase = Phase.SENT
            self._answers.sent(request, answer)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no request, or what we failed at; the connection ends with it."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("A part of the answer has been sent already")
        answer = self._answers.error(request, status, exc)
        answer.force_close()
        return answer
