"""A server that only counts: the other end of a component's stream, as fast as bytes are read.

It takes any secret, answers the relay's questions as Prosody does, and counts what has a marker in
it. Nothing of what comes is parsed but the questions, so that what is measured is the component.
"""

import asyncio
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Final, Self

from xmpprelay.quickstart.relay_process import RelayProcess

STREAM: Final = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' "
    "xmlns:stream='http://etherx.jabber.org/streams' from='{domain}' id='stub'>"
)
_IQ: Final = re.compile(rb"<iq [^>]*>")
_ATTRIBUTE: Final = re.compile(rb" (from|to|id|type)=[\"']([^\"']*)")
_LONGEST_TAG: Final = 4096
_VERSION: Final = "<query xmlns='jabber:iq:version'><name>Prosody</name></query>"


class Stub:
    """Listens on a free port for one component. `marker` is what is counted."""

    def __init__(self, marker: bytes, domain: str = "own.test", component: str = "relay.own.test"):
        self.domain = domain
        self.component_domain = component
        self.component_secret = "any"
        self.host, self.component_port = "127.0.0.1", 0
        self.home = f"home@{component}"
        self.author = f"writer@{domain}"
        self.counted = 0
        self._marker = marker
        self._tail = b""
        self._greeted = False
        self._wanted = 0
        self._reached = asyncio.Event()
        self._up = asyncio.Event()
        self._writer: asyncio.Transport | None = None
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self.host, 0)
        self.component_port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        if self._writer is not None:
            self._writer.close()
        self._server.close()

    async def is_up(self) -> None:
        """Return when a component has logged in."""
        await self._up.wait()

    def sends(self, xml: str) -> None:
        """Stanzas to the component."""
        assert self._writer is not None
        self._writer.write(xml.encode())

    async def until(self, count: int, within_s: float = 120.0) -> None:
        """Return when so many of the marker have come since the start."""
        self._wanted = count
        self._reached.clear()
        if self.counted < count:
            async with asyncio.timeout(within_s):
                await self._reached.wait()

    async def follows(self, relay: RelayProcess, followers: int) -> None:
        """Let an author have so many followers, who are all online and show it."""
        people = [f"f{number}@{self.domain}" for number in range(followers)]
        await self.follow(relay, {self.author: people})

    async def follow(self, relay: RelayProcess, follows: Mapping[str, Sequence[str]]) -> None:
        """Let authors have followers, who are all online and show it; nobody follows two of them.

        An author's handle is the local part of his address.
        """
        table = relay.config.with_name("people.csv")
        rows = ["jid,handle,follows"]
        rows += [f"{author},{author.partition('@')[0]}," for author in follows]
        for author, people in follows.items():
            rows += [f"{person},,{author.partition('@')[0]}" for person in people]
        await asyncio.to_thread(table.write_text, "\n".join(rows) + "\n")
        await relay.command("people", "import", str(table))
        for person in itertools.chain.from_iterable(follows.values()):
            self.sends(
                f"<presence from='{person}/x' to='{self.home}'/>"
                f"<presence from='{person}' to='{self.home}' type='subscribed'/>"
            )

    # Its reading

    def stops_reading(self) -> None:
        """Leave what the component writes where it is; nothing is answered."""
        assert self._writer is not None
        self._writer.pause_reading()

    def reads_again(self) -> None:
        assert self._writer is not None
        self._writer.resume_reading()

    # The stream

    def opened(self, transport: asyncio.Transport) -> None:
        self._writer, self._tail, self._greeted = transport, b"", False
        self._up.clear()

    def arrived(self, data: bytes) -> None:
        if not self._up.is_set():
            self._log_in(data)
            return
        data = self._tail + data
        self._tail = data[-len(self._marker) + 1 :]  # too short to be counted twice
        self.counted += data.count(self._marker)
        if self.counted >= self._wanted:
            self._reached.set()
        if b"<iq " in data:
            self._questions(data)

    def _log_in(self, data: bytes) -> None:
        self._tail += data
        if not self._greeted and b">" in self._tail[self._tail.find(b"<stream:stream") :]:
            self._greeted = True
            self.sends(STREAM.format(domain=self.component_domain))
        if b"</handshake>" in self._tail:
            self._tail = b""
            self.sends("<handshake/>")
            self._up.set()

    def _questions(self, data: bytes) -> None:
        at = 0
        for found in _IQ.finditer(data):
            at = found.end()
            named = {k.decode(): v.decode() for k, v in _ATTRIBUTE.findall(found[0])}
            if named.get("type") == "get":
                inside = _VERSION if data.find(b"jabber:iq:version", at, at + 60) >= 0 else ""
                self.sends(
                    f"<iq type='result' id='{named['id']}' from='{named['to']}' "
                    f"to='{named['from']}'>{inside}</iq>"
                )
        last = data.rfind(b"<iq ", at)  # one whose tag is not complete
        if last >= 0 and data.find(b">", last) < 0 and len(data) - last < _LONGEST_TAG:
            self._tail = data[last:]


class _Connection(asyncio.Protocol):
    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._stub.opened(transport)

    def data_received(self, data: bytes) -> None:
        self._stub.arrived(data)
