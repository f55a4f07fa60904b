"""Many people in one stanza, where the own server copies it for them (XEP-0033).

ejabberd does with `mod_multicast`. One process of it works off what comes, in order, and hands each
copy to the session of whom it is for. So all that people on the service's domain get of the journal
goes this way while it is in use, also what is for one of them only: nothing overtakes anything. The
probes of a barrier go the same way, and stay behind the posts.

Addresses are `bcc` always: a copy has none of them, and nobody learns who else follows. A stanza
with more of them than the service takes comes back as a whole. How many it takes is found by a test
to ourselves, when the stream is up: messages and presence to our own address, of which each copy
has to arrive. Fewer are tried when it says `not-acceptable`; anything else, or silence, and it is
not used.

What fails later (its settings were changed, it was taken out, or it has crashed) shows as an error
of the service's, or as silence of people who do answer a probe of their own (`barrier.py`). Then
nothing that is under way is confirmed, the stream is dropped, and for an hour each gets a stanza of
his own. A service that is restarted between posts and their probes is not noticed, and what waited
in it is lost (docs/decisions.md); so all of this is for operators who ask for it.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.errors import StreamError
from xmpprelay.log import get_logger
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.disco import DISCO_INFO, DISCO_ITEMS
from xmpprelay.xmpp.stanzas import HINTS, TO, error_condition, escaped, serialise, tag

log = get_logger("multicast")

ADDRESS: Final = "http://jabber.org/protocol/address"

MOST: Final = 20
"""Addresses in a stanza: what ejabberd takes of a component, unless its limits are changed. With a
hundred it is no faster."""

FEWEST: Final = 2

PAUSE_S: Final = 3600.0
"""How long it is not tried after it has failed."""

_MAX_SERVICES: Final = 50
"""So many of the server's services are asked what they are."""

_TO_SERVICE: Final = b' xmlns="' + ADDRESS.encode() + b'">'


class Multicast:
    """The own server's multicast service, if it has one that works.

    `service` is its address while it is used, else None. `failed`, which is set by whoever builds
    it, is told when it does not work any more.
    """

    def __init__(
        self,
        component: Component,
        home: str,
        *,
        wanted: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.service: str | None = None
        self.failed: Callable[[], None] = _nothing
        self._component = component
        self._from = f"{home}/multicast"
        self._wanted = wanted
        self._monotonic = monotonic
        self._not_before = monotonic()
        self._of_domain = f"@{component.server_domain}".encode()
        self._messages = self._presences = 0  # addresses in a stanza
        self._test: _Test | None = None
        component.listeners[self._from] = self._echoed

    # Whether it is there

    def wait_s(self) -> float | None:
        """After how many seconds it may be looked for; None: never."""
        return max(0.0, self._not_before - self._monotonic()) if self._wanted else None

    async def look(self) -> None:
        """Find out whether the server has such a service, and how many addresses it takes."""
        with contextlib.suppress(TimeoutError, StreamError):  # it will not say, or it is gone
            service = await self._find()
            if service is not None:
                await self._try(service)

    async def _try(self, service: str) -> None:
        self._component.listeners[service] = self._of_service
        try:
            messages = await self._tested(service, "message")
            presences = await self._tested(service, "presence") if messages else 0
            if presences:
                self.service, self._messages, self._presences = service, messages, presences
                log.info("multicast.used", service=service, messages=messages, presences=presences)
            else:
                log.warning("multicast.unusable", service=service)
        finally:
            if self.service is None:
                self._forget(service)

    def lost(self) -> None:
        """The stream is lost: the next one will show."""
        if self.service is not None:
            self._forget(self.service)
        if self._test is not None:
            self._test.is_lost()

    def fails(self, why: str) -> None:
        """It has not done what it was asked for; what was under way may be lost."""
        if self.service is None:
            return
        log.warning("multicast.failed", service=self.service, why=why)
        self._forget(self.service)
        self._not_before = self._monotonic() + PAUSE_S
        self.failed()

    def _forget(self, service: str) -> None:
        self.service = None
        self._component.listeners.pop(service, None)

    async def _find(self) -> str | None:
        """The first of the server's services that says that it does this."""
        answer = await self._asks(self._component.server_domain, DISCO_ITEMS)
        items = answer.iterfind(f"{tag('query', DISCO_ITEMS)}/{tag('item', DISCO_ITEMS)}")
        services = [jid for item in items if "@" not in (jid := item.get("jid", ""))]
        services = [jid for jid in services if jid and jid != self._component.domain]
        for service in services[:_MAX_SERVICES]:
            try:
                about = await self._asks(service, DISCO_INFO)
            except TimeoutError:
                continue
            features = about.iterfind(f"{tag('query', DISCO_INFO)}/{tag('feature', DISCO_INFO)}")
            if any(feature.get("var") == ADDRESS for feature in features):
                return service
        return None

    async def _asks(self, to: str, namespace: str) -> Element:
        iq = Element(tag("iq"), {"from": self._component.domain, "to": to, "type": "get"})
        SubElement(iq, tag("query", namespace))
        return await self._component.ask(iq)

    async def _tested(self, service: str, kind: str) -> int:
        """How many addresses it takes in a stanza of this kind; 0: none, or it does not work."""
        count = MOST
        while count >= FEWEST:
            self._test = test = _Test(count)
            stanza = Element(tag(kind), {"from": self._from, "to": TO, "type": _SILENT[kind]})
            if kind == "message":
                SubElement(stanza, tag("no-store", HINTS))
            before, _, after = serialise(stanza).partition(TO.encode())
            to = [escaped(f"{self._from}-{number}") for number in range(count)]
            self._component.write(_addressed(before, after, escaped(service), to))
            try:
                async with asyncio.timeout(self._component.answer_within_s):
                    failure = await test.over
            except TimeoutError:
                failure = "not all copies came"
            finally:
                self._test = None
            if failure is None:
                return count
            log.info("multicast.test", service=service, kind=kind, people=count, why=failure)
            if failure != "not-acceptable":
                return 0
            count //= 2
        return 0

    def _echoed(self, stanza: Element) -> bool:
        """A copy has come to us, from ourselves."""
        if self._test is not None:
            self._test.came(stanza.get("to", ""))
        return True

    def _of_service(self, stanza: Element) -> bool:
        """Something has come from the service; it is taken if a stanza of ours came back.

        An answer to a question is not that, whatever it says.
        """
        if stanza.get("type") != "error" or stanza.tag == tag("iq"):
            return False
        why = error_condition(stanza) or "error"
        if self._test is not None:
            self._test.ends(why)
        else:
            self.fails(why)
        return True

    # What is written

    def reaches(self, address: bytes) -> bool:
        """Whether it copies for this address, escaped: others would be asked of their server."""
        return address.partition(b"/")[0].endswith(self._of_domain)

    def messages(self, before: bytes, after: bytes, to: Sequence[bytes]) -> Iterator[bytes]:
        """The stanzas by which a message goes to some addresses, escaped, each of them once.

        `before` and `after` are what stands before and behind its address.
        """
        return self._stanzas(before, after, to, self._messages)

    def presences(self, before: bytes, after: bytes, to: Sequence[bytes]) -> Iterator[bytes]:
        """The same for a presence."""
        return self._stanzas(before, after, to, self._presences)

    def _stanzas(
        self, before: bytes, after: bytes, to: Sequence[bytes], most: int
    ) -> Iterator[bytes]:
        grouped = [] if self.service is None else [each for each in to if self.reaches(each)]
        if len(grouped) < len(to):
            for address in to if not grouped else (each for each in to if not self.reaches(each)):
                yield before + address + after
        if grouped:
            service = escaped(self.service or "")
            for at in range(0, len(grouped), most):
                yield _addressed(before, after, service, grouped[at : at + most])


class _Test:
    """Copies of a stanza that have to come."""

    def __init__(self, count: int) -> None:
        self.over: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._missing = set(map(str, range(count)))

    def came(self, to: str) -> None:
        """A copy to this address of ours is there."""
        self._missing.discard(to.rpartition("-")[2])
        if not self._missing and not self.over.done():
            self.over.set_result(None)

    def is_lost(self) -> None:
        """The stream is: nothing more will come."""
        if not self.over.done():
            self.over.set_exception(StreamError("The stream was lost."))

    def ends(self, why: str) -> None:
        """It has failed."""
        if not self.over.done():
            self.over.set_result(why)


_SILENT: Final = {"message": "headline", "presence": "probe"}
"""Types of which nobody makes anything."""


def _addressed(before: bytes, after: bytes, service: bytes, to: Sequence[bytes]) -> bytes:
    """The stanza in which some people get what stands before and behind the address."""
    name = before[1 : before.index(b" ")]
    end = b"</" + name + b">"
    body = after.removesuffix(b" />") + b">" if after.endswith(b" />") else after[: -len(end)]
    addresses = b"".join(b'<address type="bcc" jid="' + address + b'" />' for address in to)
    return b"".join(
        (before, service, body, b"<addresses", _TO_SERVICE, addresses, b"</addresses>", end)
    )


def _nothing() -> None:
    """Nobody wants to know."""
