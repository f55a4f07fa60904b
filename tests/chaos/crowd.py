"""Many people with real connections, and little work for each.

A client of a library costs a millisecond for each message; here hundreds of people share a process
with the relay that writes to them. `Light` logs in (SASL PLAIN over the loopback, no TLS), lets the
relay see its presence, and keeps count of what arrives; that is all. Its ledger outlives its
connections.

A post has a token in its text (`post-…`), by which it is known however it is rendered.
"""

import asyncio
import base64
import contextlib
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from tests.chaos.steps import step
from tests.integration.clients import RECEIPTS, SID
from tests.servers import Account, XmppServer
from tests.servers.ejabberd import Ejabberd
from xmpprelay.quickstart.prosody import Prosody

COMES_WITHIN_S: Final = 300.0
"""Hundreds log in at once, on a machine that is busy with other long runs."""

PASSWORD: Final = "a-secret"

_TOKEN: Final = re.compile(r"post-[\w-]*\w")
_numbers = itertools.count(1)
_THERE: Final = "there"  # the id of the last question of a login


class Light:
    """Somebody with an account and a connection, who counts."""

    def __init__(self, account: Account, relay: str) -> None:
        self.account = account
        self.home = f"home@{relay}"
        self.seen: Counter[str] = Counter()  # tokens of posts, and how often each has come
        self.ids: dict[str, set[str]] = {}  # under which ids; more than one is D
        self.first: list[tuple[str, str]] = []  # (id, token), as they came first
        self.bodies: dict[str, str] = {}  # by id; only if `keeps_bodies`
        self.keeps_bodies = False
        self.receipts: set[str] = set()
        self.refused: set[str] = set()
        self.said: list[str] = []  # by home@relay, but for posts
        self.changed = asyncio.Event()  # something has arrived
        self._wire: _Wire | None = None

    @property
    def connected(self) -> bool:
        return self._wire is not None and not self._wire.lost.is_set()

    async def comes(self) -> "Light":
        """Log in; returns when the server has taken the presence."""
        loop = asyncio.get_running_loop()
        account = self.account
        with step("a login"):
            async with asyncio.timeout(COMES_WITHIN_S):
                _, self._wire = await loop.create_connection(
                    lambda: _Wire(account, self._arrived), account.host, account.port
                )
                await self._wire.there
        return self

    def hoards(self) -> None:
        """Look at what arrives only when the connection has ended, which costs nothing now."""
        assert self._wire is not None
        self._wire.hoards = True

    async def drops(self) -> None:
        """Lose the connection; what the server had sent before is counted."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
            await wire.lost.wait()

    async def is_cut_off(self) -> None:
        """Return when the server has closed the connection and all that it sent is counted."""
        if self._wire is not None:
            await self._wire.lost.wait()
            self._wire = None

    def sends(self, text: str, name: str | None = None) -> None:
        """Write to home@relay; with a name, which is its id and origin-id, a receipt is wanted."""
        mark = f" id={quoteattr(name)}" if name else ""
        inside = ""
        if name:
            inside = f"<request xmlns='{RECEIPTS}'/><origin-id xmlns='{SID}' id={quoteattr(name)}/>"
        assert self._wire is not None
        self._wire.sends(
            f"<message to='{self.home}' type='chat'{mark}><body>{escape(text)}</body>{inside}"
            "</message>"
        )

    async def until(self, so: Callable[[], bool], within_s: float = COMES_WITHIN_S) -> None:
        """Return when something is so that only an arrival can bring about."""
        async with asyncio.timeout(within_s):
            while not so():
                self.changed.clear()
                await self.changed.wait()

    async def asks(self, text: str) -> str:
        """Write a command, and give what home@relay says next."""
        heard = len(self.said)
        self.sends(text)
        with step(f"the answer to `{text}`"):
            await self.until(lambda: len(self.said) > heard)
        return self.said[heard]

    async def gets_all(self, tokens: Sequence[str], quiet_s: float) -> None:
        """Return when all of these are here, or when nothing has come for so long."""
        with contextlib.suppress(TimeoutError):
            while self.missing(tokens):
                before = self.seen.total()
                await self.until(lambda seen=before: self.seen.total() > seen, quiet_s)  # type: ignore[misc]

    def missing(self, tokens: Sequence[str]) -> list[str]:
        """L: which of these have not arrived."""
        return [token for token in tokens if token not in self.seen]

    def repeats(self) -> int:
        """How many messages brought what had been there, on the wire."""
        return self.seen.total() - len(self.seen)

    def doubled(self) -> list[str]:
        """D: posts that came under more than one id."""
        return [token for token, ids in self.ids.items() if len(ids) > 1]

    def _arrived(self, stanza: "_Stanza") -> None:
        if stanza.kind == "presence" and stanza.type == "subscribe" and self._wire is not None:
            self._wire.sends(f"<presence to={quoteattr(stanza.sender)} type='subscribed'/>")
        if stanza.kind != "message":
            return
        if stanza.received is not None:
            self.receipts.add(stanza.received)
        elif stanza.type == "error":
            self.refused.add(stanza.id)
        elif stanza.origin is not None:
            self._counts(stanza)
        elif stanza.body is not None:
            self.said.append(stanza.body)
        self.changed.set()

    def _counts(self, stanza: "_Stanza") -> None:
        body, name = stanza.body or "", stanza.origin or ""
        if self.keeps_bodies:
            self.bodies[name] = body
        found = _TOKEN.search(body)
        if found is None:
            return
        token = found[0]
        if token not in self.seen:
            self.first.append((name, token))
        self.seen[token] += 1
        self.ids.setdefault(token, set()).add(name)


async def gather(server: XmppServer, relay: str, names: Sequence[str]) -> list[Light]:
    """New accounts, all logged in: `alice` is alice-7@…, whom no other test has."""
    accounts = await new_accounts(server, names)
    people = [Light(account, relay) for account in accounts]
    await asyncio.gather(*(person.comes() for person in people))
    return people


async def new_accounts(server: XmppServer, names: Sequence[str]) -> list[Account]:
    """New accounts all at once: one by one, the servers' own way takes too long for hundreds."""
    names = [f"{name}-{next(_numbers)}c" for name in names]
    if isinstance(server, Ejabberd):
        users = ", ".join(f'<<"{name}">>' for name in names)
        await server.ask(
            f'[ok = ejabberd_auth:try_register(User, <<"{server.domain}">>, <<"{PASSWORD}">>)'
            f" || User <- [{users}]]."
        )
        await server.flush()
    else:
        assert isinstance(server, Prosody)
        await asyncio.to_thread(_write_accounts, server.folder, server.domain, names)
    return [
        Account(f"{name}@{server.domain}", PASSWORD, server.host, server.c2s_port) for name in names
    ]


def _write_accounts(folder: Path, domain: str, names: Sequence[str]) -> None:
    """As Prosody's internal storage has them: a file each, of the folder's owner."""
    data = folder / "data"
    owner = data.stat()
    escaped = "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in domain)
    made = data / escaped / "accounts"
    made.mkdir(parents=True, exist_ok=True)
    for path in (made.parent, made):
        _give(path, owner)
    for name in names:
        escaped = "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in name)
        path = made / f"{escaped}.dat"
        path.write_text(f'return {{\n\t["password"] = "{PASSWORD}";\n}};\n')
        _give(path, owner)


def _give(path: Path, owner: os.stat_result) -> None:
    os.chown(path, owner.st_uid, owner.st_gid)


class _Stanza:
    """What is looked at of a stanza."""

    __slots__ = ("body", "id", "kind", "origin", "received", "sender", "type")

    def __init__(self, kind: str, attributes: dict[str, str]) -> None:
        self.kind = kind
        self.sender = attributes.get("from", "")
        self.type = attributes.get("type")
        self.id = attributes.get("id", "")
        self.body: str | None = None
        self.origin: str | None = None
        self.received: str | None = None


class _Wire(asyncio.Protocol):
    """One connection: the login, then stanzas."""

    def __init__(self, account: Account, arrived: Callable[[_Stanza], None]) -> None:
        self.there: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = asyncio.Event()
        self.hoards = False
        self._hoard: list[bytes] = []
        self._user, _, self._domain = account.jid.partition("@")
        self._password = account.password
        self._pass_on = arrived
        self._logged_in = False
        self._transport: asyncio.Transport | None = None
        self._stanza: _Stanza | None = None
        self._depth = 0
        self._text: list[str] | None = None

    def sends(self, xml: str) -> None:
        assert self._transport is not None
        self._transport.write(xml.encode())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._open()

    def connection_lost(self, _: Exception | None) -> None:
        self.hoards = False
        for data in self._hoard:
            self.data_received(data)
        self._hoard.clear()
        self.lost.set()
        if not self.there.done():
            self.there.set_exception(ConnectionError("lost during the login"))

    def data_received(self, data: bytes) -> None:
        if self.hoards:
            self._hoard.append(data)
            return
        try:
            self._parser.Parse(data, False)
        except expat.ExpatError as error:
            self.close()
            if not self.there.done():
                self.there.set_exception(error)
            raise
        if self._opens_anew:
            self._open()

    # The login

    def _open(self) -> None:
        self._opens_anew = False
        self._depth = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self.sends(
            f"<?xml version='1.0'?><stream:stream to='{self._domain}' version='1.0' "
            "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        )

    def _features(self) -> None:
        if not self._logged_in:
            plain = base64.b64encode(f"\0{self._user}\0{self._password}".encode()).decode()
            self.sends(
                f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"
            )
        else:
            self.sends(
                "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
                f"<presence/><iq type='get' id='{_THERE}'><query xmlns='jabber:iq:roster'/></iq>"
            )

    # Parsing

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 2:
            self._stanza = _Stanza(name, attributes)
        elif self._depth == 3 and self._stanza is not None:
            if name == "body" and self._stanza.body is None:
                self._text = []
            elif name == "origin-id":
                self._stanza.origin = attributes.get("id", "")
            elif name == "received":
                self._stanza.received = attributes.get("id", "")

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _end(self, name: str) -> None:
        self._depth -= 1
        if self._depth == 2 and self._text is not None and self._stanza is not None:
            self._stanza.body, self._text = "".join(self._text), None
        elif self._depth == 1 and self._stanza is not None:
            stanza, self._stanza = self._stanza, None
            self._took(name, stanza)

    def _took(self, name: str, stanza: _Stanza) -> None:
        if name == "stream:features":
            self._features()
        elif name == "success":
            self._logged_in = self._opens_anew = True
        elif name == "failure" and not self.there.done():
            self.there.set_exception(ConnectionError("the password was refused"))
        elif name == "iq" and stanza.id == _THERE:
            if not self.there.done():
                self.there.set_result(None)
        else:
            self._pass_on(stanza)


async def leave(people: Sequence[Light]) -> None:
    """Drop everybody's connection."""
    with contextlib.suppress(ConnectionError):
        await asyncio.gather(*(person.drops() for person in people))
