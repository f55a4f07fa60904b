"""What is needed to see a setting of the server's at work, and how it is told: a `Row`.

A private server with followers who are really logged in, the relay as a process, an author whom all
follow, and maybe one more. The relay finds the server behind a tunnel, where one is given.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final, Self

from tests.bench.rivals import clients_of, followers_of
from tests.bench.tunnel import Tunnel
from tests.servers import new_account
from tests.servers.ejabberd import Ejabberd
from xmpprelay.bench.author import Author
from xmpprelay.bench.dialogues import Login, Step
from xmpprelay.bench.followers import Followers, Posts
from xmpprelay.bench.ways import Relay, RelayOfBench
from xmpprelay.quickstart.private_server import PrivateServer

SHAPERS: Final = {"normal": {"rate": 3_000, "burst_size": 20_000}, "fast": 200_000}
"""Debian's, in bytes a second; `normal` is that of clients."""

FEW: Final = 3
"""Followers, where it is not about how many they are."""

EVERY_S: Final = 0.5
"""Between two posts, where they are to go on while something else happens."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one value of a setting does; `found` has the figures of the sentence."""

    server: str
    setting: str
    value: str
    effect: str
    found: Mapping[str, float | None]


class Configured(Ejabberd):
    """An ejabberd with more options of its listeners."""

    def __init__(
        self,
        *,
        clients: Mapping[str, Any] | None = None,
        components: Mapping[str, Any] | None = None,
    ) -> None:
        rules = {"c2s_shaper": "normal"}
        super().__init__(extra_config={"shaper": SHAPERS, "shaper_rules": rules})
        self._of_clients, self._of_components = clients or {}, components or {}

    def _listeners(self) -> Sequence[Mapping[str, Any]]:
        clients, components = super()._listeners()
        return {**clients, **self._of_clients}, {**components, **self._of_components}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server's component is, by another port."""

    domain: str
    component_domain: str
    component_secret: str
    host: str
    component_port: int


class Watched(RelayOfBench):
    """A relay whose log is read."""

    def counts(self, event: str) -> int:
        """How often that has been."""
        return self._process.log.read_text().count(f" {event} ")


class Scene:
    """A server, its followers, the relay and an author whom all of them follow."""

    def __init__(self, server: PrivateServer, followers: int, tunnel: Tunnel | None = None) -> None:
        self.server = server
        self._count = followers
        self._tunnel = tunnel
        self._ending = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as self._ending:  # which ends what is there, if this fails
            have, server = self._ending.enter_async_context, self.server
            await have(server)
            self.followers: Followers = await have(followers_of(server, self._count))
            self.author = await self.somebody("author")
            port = server.component_port
            if self._tunnel is not None:
                self._tunnel.beyond = port
                port = (await have(self._tunnel)).port
            place = Place(
                server.domain, server.component_domain, server.component_secret, server.host, port
            )
            self.relay = await have(Watched(place, self.author))
            self.way = await have(Relay(self.author, self.followers, self.relay))
            self._ending = self._ending.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ending.aclose()

    async def somebody(self, name: str) -> Author:
        """Somebody more, who is there."""
        account = await new_account(self.server, name)
        login = Login(account.jid, account.password)
        return await self._ending.enter_async_context(Author(clients_of(self.server), login))

    async def other_author(self) -> Author:
        """One more whom all followers follow, besides the first."""
        other, home = await self.somebody("other"), self.relay.home
        await other.says(_asks(home, "join other", "Welcome"))
        await self.followers.say(_asks(home, "follow other", "You follow"))
        return other


def _asks(home: str, line: str, answer: str) -> Step:
    return Step(f"<message to='{home}' type='chat'><body>{line}</body></message>", answer.encode())


async def had_by_all(posts: Posts, number: int) -> float | None:
    """When everybody had had a post; None: somebody has not yet, which is not waited for."""
    try:
        return (await posts.there(number, within_s=0.001))[1]
    except TimeoutError:
        return None
