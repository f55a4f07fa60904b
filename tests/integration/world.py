"""The relay on a private server, with people around it.

A test asks for `world` and says who is there:

    alice, bob = await world.people("alice", "bob")

Accounts are new for each test, the database is too; the server is shared by all tests that do not
harm it. That server is a town (`tests/servers/towns.py`): it has two more domains, `far.test` and
`odd.test`, whose stanzas a test writes itself (`FarServer`).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from xml.etree.ElementTree import Element

from tests.integration.clients import FarServer, Person, Stanza, no_certificates
from tests.servers import XmppServer, new_account
from tests.servers.towns import FAR, FAR_SECRET, ODD, Town
from xmpprelay.config import Config, Limits, Secret, Store, Xmpp
from xmpprelay.core.recipients import State
from xmpprelay.service import Service
from xmpprelay.xmpp.component import (
    ANSWER_WITHIN_S,
    IDLE_PING_S,
    RETRY_WITHIN_S,
    Component,
)

UNTIL_S: Final = 30.0
"""What is waited for inside of the relay comes at once, or after a time-out of some seconds."""

NO_LIMITS: Final = Limits(posts_per_second=1000.0, burst=10_000, posts_per_hour=3_600_000)
"""For tests that are not about limits."""


def config_for(server: XmppServer, folder: Path, **tables: Any) -> Config:
    """The configuration of a relay on a server, with its database in a folder."""
    xmpp = Xmpp(
        domain=server.component_domain,
        secret=Secret(server.component_secret),
        host=server.host,
        port=server.component_port,
    )
    store = Store(url=f"sqlite:///{folder}/relay.db")
    return Config(xmpp=xmpp, store=store, limits=tables.pop("limits", NO_LIMITS), **tables)


class Clock:
    """A clock that goes as the real one does, and further when a test says so."""

    def __init__(self) -> None:
        self.ahead = timedelta()

        self._slept_s = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self._slept_s

    def passes(self, **span: float) -> None:
        """So much time passes: minutes=6, days=1."""
        self.ahead += timedelta(**span)
        self._slept_s += timedelta(**span).total_seconds()

    def jumps(self, **span: float) -> None:
        """Somebody sets the clock, forward or back; no time passes."""
        self.ahead += timedelta(**span)


class World:
    """A server, the relay on it, and people. As a context manager it starts and ends them."""

    def __init__(self, server: Town, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.clock = Clock()
        self.config = config_for(server, folder)
        self.streams = 0  # how often the relay has had a stream
        self.presences: list[Stanza] = []  # what it has been told of anybody's, in order
        self.idle_ping_s, self.answer_within_s = IDLE_PING_S, ANSWER_WITHIN_S
        self.retry_within_s = RETRY_WITHIN_S
        self._service: Service | None = None
        self._people: list[Person] = []
        self._ending = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for person in self._people:
                await person.drops()
            await self._ending.aclose()
        finally:
            if self._service is not None:
                await self.stops()

    # The relay

    @property
    def service(self) -> Service:
        assert self._service is not None, "the relay does not run"
        return self._service

    async def starts(self, **tables: Any) -> Service:
        """Start the relay, with these tables of the configuration in place of the usual ones."""
        self.config = replace(self.config, **tables)
        with no_certificates():
            self._service = await Service.open(
                self.config, now=self.clock.now, monotonic=self.clock.monotonic
            )
        self._listens_to(self._service.component)
        self._service.component.idle_ping_s = self.idle_ping_s
        self._service.component.answer_within_s = self.answer_within_s
        self._service.component.retry_within_s = self.retry_within_s
        await self._service.start()
        return self._service

    def uses_multicast(self) -> None:
        """Let the relay use such a service of the server's, if there is one."""
        self.config = replace(self.config, xmpp=replace(self.config.xmpp, multicast=True))

    def _listens_to(self, component: Component) -> None:
        came_up, take_presence = component.came_up, component.take_presence

        def counted() -> None:
            self.streams += 1
            came_up()

        def heard(presence: Element) -> None:
            self.presences.append(Stanza(presence))
            take_presence(presence)

        component.came_up, component.take_presence = counted, heard

    async def stops(self) -> None:
        service, self._service = self.service, None
        await service.stop()
        assert not any(service.failures().values()), service.failures()

    async def restarts(self) -> None:
        """Stop the relay in an orderly way, and start it again on the same database."""
        await self.stops()
        await self.starts()

    # People

    async def person(self, name: str, **options: Any) -> Person:
        """Somebody with an account of his own, not logged in yet."""
        account = await new_account(self.server, name)
        person = Person(account, self.server.component_domain, **options)
        self._people.append(person)
        return person

    async def people(self, *names: str) -> Sequence[Person]:
        """People who are logged in. The relay is started if it does not run."""
        if self._service is None:
            await self.starts()
        everybody = await asyncio.gather(*(self.person(name) for name in names))
        await asyncio.gather(*(person.comes() for person in everybody))
        return everybody

    async def authors(self, *names: str) -> Sequence[Person]:
        """People who are logged in, and have joined under these names."""
        everybody = await self.people(*names)
        await asyncio.gather(
            *(person.joins(name) for person, name in zip(everybody, names, strict=True))
        )
        return everybody

    async def far(self, domain: str = FAR) -> FarServer:
        """The server of another domain."""
        server = FarServer(
            domain,
            FAR_SECRET,
            self.server.host,
            self.server.component_port,
            self.server.component_domain,
        )
        return await self._ending.enter_async_context(server)

    # What the relay knows

    def person_id(self, person: Person | str) -> int:
        known = self.service.graph.by_jid(person if isinstance(person, str) else person.jid)
        assert known is not None, f"the relay does not know {person}"
        return known.id

    async def settled(self) -> None:
        """Return when all that was written is confirmed and stored: a fault repeats none of it."""
        await self.until(lambda: not self.service.delivery.in_flight())
        await self.service.outbox.settled()

    async def until(self, so: Callable[[], bool]) -> None:
        """Return when something inside of the relay is so, of which it tells nobody."""
        async with asyncio.timeout(UNTIL_S):
            while not so():  # noqa: ASYNC110 - looked at in each turn of the loop
                await asyncio.sleep(0)

    async def live(self, *people: Person) -> None:
        """Return when these people are known to be there, and have had all that they missed."""
        ids = [self.person_id(person) for person in people]
        states = self.service.delivery.state_of
        await self.until(lambda: all(states(each) is State.LIVE for each in ids))

    async def away(self, *people: Person) -> None:
        """Return when the relay knows that these people have left."""
        ids = [self.person_id(person) for person in people]
        states = self.service.delivery.state_of
        await self.until(lambda: all(states(each) is State.AWAY for each in ids))


__all__ = ["FAR", "FAR_SECRET", "NO_LIMITS", "ODD", "Clock", "World", "config_for"]
