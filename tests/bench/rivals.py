"""The ways in which one text comes to many followers, all driven alike.

- The server's own pubsub: a node of the author's PEP (XEP-0163) to which each follower has
  subscribed. On both servers it is their quickest one: it runs inside them.
- A component that calls slixmpp's `send_message()` for each follower (`plain.py`).
- The relay, a process as an operator runs it, without limits; its followers let it see that they
  are there.

Each is a context manager that makes the followers its own. `sends` only writes the author's stanza:
an IQ to the server, a chat message to the other two.
"""

import asyncio
import multiprocessing
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final, Protocol, Self

from tests.bench import plain
from tests.bench.crowd import Step
from tests.bench.followers import Followers
from tests.bench.pubsub import NO_LIMITS
from tests.integration.clients import Person, new_id
from tests.integration.pubsub import MICROBLOG, entry, form, publish, pubsub, subscribe
from tests.servers import new_account
from xmpprelay.errors import StreamError
from xmpprelay.quickstart.private_server import PrivateServer
from xmpprelay.quickstart.relay_process import RelayProcess

PLAIN_DOMAIN: Final = "plain.test"
PLAIN_SECRET: Final = "plain"
_LOGS_IN_WITHIN_S: Final = 30.0


class Way(Protocol):
    """One way to all followers."""

    name: ClassVar[str]  # in the table
    short: ClassVar[str]  # in the JSON

    def __init__(self, server: PrivateServer, followers: Followers) -> None: ...
    @property
    def pid(self) -> int | None:
        """Of the process that does it; None: it is the server itself."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...
    def sends(self, text: str) -> None: ...


class OwnPubsub:
    """The server's own."""

    name = "the server's own pubsub"
    short = "own"
    pid = None

    def __init__(self, server: PrivateServer, followers: Followers) -> None:
        self._server, self._followers = server, followers

    async def __aenter__(self) -> Self:
        self._author = await _author(self._server, "publisher")
        config = form("http://jabber.org/protocol/pubsub#node_config", access_model="open")
        made = await self._author.asks(
            self._author.jid,
            pubsub(f"<create node='{MICROBLOG}'/><configure>{config}</configure>"),
            "set",
        )
        if made.type != "result":
            raise StreamError(f"{self._server.name} makes no node: {made}")
        subscribes = subscribe("{jid}")
        await self._followers.say(
            Step(
                f"<iq type='set' id='subscribe' to='{self._author.jid}'>{subscribes}</iq>",
                until=rb"subscription=['\"]subscribed",
            )
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._author.drops()

    def sends(self, text: str) -> None:
        author = self._author
        published = publish(entry(text))
        author.sends_raw(f"<iq type='set' id='{new_id()}' to='{author.jid}'>{published}</iq>")
        author.mail.forget()


class PlainComponent:
    """`send_message()` to each."""

    name = "send_message() to each"
    short = "plain"

    def __init__(self, server: PrivateServer, followers: Followers) -> None:
        self._server = server
        context = multiprocessing.get_context("spawn")  # this process has a loop that runs
        self._pipe, theirs = context.Pipe()
        place = (PLAIN_DOMAIN, PLAIN_SECRET, server.host, server.component_port, followers.jids)
        self._process = context.Process(target=plain.live, args=(theirs, *place), daemon=True)

    async def __aenter__(self) -> Self:
        self._author = await _author(self._server, "writer")
        self._process.start()
        if not await asyncio.to_thread(self._pipe.poll, _LOGS_IN_WITHIN_S):
            raise StreamError(f"{self._server.name} does not let {PLAIN_DOMAIN} log in.")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await asyncio.to_thread(self._process.join)
        await self._author.drops()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def sends(self, text: str) -> None:
        self._author.sends(text, to=PLAIN_DOMAIN)


class Relay:
    """This program."""

    name = "the relay"
    short = "relay"

    def __init__(self, server: PrivateServer, followers: Followers) -> None:
        self._server, self._followers = server, followers
        self._folder = tempfile.TemporaryDirectory(prefix="xmpprelay-bench-")
        self._process = RelayProcess(Path(self._folder.name), server, NO_LIMITS)

    async def __aenter__(self) -> Self:
        self._author = await _author(self._server, "columnist")
        await self._process.start()
        await self._author.joins("columnist")
        await self._imports(self._followers.jids)
        # Who says that he follows is asked to let it be seen whether he is there (S5.5).
        home = self._author.home
        await self._followers.say(
            Step(
                f"<message to='{home}' type='chat'><body>follow columnist</body></message>",
                until=rb"<presence [^>]*type=['\"]subscribe['\"]",
                answer=f"<presence to='{home}' type='subscribed'/>",
            )
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._author.drops()
        await self._process.stop()
        self._folder.cleanup()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def sends(self, text: str) -> None:
        self._author.sends(text)
        self._author.mail.forget()

    async def _imports(self, jids: Sequence[str]) -> None:
        table = Path(self._folder.name) / "people.csv"
        table.write_text("jid,handle,follows\n" + "".join(f"{jid},,columnist\n" for jid in jids))
        await self._process.command("people", "import", str(table))


WAYS: Final[tuple[type[Way], ...]] = (OwnPubsub, PlainComponent, Relay)
"""The first is what the others are compared with."""


async def _author(server: PrivateServer, name: str) -> Person:
    """Somebody who is there, with an account of his own."""
    person = Person(await new_account(server, name), server.component_domain)
    return await person.comes()
