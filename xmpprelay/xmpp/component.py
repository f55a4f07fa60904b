"""The component's stream (XEP-0114): one connection, kept up; what comes in, what goes out.

slixmpp opens the stream and holds the transport. Everything above that is done here, because a
relay must not: answer for its followers from a roster in memory, answer an error with an error,
keep strangers' presence, queue without bound, or die of a stanza nested a thousand deep. So:

- `_spawn_event` takes each stanza before a stanza object exists, checks its depth, and hands it to
  one of three functions (`take_message`, `take_presence`, `take_iq`), which return at once. In a
  flood that waits until what is behind the flood has been read (`precedence.py`).
- All that leaves goes through `send` (an element, cleaned here) or `write` (bytes made by
  `rendering.py`), straight to the transport, in order. What is sent while the stream is down is
  dropped: the journal is the only queue.
- Answers to our own questions are matched by a table of ids and by who was asked.
- `run` keeps the connection: waits of 0.2 s doubling to 5 s, with jitter; a ping when nothing was
  heard for 15 s, and a new connection when that stays unanswered for 10 s.
"""

import asyncio
import hashlib
import random
import re
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast
from xml.etree.ElementTree import Element, ParseError, SubElement

from slixmpp import ComponentXMPP

from xmpprelay.core.pacing import Backoff
from xmpprelay.errors import RelayError, StreamError
from xmpprelay.log import get_logger
from xmpprelay.primary.pubsub import NotSent
from xmpprelay.xmpp.precedence import Precedence
from xmpprelay.xmpp.stanzas import (
    COMPONENT,
    MAX_DEPTH,
    PING,
    STANZA_ERRORS,
    VERSION,
    depth_exceeds,
    domain_of,
    error_condition,
    error_reply,
    parse_jid,
    serialise,
    tag,
)

log = get_logger("xmpp")

ANSWER_WITHIN_S: Final = 10.0
"""A server that does not answer a ping for so long hangs."""

IDLE_PING_S: Final = 15.0
"""Silence for so long is worth a question."""

RETRY_WITHIN_S: Final = 5.0
"""A lost connection is tried again after so long at the longest, however often it was in vain."""

STEADY_S: Final = 10.0
"""A connection that held for so long was a good one: the next wait begins at the shortest again."""

WRITE_BUFFER_BYTES: Final = 256 * 1024
"""Above it the transport asks to pause: two windows of short posts fit in."""

READ_BYTES: Final = 16 * 1024
"""Read and dealt with at a time: some two hundred small stanzas, or some milliseconds.

Between two such pieces everything else has its turn. With what asyncio reads by itself, 256 KiB, a
post in the middle of a flood waits four times for another 70 ms: for its own piece's end, its
commit, the answer to it.
"""

TURN_S: Final = 0.002
SHORT_TURN_S: Final = 0.0002
"""For what waits, before everything else has its turn again."""

_QUICK_ACK: Final = getattr(socket, "TCP_QUICKACK", None)
"""Acknowledge what was read at once (tcp(7)); it has to be said again after each read.

A server with Nagle's algorithm on, which is Prosody's default, holds back a small stanza until the
one before it is acknowledged: 46 ms from an author to a follower instead of 5.5.
"""

_PROLOG: Final = re.compile(
    rb"""\s*(<\?xml(\s+(version|standalone)\s*=\s*["'][\w.]{1,9}["']"""
    rb"""|\s+encoding\s*=\s*["'][Uu][Tt][Ff]-?8["'])*\s*\?>)?\s*<[A-Za-z]"""
)
"""How a stream begins: maybe with an XML declaration, then with its root.

A DOCTYPE, with which entities are declared, can only stand between the two; and it could hide there
in another encoding (RFC 6120 §11.1, §11.6).
"""

_MAX_PROLOG_BYTES: Final = 1024

_STREAMS: Final = "http://etherx.jabber.org/streams"
_STREAM_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-streams"
_ADVICE: Final = {
    "not-authorized": "The server refuses the component's secret: set the same secret in the "
    "server's and in the relay's configuration.",
    "host-unknown": "The server knows no component {domain}: add it to the server's configuration.",
    "conflict": "The server says that {domain} is connected already: stop the other instance, or "
    "let the server replace it (Prosody: component_conflict_resolve).",
}

_KINDS: Final = {tag(kind): kind for kind in ("message", "presence", "iq")}

PROBING: Final = "probe"
"""The resource that asks for presence, but for those of barriers; see barrier.py."""

_COMES: Final = frozenset({None, "probe"})
"""The types of a presence that it takes longer to deal with than to read."""

_FINAL: Final = _ADVICE.keys() - {"conflict"}
"""What does not get better by itself; a conflict does, when it is with a relay that was killed."""


class Component(ComponentXMPP, asyncio.BufferedProtocol):
    """The relay's stream to its server.

    The three `take_` functions, `came_up` and `went_down` are set by whoever builds the relay;
    `has_room` is called when the transport takes more again. `answer_within_s` and `idle_ping_s`
    say how long a server may be silent, `steady_s` how long a connection holds to count as a good
    one; tests, which have no ten seconds, set them.
    """

    def __init__(self, domain: str, secret: str, host: str, port: int, server: str) -> None:
        super().__init__(domain, secret, host, port)
        self.domain = domain
        self.server_domain = server
        self.take_message: Callable[[Element], None] = _nothing
        self.take_presence: Callable[[Element], None] = _nothing
        self.take_iq: Callable[[Element], None] = _nothing
        self.came_up: Callable[[], None] = _nothing
        self.went_down: Callable[[], None] = _nothing
        self.has_room: Callable[[], None] = _nothing
        self.listeners: dict[str, Callable[[Element], bool]] = {}  # by sender; True: it is taken
        self.up = False
        self.paused = False
        self.failures = 0  # stanzas that raised something unforeseen
        self.streams = 0  # that have come up
        self.refused: Counter[tuple[str, str]] = Counter()  # errors sent, by condition and type
        self.answer_within_s = ANSWER_WITHIN_S
        self.idle_ping_s = IDLE_PING_S
        self.retry_within_s = RETRY_WITHIN_S
        self.steady_s = STEADY_S
        self._address = (host, port)
        self._secret = secret
        self.precedence = Precedence()
        self._unread_bytes = 0  # of what was read, not yet counted with a stanza that waits
        self._read_lately = False  # since `_catch_up` had its last turn
        self._catching_up: asyncio.Handle | None = None
        self._answers: list[bytes] | None = None  # what goes out when this piece is dealt with
        self._questions: dict[str, tuple[str, asyncio.Future[Element]]] = {}
        self._lost = asyncio.Event()
        self._lost.set()
        self._ready: asyncio.Future[None] | None = None
        self._reason = ""
        self._heard = 0.0
        self._prolog: bytes | None = b""  # what came before the root; None: that was well
        self._closing = False
        self._buffer = memoryview(bytearray(READ_BYTES))

    # Connecting

    async def open(self, patience_s: float) -> None:
        """Connect for the first time; tries for `patience_s` when the server is not there yet.

        Raises StreamError with what to do: nobody listens, or the server refuses us.
        """
        deadline = time.monotonic() + patience_s
        backoff = Backoff(0.2, 2.0)
        while True:
            try:
                await self._connect()
            except _Unreachable as error:
                if time.monotonic() > deadline:
                    raise StreamError(error.sentence) from error
                backoff = backoff.failed()
                await asyncio.sleep(backoff.wait_s(random.uniform(0.5, 1.0)))
            else:
                return

    async def run(self) -> None:
        """Keep the connection until `close`: watch it, and connect again when it is lost."""
        backoff = Backoff(0.2, self.retry_within_s)
        while not self._closing:
            since = time.monotonic()
            await self._watch()
            if time.monotonic() - since > self.steady_s:
                backoff = backoff.succeeded()
            while not self._closing:
                await asyncio.sleep(backoff.wait_s(random.uniform(0.0, 1.0)))
                try:
                    await self._connect()
                except StreamError as error:
                    log.warning("stream.unreachable", why=error.sentence)
                else:
                    break
                finally:
                    backoff = backoff.failed()

    async def close(self) -> None:
        """End the stream in an orderly way."""
        self._closing = True
        if self.transport is not None:
            self.up = False
            self.transport.write(b"</stream:stream>")
            try:
                await asyncio.wait_for(self._lost.wait(), 1.0)
            except TimeoutError:
                self.drop("closing")
                await self._lost.wait()

    def drop(self, reason: str) -> None:
        """Give this connection up; `run` makes a new one."""
        self._reason = reason
        if self.transport is not None:
            self.transport.abort()

    async def _connect(self) -> None:
        await self._lost.wait()  # slixmpp knows one transport: the end of an old one ends a new one
        self._reason = ""
        self._ready = self.loop.create_future()
        host, port = self._address
        try:
            async with asyncio.timeout(self.answer_within_s):
                await self.loop.create_connection(lambda: self, host, port)
                await self._ready
        except TimeoutError as error:
            self.drop("no handshake")
            raise _Unreachable(
                f"The server at {host} port {port} does not answer as an XMPP component port: "
                "correct [xmpp] host and port."
            ) from error
        except OSError as error:
            why = error.strerror or str(error)
            raise _Unreachable(
                f"No XMPP server listens for components at {host} port {port} ({why}): "
                "start the server, or correct [xmpp] host and port."
            ) from error
        except StreamError:
            self.drop(self._reason)
            raise

    async def _watch(self) -> None:
        """Return when the connection is lost."""
        while not self._lost.is_set():
            quiet_s = time.monotonic() - self._heard
            if quiet_s >= self.idle_ping_s:
                await self._check()
                continue
            try:
                await asyncio.wait_for(self._lost.wait(), self.idle_ping_s - quiet_s)
            except TimeoutError:
                continue

    async def _check(self) -> None:
        try:
            await self.ping(self.server_domain)
        except TimeoutError:
            self.drop("the server does not answer")
        except StreamError:
            await self._lost.wait()

    def _ended(self) -> None:
        was_up, self.up, self.paused = self.up, False, False
        self._fail_questions()
        if was_up and not self._closing:
            log.warning("stream.lost", why=self._reason or "connection closed")
        if was_up:
            self.went_down()

    # The transport's side (asyncio.Protocol, as slixmpp has it)

    def connection_made(self, transport: Any, send_event: bool = True) -> None:
        """A connection is there: open the stream."""
        self._lost.clear()
        self._prolog = b""
        self._heard = time.monotonic()
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        super().connection_made(transport, send_event)

    def connection_lost(self, exception: BaseException | None) -> None:
        """The connection is gone; what was asked on it will not be answered."""
        super().connection_lost(exception)
        self._catch_up_with_all()
        self._lost.set()
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(_Unreachable(self._refusal()))
        self._ended()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes are there."""
        self.data_received(bytes(self._buffer[:nbytes]))

    def data_received(self, data: bytes | str) -> None:
        """Bytes from the server."""
        self._heard = time.monotonic()
        if _QUICK_ACK is not None and self.socket is not None:
            self.socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
        if self._prolog is not None:
            data = self._begins(data.encode() if isinstance(data, str) else data)
        if data:
            self._read_lately = True
            if not self.precedence:
                self.precedence.turn()
                self._unread_bytes = 0
            self._unread_bytes += len(data)
            with self._at_once():
                self._read(data)
            if self.precedence and self._catching_up is None:
                self._catching_up = self.loop.call_soon(self._catch_up)

    def _read(self, data: bytes | str) -> None:
        """Deal with the stanzas that these bytes complete, and with the stream's ends.

        The elements are those of the root, but for the last one while it is not complete; the last
        end that was read tells whether it is.
        """
        parser, malformed = self.parser, False
        ended: Element | None = None
        if parser is None:
            return
        parser.feed(data)
        events = cast("Iterator[tuple[str, Element]]", parser.read_events())
        try:
            for event, element in events:
                if event == "end":
                    ended = element
                elif self.xml_root is None:
                    self.xml_root = element
                    self.start_stream_handler(element)
        except ParseError:
            malformed = True
        root = self.xml_root
        if root is not None:
            stanzas = root[:]
            if stanzas and stanzas[-1] is not ended and root is not ended:
                stanzas.pop()
            del root[: len(stanzas)]
            for stanza in stanzas:
                self._spawn_event(stanza)
        if malformed:
            self.drop("the server sent what is not XML")
        elif root is not None and root is ended:
            self.drop(self._reason)

    def _begins(self, data: bytes) -> bytes:
        """What may be parsed once the stream's beginning is known to declare nothing."""
        prolog = (self._prolog or b"") + data
        if _PROLOG.match(prolog) is not None:
            self._prolog = None
            return prolog
        self._prolog = prolog
        if b"<!" in prolog or len(prolog) > _MAX_PROLOG_BYTES:
            self.drop("the server's stream does not begin as one")
        return b""

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self.paused = True

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self.paused = False
        self.has_room()

    def start_stream_handler(self, xml: Element) -> None:
        """The server has opened its stream: prove that we know the secret (XEP-0114 §3)."""
        digest = hashlib.sha1((xml.get("id", "") + self._secret).encode())  # noqa: S324
        self.send_raw(f"<handshake>{digest.hexdigest()}</handshake>")

    # What comes in

    def _spawn_event(self, xml: Element) -> None:
        if xml.tag not in _KINDS and self._is_of_the_stream(xml):
            return
        sender = self._sender(xml)
        if sender is None:
            log.warning("stanza.misrouted", kind=_local_name(xml))
        elif (hears := self.listeners.get(xml.get("from", ""))) is not None and hears(xml):
            return
        elif _is_answer(xml) or self.precedence.goes_first(sender, comes=_comes(xml)):
            self._deal_with(xml)
        else:
            self.precedence.put(sender, xml, self._unread_bytes)
            self._unread_bytes = 0
            if self.precedence.full and self.transport is not None:
                self.transport.pause_reading()

    def _catch_up(self) -> None:
        """Deal with what waits: for a moment while more comes in, else for as long as is decent."""
        self._catching_up = None
        hurry = self._read_lately and not self.precedence.full
        ends_at = time.monotonic() + (SHORT_TURN_S if hurry else TURN_S)
        self._read_lately = False
        with self._at_once():
            while self.precedence and time.monotonic() < ends_at:
                self._deal_with(self.precedence.take())
        if self.precedence:
            self._catching_up = self.loop.call_soon(self._catch_up)
        if self.precedence.has_room and self.transport is not None:
            self.transport.resume_reading()

    def _catch_up_with_all(self) -> None:
        """The stream is gone: what came by it is dealt with before that is known."""
        if self._catching_up is not None:
            self._catching_up.cancel()
            self._catching_up = None
        while self.precedence:
            self._deal_with(self.precedence.take())

    def _deal_with(self, xml: Element) -> None:
        kind = _KINDS.get(xml.tag) or _local_name(xml)
        try:
            if depth_exceeds(xml, MAX_DEPTH):
                self._too_deep(xml)
            elif kind == "message":
                self.take_message(_in_component_namespace(xml))
            elif kind == "presence":
                self.take_presence(_in_component_namespace(xml))
            elif kind == "iq":
                self._sort_iq(_in_component_namespace(xml))
        except Exception:  # the top of the intake: nothing may end the stream
            self.failures += 1
            log.exception("stanza.failed", kind=kind)
            if _is_question(xml):
                self.send(error_reply(xml, Unforeseen()))

    def _is_of_the_stream(self, xml: Element) -> bool:
        """Whether it is no stanza; then it is dealt with."""
        if xml.tag == tag("handshake"):
            self._accepted()
        elif xml.tag == tag("error", _STREAMS):
            self._refused(xml)
        else:
            return False
        return True

    def _sender(self, xml: Element) -> str | None:
        """The bare JID that it comes from. None: from none, or to none of ours.

        The server sees to both.
        """
        try:
            to, _ = parse_jid(xml.get("to", ""))
            if domain_of(to) == self.domain:
                return parse_jid(xml.get("from", ""))[0]
        except ValueError:
            pass
        return None

    def _too_deep(self, xml: Element) -> None:
        """Drop what is in it; a question or a text is answered (RFC 6120 §8.2.3, promise 2)."""
        log.info("stanza.too_deep", sender=xml.get("from", ""))
        wants_answer = _is_question(xml) or _is_text(xml)
        del xml[:]
        if wants_answer:
            self.send(error_reply(_in_component_namespace(xml), _TooDeep()))

    def _sort_iq(self, iq: Element) -> None:
        if iq.get("type") in ("result", "error"):
            self._answered(iq)
        else:
            self.take_iq(iq)

    def _accepted(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
        self.up = True
        self.streams += 1
        log.info("stream.up", server=self.server_domain, domain=self.domain)
        self.came_up()

    def _refused(self, error: Element) -> None:
        conditions = [
            child.tag.rpartition("}")[2]
            for child in error
            if child.tag.startswith(f"{{{_STREAM_ERRORS}}}") and not child.tag.endswith("}text")
        ]
        self._reason = conditions[0] if conditions else "stream error"
        if self._ready is not None and not self._ready.done():
            final = self._reason in _FINAL
            told = StreamError(self._refusal()) if final else _Unreachable(self._refusal())
            self._ready.set_exception(told)

    def _refusal(self) -> str:
        advice = _ADVICE.get(self._reason)
        if advice is not None:
            return advice.format(domain=self.domain)
        why = self._reason or "the connection was closed"
        return f"The server ended the stream of {self.domain} ({why}): look into its log."

    # What goes out

    def send(self, data: Element, use_filters: bool = True) -> None:  # type: ignore[override]
        """Send a stanza. Its `from` must be ours; what XML forbids in it is replaced."""
        self.write(self.checked(data))

    def checked(self, stanza: Element) -> bytes:
        """The bytes of a stanza as `send` sends it, for `write`."""
        sender = stanza.get("from", "")
        if sender.partition("/")[0].rpartition("@")[2] != self.domain:
            raise AssertionError("a stanza from a foreign address")
        if stanza.get("type") == "error":
            self._count_refusal(stanza)
        return serialise(stanza)

    def _count_refusal(self, stanza: Element) -> None:
        error = stanza.find(tag("error"))
        kind = "" if error is None else error.get("type", "")
        self.refused[error_condition(stanza) or "", kind] += 1

    def write(self, data: bytes) -> None:
        """Send bytes that are whole stanzas of ours; dropped while the stream is down."""
        if not self.up or self.transport is None:
            return
        if self._answers is None:
            self.transport.write(data)
        else:
            self._answers.append(data)

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """What is written meanwhile goes out together: a system call costs as much as an answer."""
        self._answers = []
        try:
            yield
        finally:
            answers, self._answers = self._answers, None
            if answers and self.up and self.transport is not None:
                self.transport.write(b"".join(answers))

    # Questions

    def ask(self, iq: Element, within_s: float | None = None) -> "asyncio.Future[Element]":
        """Send a question now, behind all that was sent before; the future gives the answer.

        The answer is the <iq/> of type result or error. TimeoutError: none came in `within_s`, or
        `answer_within_s` where that is None; StreamError: the stream was lost. An answer from
        somebody else is none.
        """
        future: asyncio.Future[Element] = self.loop.create_future()
        if not self.up:
            future.set_exception(StreamError("The stream is down."))
            return future
        question = uuid.uuid4().hex
        iq.set("id", question)
        self._questions[question] = (iq.get("to", ""), future)
        wait_s = self.answer_within_s if within_s is None else within_s
        timer = self.loop.call_later(wait_s, self._unanswered, question)

        def over(done: "asyncio.Future[Element]") -> None:
            timer.cancel()
            self._questions.pop(question, None)
            _ = done.cancelled() or done.exception()  # nobody may be waiting for it any more

        future.add_done_callback(over)
        self.send(iq)
        return future

    async def asks(self, to: str, kind: str, payload: Element) -> Element:
        """Ask from our own domain, for a driver; see `primary.pubsub.Ask`."""
        if not self.up:
            raise NotSent
        iq = Element(tag("iq"), {"from": self.domain, "to": to, "type": kind})
        iq.append(payload)
        return await self.ask(iq)

    def ping(self, to: str, within_s: float | None = None) -> "asyncio.Future[Element]":
        """Ping a domain behind all that was sent before (XEP-0199); see `ask`."""
        iq = Element(tag("iq"), {"from": self.domain, "to": to, "type": "get"})
        SubElement(iq, tag("ping", PING))
        return self.ask(iq, within_s)

    async def version_of(self, domain: str) -> str | None:
        """The name of the software behind a domain (XEP-0092); None: it does not say.

        Raises TimeoutError or StreamError as `ask` does.
        """
        iq = Element(tag("iq"), {"from": self.domain, "to": domain, "type": "get"})
        SubElement(iq, tag("query", VERSION))
        answer = await self.ask(iq)
        return answer.findtext(f"{tag('query', VERSION)}/{tag('name', VERSION)}")

    def _answered(self, iq: Element) -> None:
        known = self._questions.get(iq.get("id", ""))
        if known is None or not _same_address(known[0], iq.get("from", "")):
            return
        del self._questions[iq.get("id", "")]
        if not known[1].done():
            known[1].set_result(iq)

    def _unanswered(self, question: str) -> None:
        known = self._questions.pop(question, None)
        if known is not None and not known[1].done():
            known[1].set_exception(TimeoutError("no answer"))

    def _fail_questions(self) -> None:
        questions, self._questions = self._questions, {}
        for _, future in questions.values():
            if not future.done():
                future.set_exception(StreamError("The stream was lost."))


class _Unreachable(StreamError):
    """It may get better by itself."""


class Unforeseen(RelayError):
    """A fault of ours; what was asked for may or may not have been done."""

    condition = "internal-server-error"
    type = "wait"

    def __init__(self) -> None:
        super().__init__("Something went wrong here; it has been logged. Try again later.")


class _TooDeep(RelayError):
    condition = "policy-violation"
    type = "modify"

    def __init__(self) -> None:
        super().__init__("This is nested too deep to be read.")


def _nothing(*_: object) -> None:
    """What happens before anybody has asked to be told."""


def _local_name(xml: Element) -> str:
    name: str = xml.tag.rpartition("}")[2]
    return name


def _is_answer(xml: Element) -> bool:
    """Whether it may be what we asked for: the windows wait for that."""
    return xml.tag.endswith("}iq") and xml.get("type") in ("result", "error")


def _comes(xml: Element) -> bool:
    """Whether somebody is there, or asks who is; but for the answer that a barrier waits for."""
    if not xml.tag.endswith("}presence") or xml.get("type") not in _COMES:
        return False
    _, resource = parse_jid(xml.get("to", ""))
    return resource in ("", PROBING)


def _is_question(xml: Element) -> bool:
    return xml.tag.endswith("}iq") and xml.get("type") in ("get", "set")


def _is_text(xml: Element) -> bool:
    """Whether it is a message that somebody may take for posted."""
    answered = xml.get("type") not in ("error", "groupchat", "headline")
    return answered and xml.tag.endswith("}message") and xml.find("{*}body") is not None


def _same_address(asked: str, answered: str) -> bool:
    if asked == answered:
        return True
    try:
        return parse_jid(asked) == parse_jid(answered)
    except ValueError:
        return False


def _in_component_namespace(xml: Element) -> Element:
    """The stanza with the stream's namespace; some servers write jabber:client (XEP-0114 §3)."""
    if xml.tag.startswith("{jabber:client}"):
        for element in xml.iter():
            if element.tag.startswith("{jabber:client}"):
                element.tag = tag(element.tag.rpartition("}")[2])
    return xml


__all__ = ["ANSWER_WITHIN_S", "COMPONENT", "STANZA_ERRORS", "Component", "Unforeseen"]
