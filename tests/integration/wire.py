"""The relay without a server: the test is the other end of the component's stream.

Everything is the real thing but the socket. What the relay writes is parsed as a server would
parse it, so that output which a server would close the stream for fails the test. For tests that
send more, or worse, than a real server lets through.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import XMLPullParser
from xml.sax.saxutils import escape, quoteattr

from tests.integration.clients import COMPONENT, Stanza
from tests.integration.world import NO_LIMITS, Clock
from xmpprelay.config import Config, Secret, Store, Xmpp
from xmpprelay.service import Service

RELAY = "relay.example.test"
HOME = f"home@{RELAY}"

_TURNS = 4
"""Turns of the loop from one thing to what follows from it."""

_PROSODY = "<query xmlns='jabber:iq:version'><name>Prosody</name></query>"
"""It works in order, as this test's end of the wire does."""

_ids = itertools.count(1)


class Wire:
    """The transport of the component's stream, and the server behind it.

    Questions of the relay are answered at once as long as `answers` is set, else by `answers_now`.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.sent: list[Stanza] = []  # what the relay has sent, but for its questions
        self.answers = True
        self.closed = False
        self._unanswered: list[Stanza] = []
        self._open()

    def _open(self) -> None:
        self._parser, self._depth = XMLPullParser(("start", "end")), 0
        self.closed = False
        self.service.component.connection_made(self)
        self._answers(
            f"<stream:stream xmlns='{COMPONENT}' xmlns:stream='http://etherx.jabber.org/streams' "
            f"from='{RELAY}' id='7'>"
        )

    def reopens(self) -> None:
        """A new connection after a lost one."""
        self._open()

    async def comes_up(self) -> None:
        """Return when the relay is connected."""
        await _so(lambda: self.service.component.up)

    async def lost(self) -> None:
        """Return when the relay knows that it is not."""
        await _so(lambda: self.service.component.transport is None)

    # As the component sees it: asyncio.Transport

    def pause_reading(self) -> None:
        """What the test feeds comes in all the same."""

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, **_: Any) -> None:
        """There is no buffer."""

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None:
        self._parser.feed(data)
        for event, element in self._parser.read_events():  # type: ignore[misc]
            self._depth += 1 if event == "start" else -1
            if event == "end" and self._depth == 1:
                self._arrived(Stanza(element))
            elif event == "end" and self._depth == 0:
                self.abort()

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.service.component.connection_lost, None)

    close = abort

    # As the test sees it

    def _arrived(self, stanza: Stanza) -> None:
        if stanza.xml.tag.endswith("}handshake"):
            self._answers("<handshake/>")
        elif stanza.kind == "iq" and stanza.type == "get":
            self._unanswered.append(stanza)
            if self.answers:
                self.answers_now()
        else:
            self.sent.append(stanza)

    def _answers(self, xml: str) -> None:
        """Not before the relay is through with what it does now."""
        asyncio.get_running_loop().call_soon(self.feeds, xml)

    def answers_now(self) -> None:
        """Answer all that the relay has asked."""
        asked, self._unanswered = self._unanswered, []
        for question in asked:
            named = question.has("query", "jabber:iq:version")
            self._answers(
                f"<iq from='{question.to}' to='{RELAY}' id='{question.id}' type='result'>"
                f"{_PROSODY if named else ''}</iq>"
            )

    def feeds(self, xml: str | bytes) -> None:
        """Let the relay receive these bytes."""
        self.service.component.data_received(xml.encode() if isinstance(xml, str) else xml)

    def says(self, sender: str, text: str, to: str = HOME, **more: str) -> str:
        """Let somebody write to the relay; gives the stanza's id."""
        name = more.pop("id", None) or f"wire-{next(_ids)}"
        attributes = {"from": sender, "to": to, "type": "chat", "id": name} | more
        written = " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items())
        self.feeds(f"<message {written}><body>{escape(text)}</body></message>")
        return name

    async def quiet(self) -> None:
        """Return when all that has come in is dealt with, confirmed and stored."""
        service = self.service
        while True:
            while service.component.precedence:  # noqa: ASYNC110 - of the turns that it takes
                await asyncio.sleep(0)
            await service.intake.drained()
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            await service.outbox.settled()
            if not (self.answers and service.delivery.in_flight()):
                return

    def taken(self) -> list[Stanza]:
        """What the relay has sent since the last call."""
        sent, self.sent = self.sent, []
        return sent


async def _so(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - a matter of turns of this loop, and nobody is told
            await asyncio.sleep(0)


@asynccontextmanager
async def wired(folder: Path, clock: Clock | None = None, **tables: Any) -> AsyncIterator[Wire]:
    """A relay on a new database in the folder, connected to the test."""
    xmpp = tables.pop("xmpp", None) or Xmpp(domain=RELAY, secret=Secret("secret"))
    store = Store(url=f"sqlite:///{folder}/relay.db")
    config = Config(xmpp=xmpp, store=store, limits=tables.pop("limits", NO_LIMITS), **tables)
    clock = clock or Clock()
    service = await Service.open(config, now=clock.now, monotonic=clock.monotonic)
    try:
        wire = Wire(service)
        await wire.comes_up()
        yield wire
    finally:
        await service.stop()
