"""The ways in which one text comes to many followers, all driven alike.

- The server's own pubsub: a node of the author's PEP (XEP-0163) to which each follower has
  subscribed. On Prosody and ejabberd it is their quickest one: it runs inside them.
- The relay, a process as an operator runs it, without limits; its followers let it see that they
  are there.

Each is a context manager that makes the followers its own, and undoes at its end what it has done
on the server. `sends` only writes the author's stanza: an IQ to the server, a chat message to the
relay.
"""

import itertools
import re
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, Protocol, Self
from xml.sax.saxutils import escape

from xmpprelay.bench.author import Author
from xmpprelay.bench.dialogues import Step, leaves_roster
from xmpprelay.bench.followers import Followers
from xmpprelay.errors import StreamError, XmppRelayError
from xmpprelay.quickstart.relay_process import ComponentPlace, RelayFailed, RelayProcess

NO_LIMITS: Final = {
    "posts_per_second": 1000,
    "burst": 10_000,
    "posts_per_hour": 3_600_000,
    "deliveries_per_minute": 1_000_000_000,
    "domain_follows_per_minute": 1_000_000,
}

_PUBSUB: Final = "http://jabber.org/protocol/pubsub"
_ATOM: Final = "http://www.w3.org/2005/Atom"
_HANDLE: Final = "bench"
_SAID: Final = re.compile(r"^xmpprelay: (.*)$", re.MULTILINE)


class Way(Protocol):
    """One way to all followers."""

    name: ClassVar[str]  # in the table
    short: ClassVar[str]  # in the JSON

    @property
    def pid(self) -> int | None:
        """Of the process that does it; None: it is the server itself."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...
    def sends(self, text: str) -> None:
        """Let the author send one; nothing is waited for."""


class OwnPubsub:
    """The server's own."""

    name: ClassVar[str] = "the server's own pubsub"
    short: ClassVar[str] = "own"

    def __init__(self, author: Author, followers: Followers) -> None:
        self._author, self._followers = author, followers
        self._node = f"xmpprelay-bench-{secrets.token_hex(4)}"  # no other's is touched
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Self:
        jid = self._author.jid
        try:
            await self._author.says(
                _asks(
                    jid,
                    "create",
                    f"<pubsub xmlns='{_PUBSUB}'><create node='{self._node}'/><configure>"
                    "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
                    f"<value>{_PUBSUB}#node_config</value></field>"
                    "<field var='pubsub#access_model'><value>open</value></field></x></configure>"
                    "</pubsub>",
                )
            )
        except StreamError as error:
            raise StreamError(
                f"{error.sentence.rstrip('.')}: that is what it says to a new PEP node; switch "
                "PEP on (Prosody: module `pep`; ejabberd: `mod_pubsub` with the plugin `pep`)."
            ) from None
        try:
            await self._followers.say(
                Step(
                    f"<iq type='set' id='subscribe' to='{jid}'><pubsub xmlns='{_PUBSUB}'>"
                    f"<subscribe node='{self._node}' jid='{{jid}}'/></pubsub></iq>",
                    until=rb"subscription=['\"]subscribed",
                )
            )
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """With the node its subscriptions go."""
        delete = f"<pubsub xmlns='{_PUBSUB}#owner'><delete node='{self._node}'/></pubsub>"
        step = _asks(self._author.jid, "delete", delete)
        await self._author.undoes(step, f"the node {self._node} of {self._author.jid}")

    @property
    def pid(self) -> int | None:
        """It is the server itself."""
        return None

    def sends(self, text: str) -> None:
        """Publish it."""
        author = self._author
        author.sends(
            f"<iq type='set' id='publish-{next(self._ids)}' to='{author.jid}'>"
            f"<pubsub xmlns='{_PUBSUB}'><publish node='{self._node}'><item>"
            f"<entry xmlns='{_ATOM}'><title>{escape(text)}</title></entry>"
            "</item></publish></pubsub></iq>"
        )


class Relay:
    """This program, on a database of its own that is removed."""

    name: ClassVar[str] = "the relay"
    short: ClassVar[str] = "relay"

    def __init__(self, author: Author, followers: Followers, process: "RelayOfBench") -> None:
        self._author, self._followers, self._process = author, followers, process
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Self:
        home = self._process.home
        await self._process.knows(self._followers.jids)
        try:
            # Who says that he follows is asked to let it be seen whether he is there (S5.5).
            await self._followers.say(
                Step(
                    f"<message to='{home}' type='chat'><body>follow {_HANDLE}</body></message>",
                    until=rb"<presence [^>]*type=['\"]subscribe['\"]",
                    answer=f"<presence to='{home}' type='subscribed'/>",
                )
            )
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        home = self._process.home
        await self._followers.undoes(leaves_roster(home), f"{home} among the contacts")

    @property
    def pid(self) -> int | None:
        """Of its process."""
        return self._process.pid

    def sends(self, text: str) -> None:
        """Post it."""
        self._author.chats(self._process.home, text, f"post-{next(self._ids)}")


class RelayOfBench:
    """The process of a relay, in a temporary folder; the author has joined there.

    `xmpp` are more options of that table of its configuration.
    """

    def __init__(
        self, place: ComponentPlace, author: Author, xmpp: Mapping[str, object] | None = None
    ) -> None:
        self.home = f"home@{place.component_domain}"
        self._author = author
        self._folder = tempfile.TemporaryDirectory(prefix="xmpprelay-bench-")
        self._process = RelayProcess(Path(self._folder.name), place, NO_LIMITS, xmpp=xmpp)

    async def __aenter__(self) -> Self:
        """It runs. XmppRelayError with what it says itself, if it ends."""
        try:
            await self._process.start()
            await self._author.says(
                Step(
                    f"<message to='{self.home}' type='chat' id='join'>"
                    f"<body>join {_HANDLE}</body></message>",
                    until=f"Welcome, @{_HANDLE}".encode(),
                )
            )
        except RelayFailed as error:
            told = _SAID.findall(self._process.log_tail())
            self._folder.cleanup()
            raise XmppRelayError(told[-1]) if told else error from None
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            forgets = leaves_roster(self.home)
            await self._author.undoes(forgets, f"{self.home} among the contacts of the author")
        finally:
            await self._process.stop()
            self._folder.cleanup()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    async def knows(self, jids: Sequence[str]) -> None:
        """All of them follow the author."""
        table = Path(self._folder.name) / "people.csv"
        rows = "".join(f"{jid},,{_HANDLE}\n" for jid in jids)
        table.write_text(f"jid,handle,follows\n{rows}")
        await self._process.command("people", "import", str(table))


def _asks(to: str, id: str, payload: str) -> Step:
    return Step(
        f"<iq type='set' id='{id}' to='{to}'>{payload}</iq>",
        until=rf"<iq (?=[^>]*type=['\"]result)(?=[^>]*id=['\"]{id})[^>]*>".encode(),
        fails=rf"<iq (?=[^>]*type=['\"]error)(?=[^>]*id=['\"]{id})[^>]*>.*</iq>".encode(),
    )
