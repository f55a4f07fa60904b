"""The one who posts: a client in this process, as light as those of the followers.

    async with Author(where, login) as author:
        found = await author.says(Step("<iq …>", until=rb"…"))    # what matched
        author.sends("<message …>")

It keeps what comes only while it waits for something, and answers questions with an error.
"""

import asyncio
import ssl
from typing import Final, Self
from xml.sax.saxutils import escape, quoteattr

from xmpprelay.bench.advice import EJABBERD, PROSODY, sentence
from xmpprelay.bench.dialogues import (
    REMOVE,
    Failed,
    Login,
    Step,
    Then,
    Trouble,
    Where,
    answers,
    heard,
    login,
    said,
)
from xmpprelay.bench.encryption import context_for, reason
from xmpprelay.errors import StreamError

PATIENCE_S: Final = 30.0
"""For any one answer."""

_MOST_BYTES: Final = 1 << 20
"""That is kept of what comes while something is waited for; what it is comes in the end of it."""

_VERSION: Final = Step(  # XEP-0092
    "<iq type='get' id='version' to='{domain}'><query xmlns='jabber:iq:version'/></iq>",
    until=rb"<iq (?=[^>]*id=['\"]version)[^>]*>.*</iq>",
    fails=rb"<stream:error.*</stream:error>",
)


class Author(asyncio.Protocol):
    """Somebody with an account; as a context manager he is there.

    `makes`: he makes the account, and removes it at the end. StreamError when he cannot log in,
    with the setting that is in the way.
    """

    def __init__(self, where: Where, who: Login, *, makes: bool = False) -> None:
        self.jid = who.jid
        self.server: str | None = None  # its kind, as far as advice is for it
        self.left: list[str] = []  # of what was to be undone: what could not be
        self._where = where
        self._login = who
        self._makes = makes
        self._tls = context_for(where)
        self._transport: asyncio.Transport | None = None
        self._step: Step | None = None
        self._read = b""
        self._heard: asyncio.Future[bytes | Failed] | None = None
        self._made = self._there = False

    async def __aenter__(self) -> Self:
        """He is there."""
        await self._connect()
        try:
            for step in login(self._where.tls, makes=self._makes):
                self._made = self._made or step.makes
                await self.says(step)
            self._there = True
            version = await self.says(_VERSION)
        except BaseException:
            await self.__aexit__()
            raise
        for kind in (PROSODY, EJABBERD):
            if kind.lower().encode() in version.lower():
                self.server = kind
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._made:
            await self._remove()
        if self._transport is not None:
            self._transport.abort()

    async def _remove(self) -> None:
        try:
            if not self._there:
                await self._connect()
                for step in login(self._where.tls):
                    await self.says(step)
            await self.says(REMOVE)
        except StreamError:
            if self._there:  # else there never was one
                self.left.append(f"the account of {self.jid}")

    async def _connect(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        host, port = self._where.host, self._where.port
        try:
            async with asyncio.timeout(PATIENCE_S):
                made, _ = await asyncio.get_running_loop().create_connection(
                    lambda: self, host, port
                )
        except OSError as error:  # TimeoutError is one
            at = f"{host} port {port} ({reason(error)})"
            raise self._trouble(Trouble.UNREACHABLE, at) from error
        self._transport = made

    def sends(self, xml: str) -> None:
        """Send stanzas, as they are."""
        assert self._transport is not None  # noqa: S101
        self._transport.write(xml.encode())

    def chats(self, to: str, text: str, id: str) -> None:
        """Send a chat message."""
        self.sends(
            f"<message to={quoteattr(to)} type='chat' id={quoteattr(id)}>"
            f"<body>{escape(text)}</body></message>"
        )

    async def says(self, step: Step, within_s: float = PATIENCE_S) -> bytes:
        """Go through a step; what it waited for. StreamError with what was said instead."""
        assert self._transport is not None  # noqa: S101
        self._heard = asyncio.get_running_loop().create_future()
        self._step, self._read = step, b""
        if self._transport.is_closing():
            raise self._trouble(Trouble.CLOSED, "the connection was closed")
        self.sends(said(step.says, self._login))
        try:
            async with asyncio.timeout(within_s):
                found = await self._heard
        except TimeoutError:
            raise self._trouble(Trouble.SILENT, f"it says nothing for {within_s:.0f} s") from None
        finally:
            self._step = self._heard = None
        if isinstance(found, Failed):
            raise self._trouble(found.trouble, found.said)
        if step.then is Then.ENCRYPT:
            await self._encrypt()
        return found

    async def undoes(self, step: Step, what: str) -> None:
        """Go through a step that removes something; `what` is left if it cannot be done."""
        try:
            await self.says(step)
        except StreamError:
            self.left.append(what)

    async def _encrypt(self) -> None:
        assert self._transport is not None  # noqa: S101
        assert self._tls is not None  # noqa: S101
        loop = asyncio.get_running_loop()
        domain = self._login.domain
        try:
            made = await loop.start_tls(self._transport, self, self._tls, server_hostname=domain)
        except ssl.SSLCertVerificationError as error:
            raise self._trouble(Trouble.CERTIFICATE, error.verify_message) from error
        except OSError as error:
            raise self._trouble(Trouble.CLOSED, reason(error)) from error
        assert made is not None  # noqa: S101
        self._transport = made

    def _trouble(self, trouble: Trouble, said: str) -> StreamError:
        if self._there and trouble is Trouble.CLOSED:
            trouble = Trouble.OTHER  # than a login
        return StreamError(sentence(self.server, self.jid, trouble, said))

    # What comes (asyncio.Protocol)

    def data_received(self, data: bytes) -> None:
        """Bytes from the server."""
        for answer in answers(data):
            self.sends(answer)
        if self._step is None or self._heard is None or self._heard.done():
            return
        self._read = (self._read + data)[-_MOST_BYTES:]
        found = heard(self._step, self._read)
        if found is not None:
            self._heard.set_result(found)

    def connection_lost(self, exception: Exception | None) -> None:
        """The connection is gone."""
        if self._heard is not None and not self._heard.done():
            self._heard.set_result(Failed(Trouble.CLOSED, "the connection was closed"))
