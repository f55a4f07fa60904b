"""Who talks to the relay in the tests: people with a client, and a server that the test writes for.

`Person` is somebody with an account and a real client (slixmpp) on a private server. `FarServer` is
another domain: a component of the private server that may speak for everybody below its own name,
so that a test decides about every stanza of a remote server and sees all that comes for it.

Both keep what arrives, in order. `gets` takes the first stanza that fits, arrived or to come;
`ledger` has everything that has ever arrived, taken or not. That something does *not* arrive is
shown by a fence: something later, on the same way, that must arrive.
"""

import asyncio
import contextlib
import copy
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any, Final, Self
from xml.etree.ElementTree import Element, XMLPullParser, tostring
from xml.sax.saxutils import escape, quoteattr

import pytest
from slixmpp import ClientXMPP

from tests.servers import Account

ARRIVES_WITHIN_S: Final = 25.0
"""What is waited for comes in milliseconds, but for a notice, which may have to wait ten seconds
(S12.4); and it takes longer on a machine that is busy with tests."""

RECEIPTS: Final = "urn:xmpp:receipts"
SID: Final = "urn:xmpp:sid:0"
DELAY: Final = "urn:xmpp:delay"
HINTS: Final = "urn:xmpp:hints"
STANZAS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
DISCO_INFO: Final = "http://jabber.org/protocol/disco#info"
COMPONENT: Final = "jabber:component:accept"

_ids = itertools.count(1)


def new_id() -> str:
    """An id that no other stanza of this run has."""
    return f"test-{next(_ids)}"


@dataclass(frozen=True, slots=True, eq=False)
class Stanza:
    """A stanza that has arrived."""

    xml: Element

    @property
    def kind(self) -> str:
        """message, presence or iq."""
        return self.xml.tag.rpartition("}")[2]

    @property
    def sender(self) -> str:
        return self.xml.get("from", "")

    @property
    def to(self) -> str:
        return self.xml.get("to", "")

    @property
    def type(self) -> str | None:
        return self.xml.get("type")

    @property
    def id(self) -> str | None:
        return self.xml.get("id")

    @property
    def body(self) -> str | None:
        found = self.child("body")
        return None if found is None else found.text or ""

    def child(self, name: str, namespace: str | None = None) -> Element | None:
        """The first child with that name; without a namespace, one in the stanza's own."""
        own = self.xml.tag.partition("}")[0][1:]
        return self.xml.find(f"{{{namespace or own}}}{name}")

    def has(self, name: str, namespace: str) -> bool:
        return self.child(name, namespace) is not None

    @property
    def post_id(self) -> str | None:
        """The id of the post that this message brings; None: it brings none."""
        origin = self.child("origin-id", SID)
        return None if origin is None or self.kind != "message" else origin.get("id")

    @property
    def condition(self) -> str | None:
        """The condition of an error."""
        error = self.child("error")
        for child in [] if error is None else error:
            if child.tag.startswith(f"{{{STANZAS}}}") and not child.tag.endswith("}text"):
                return child.tag.rpartition("}")[2]
        return None

    @property
    def error_type(self) -> str | None:
        error = self.child("error")
        return None if error is None else error.get("type")

    @property
    def text(self) -> str:
        """The sentence of an error."""
        error = self.child("error")
        found = None if error is None else error.find(f"{{{STANZAS}}}text")
        return "" if found is None else found.text or ""

    def __repr__(self) -> str:
        return tostring(self.xml, encoding="unicode")


Fits = Callable[[Stanza], bool]


class Mailbox:
    """What has arrived for somebody."""

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self.ledger: list[Stanza] = []
        self._waiting: list[Stanza] = []
        self._more = asyncio.Event()

    def put(self, stanza: Stanza) -> None:
        self.ledger.append(stanza)
        self._waiting.append(stanza)
        self._more.set()

    async def gets(
        self, fits: Fits | None = None, *, within_s: float = ARRIVES_WITHIN_S, **fields: Any
    ) -> Stanza:
        """Take the first stanza, arrived or to come, that fits and has these fields."""

        def wanted(stanza: Stanza) -> bool:
            same = all(getattr(stanza, name) == value for name, value in fields.items())
            return same and (fits is None or fits(stanza))

        try:
            async with asyncio.timeout(within_s):
                while True:
                    for at, stanza in enumerate(self._waiting):
                        if wanted(stanza):
                            del self._waiting[at]
                            return stanza
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            arrived = "\n  ".join(map(repr, self._waiting[-12:])) or "nothing"
            raise AssertionError(
                f"{self._whose} did not get {fields or fits}; waiting there:\n  {arrived}"
            ) from None

    async def until(self, so: Callable[[], bool], within_s: float = 30.0) -> None:
        """Return when something is so that only an arrival can bring about."""
        async with asyncio.timeout(within_s):
            while not so():
                self._more.clear()
                await self._more.wait()

    def forget(self) -> None:
        """Leave what has arrived aside; it stays in the ledger."""
        self._waiting.clear()

    @property
    def waiting(self) -> Sequence[Stanza]:
        """What has arrived and was not taken."""
        return tuple(self._waiting)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What somebody is told when his message is not taken."""

    condition: str | None
    type: str | None
    text: str


@dataclass(slots=True)
class Person:
    """Somebody with an account and a client. Her ledger outlives her connections."""

    account: Account
    relay: str  # the relay's domain
    shows_presence: bool | None = True  # what the relay is answered; None: nothing
    mail: Mailbox = field(init=False)
    _client: "_Client | None" = None

    def __post_init__(self) -> None:
        self.mail = Mailbox(self.account.jid)

    # There and away

    @property
    def jid(self) -> str:
        """Her bare JID."""
        return self.account.jid

    @property
    def full_jid(self) -> str:
        return str(self._connected().boundjid.full)

    @property
    def home(self) -> str:
        return f"home@{self.relay}"

    def author(self, handle: str) -> str:
        """The address of somebody who posts."""
        return f"{handle}@{self.relay}"

    async def comes(self, presence: str = "<presence/>") -> Self:
        """Log in; returns when the server has taken her presence."""
        client = _Client(self.account, self._arrived)
        try:
            await client.logs_in()
        except BaseException:
            await client.ends()
            raise
        self._client = client
        self.sends_raw(presence)
        await self._fence_server()
        return self

    async def leaves(self) -> None:
        """Log out; returns when the server has told everybody who sees her."""
        self.sends_raw("<presence type='unavailable'/>")
        await self._fence_server()
        client, self._client = self._connected(), None
        await client.disconnect()
        await client.ends()

    async def drops(self) -> None:
        """Lose the connection, as a phone does; returns when it is lost on this side."""
        client, self._client = self._client, None
        if client is not None:
            await client.ends()

    async def _fence_server(self) -> None:
        """Return when her server has dealt with all that she has sent."""
        await self.asks(self.account.jid, "<query xmlns='jabber:iq:roster'/>")

    @property
    def connected(self) -> bool:
        return self._client is not None and not self._client.lost.is_set()

    def _connected(self) -> "_Client":
        assert self._client is not None, f"{self.jid} is not logged in"
        return self._client

    def _arrived(self, stanza: Stanza) -> None:
        self.mail.put(stanza)
        if stanza.type == "subscribe" and self.shows_presence is not None:
            answer = "subscribed" if self.shows_presence else "unsubscribed"
            self.sends_raw(f"<presence to={quoteattr(stanza.sender)} type='{answer}'/>")

    # Getting

    async def gets(self, fits: Fits | None = None, **fields: Any) -> Stanza:
        """Take the first stanza, arrived or to come, that fits and has these fields."""
        return await self.mail.gets(fits, **fields)

    async def gets_post(self, text: str, **fields: Any) -> Stanza:
        """Take the message that brings a post with this text, in whichever mode."""
        return await self.mail.gets(lambda stanza: said(stanza) == text, **fields)

    def posts(self) -> list[str]:
        """The texts of all posts that have ever arrived, in order."""
        return [said(each) for each in self.mail.ledger if each.post_id is not None]

    # Sending

    def sends_raw(self, xml: str) -> None:
        """Send bytes that are stanzas, as any client may."""
        self._connected().send_raw(xml)

    def sends(self, text: str | None, to: str | None = None, **more: str) -> str:
        """Send a message, and give its id; nothing is waited for.

        More attributes of the message by their names; `inside` is XML beside the body, `origin`
        the origin-id if it is not to be the id, `body` the XML instead of the text.
        """
        name = more.pop("id", None) or new_id()
        inside, origin = more.pop("inside", ""), more.pop("origin", name)
        body = more.pop("body", None) or ("" if text is None else f"<body>{escape(text)}</body>")
        attributes = {"to": to or self.home, "type": "chat", "id": name} | more
        written = " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items())
        mark = f"<origin-id xmlns='{SID}' id={quoteattr(origin)}/>" if origin else ""
        self.sends_raw(f"<message {written}>{body}{inside}{mark}</message>")
        return name

    async def says(self, text: str | None, to: str | None = None, **more: str) -> str:
        """Send a message and give the text of the answer; AssertionError if it was refused."""
        answer = await self._answer(text, to, **more)
        assert answer.type != "error", f"{text!r} was refused: {answer}"
        return await self.hears()

    async def hears(self) -> str:
        """Take the next thing that home@relay itself says to her."""
        told = await self.gets(lambda stanza: _is_text(stanza, self.home))
        return told.body or ""

    async def is_refused(self, text: str | None, to: str | None = None, **more: str) -> Refusal:
        """Send a message and give the error that comes; AssertionError if it was taken."""
        refusal = await self.tries(text, to, **more)
        assert refusal is not None, f"{text!r} was taken"
        return refusal

    async def tries(self, text: str | None, to: str | None = None, **more: str) -> Refusal | None:
        """Send a message and give the error that comes; None if it was taken."""
        answer = await self._answer(text, to, **more)
        if answer.type != "error":
            return None
        return Refusal(answer.condition, answer.error_type, answer.text)

    async def _answer(self, text: str | None, to: str | None, **more: str) -> Stanza:
        """The receipt or the error; what arrived before it is left aside."""
        more["inside"] = more.get("inside", "") + f"<request xmlns='{RECEIPTS}'/>"
        name = self.sends(text, to, **more)

        def answers(stanza: Stanza) -> bool:
            receipt = stanza.child("received", RECEIPTS)
            received = receipt is not None and receipt.get("id") == name
            return received or (stanza.type == "error" and stanza.id == name)

        answer = await self.gets(answers, kind="message")
        stale = [each for each in self.mail.waiting if _is_text(each, self.home)]
        at = self.mail.ledger.index(answer)
        for each in stale:
            if self.mail.ledger.index(each) < at:
                await self.gets(lambda stanza, each=each: stanza is each)
        return answer

    async def asks(self, to: str, payload: str, kind: str = "get") -> Stanza:
        """Ask a question (an IQ), and give the answer."""
        name = new_id()
        self.sends_raw(f"<iq id='{name}' type='{kind}' to={quoteattr(to)}>{payload}</iq>")
        return await self.gets(kind="iq", id=name)

    async def fence(self) -> None:
        """Return when all that the relay has to say to what she has sent so far is here."""
        answer = await self.says("ping")
        assert answer == "pong", answer

    async def joins(self, handle: str) -> Self:
        answer = await self.says(f"join {handle}")
        assert answer.startswith(f"Welcome, @{handle}"), answer
        return self

    async def adds(self, handle: str) -> None:
        """Put an author on her contact list; returns when the relay has agreed."""
        author = self.author(handle)
        self.sends_raw(f"<presence to='{author}' type='subscribe'/>")
        await self.gets(kind="presence", type="subscribed", sender=author)


def said(stanza: Stanza) -> str:
    """The text of a post, without what home mode puts around it."""
    body = stanza.body or ""
    if stanza.post_id is None or not stanza.sender.startswith("home@"):
        return body
    short = stanza.post_id.partition(".")[0]
    return body.partition(": ")[2].removesuffix(f"  #{short}")


def _is_text(stanza: Stanza, home: str) -> bool:
    return (
        stanza.kind == "message"
        and stanza.sender == home
        and stanza.post_id is None
        and stanza.type == "chat"
        and stanza.body is not None
    )


@contextlib.contextmanager
def no_certificates() -> Iterator[None]:
    """Streams that are made meanwhile trust nobody: the private servers have no TLS, and loading
    the system's certificates takes 80 ms.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", os.devnull)
        patch.setenv("SSL_CERT_DIR", os.devnull)
        yield


class _Client(ClientXMPP):
    """A connection of slixmpp that passes on each stanza as it came."""

    def __init__(self, account: Account, arrived: Callable[[Stanza], None]) -> None:
        plain = {"unencrypted_plain": True, "use_mech": "PLAIN"}
        with no_certificates():
            super().__init__(
                account.jid, account.password, plugin_config={"feature_mechanisms": plain}
            )
        self.enable_plaintext = True
        self.enable_direct_tls = self.enable_starttls = False
        self.auto_authorize, self.auto_subscribe = None, False
        self.lost = asyncio.Event()
        self._account = account
        self._pass_on = arrived

    async def logs_in(self) -> None:
        started: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.add_event_handler("session_start", lambda _: started.set_result(True))
        self.add_event_handler("failed_all_auth", lambda _: started.set_result(False))
        self.connect(self._account.host, self._account.port)
        assert await asyncio.wait_for(started, ARRIVES_WITHIN_S), "the password was refused"

    async def ends(self) -> None:
        """Close the connection, if it is not, and end slixmpp's task that waits to send more."""
        if self.transport is not None:
            self.abort()
        await self.lost.wait()
        if self._run_out_filters is not None:
            self._run_out_filters.cancel()
            await asyncio.wait({self._run_out_filters})

    def connection_lost(self, exception: BaseException | None) -> None:
        super().connection_lost(exception)
        self.lost.set()

    def _spawn_event(self, xml: Element) -> None:
        if xml.tag.rpartition("}")[2] in ("message", "presence", "iq"):
            self._pass_on(Stanza(copy.deepcopy(xml)))
        super()._spawn_event(xml)


class FarServer:
    """Another domain, whose every stanza is the test's.

    `pings`: whether the relay's pings to it are answered, as a server that is well does, and the
    question what it is: it has these `features`.
    """

    def __init__(self, domain: str, secret: str, host: str, port: int, relay: str) -> None:
        self.domain = domain
        self.relay = relay
        self.mail = Mailbox(domain)
        self.pings = True
        self.features: Sequence[str] = ()
        self.lost = asyncio.Event()
        self._where = (host, port)
        self._secret = secret
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def home(self) -> str:
        return f"home@{self.relay}"

    async def __aenter__(self) -> Self:
        reader, self._writer = await asyncio.open_connection(*self._where)
        self.sends(
            f"<stream:stream xmlns='{COMPONENT}' to='{self.domain}' "
            "xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        accepted = asyncio.Event()
        self._reading = asyncio.create_task(self._read(reader, accepted))
        await asyncio.wait_for(accepted.wait(), ARRIVES_WITHIN_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._writer is not None
        assert self._reading is not None
        self._writer.close()
        with contextlib.suppress(ConnectionResetError):
            await self._reading

    async def _read(self, reader: asyncio.StreamReader, accepted: asyncio.Event) -> None:
        parser, depth = XMLPullParser(("start", "end")), 0
        while data := await reader.read(65536):
            parser.feed(data)
            for event, element in parser.read_events():  # type: ignore[misc]
                depth += 1 if event == "start" else -1
                if event == "start" and depth == 1:
                    digest = sha1((element.get("id", "") + self._secret).encode()).hexdigest()
                    self.sends(f"<handshake>{digest}</handshake>")
                elif event == "end" and depth == 1:
                    if element.tag.endswith("}handshake"):
                        accepted.set()
                    else:
                        self._arrived(Stanza(element))
        self.lost.set()

    def _arrived(self, stanza: Stanza) -> None:
        if self.pings and stanza.has("ping", "urn:xmpp:ping") and stanza.type == "get":
            self.sends(
                f"<iq from='{self.domain}' to='{stanza.sender}' id='{stanza.id}' type='result'/>"
            )
        elif self.pings and stanza.has("query", DISCO_INFO) and stanza.type == "get":
            features = "".join(f"<feature var={quoteattr(each)}/>" for each in self.features)
            self.sends(
                f"<iq from='{self.domain}' to='{stanza.sender}' id='{stanza.id}' type='result'>"
                f"<query xmlns='{DISCO_INFO}'>{features}</query></iq>"
            )
        else:
            self.mail.put(stanza)

    def sends(self, xml: str) -> None:
        """Send stanzas, as they are."""
        assert self._writer is not None
        self._writer.write(xml.encode())

    def says(self, who: str, text: str, **more: str) -> str:
        """Let somebody of this domain write to the relay; gives the stanza's id."""
        name = more.pop("id", None) or new_id()
        attributes = {
            "from": f"{who}@{self.domain}", "to": self.home, "type": "chat", "id": name,
        } | more  # fmt: skip
        written = " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items())
        self.sends(f"<message {written}><body>{escape(text)}</body></message>")
        return name

    async def gets(self, fits: Fits | None = None, **fields: Any) -> Stanza:
        """Take the first stanza, arrived or to come, that fits and has these fields."""
        return await self.mail.gets(fits, **fields)

    async def fence(self, who: str) -> None:
        """Return when all that the relay has to say to what he has sent so far is here."""
        self.says(who, "ping")
        await self.gets(kind="message", body="pong", to=f"{who}@{self.domain}")


def count(stanzas: Iterable[Stanza], **fields: Any) -> int:
    """How many of them have these fields."""
    return sum(
        all(getattr(stanza, name) == value for name, value in fields.items()) for stanza in stanzas
    )
