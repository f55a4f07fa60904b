"""The relay on the first of two servers that are federated, with people on both.

async with Federation(Prosody, Ejabberd) as both, Neighbours(both, tmp_path) as world:
    [alice] = await world.authors("alice")  # alice-1@example.test
    [bob] = await world.abroad("bob")  # bob-2@elsewhere.test
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from tests.integration.clients import Person
from tests.integration.world import World
from tests.servers import new_account
from tests.servers.ejabberd import Ejabberd
from tests.servers.federation import Federation
from xmpprelay.core.model import Draft
from xmpprelay.service import Service


class Neighbours(World):
    """The relay on the first server, and people on both."""

    def __init__(self, both: Federation, folder: Path) -> None:
        super().__init__(both.first, folder)
        self.both = both
        self.errors: Counter[str] = Counter()  # kind -> how many came back from elsewhere

    async def starts(self, **tables: Any) -> Service:
        """Start the relay, which does not collect for a second what goes to the other domain."""
        service = await super().starts(**tables)
        service.outbox.collect_s = 0.02
        return service

    async def abroad(self, *names: str) -> Sequence[Person]:
        """People on the second server, who are logged in."""
        relay = self.both.first.component_domain
        people = [Person(await new_account(self.both.second, name), relay) for name in names]
        self._people += people
        await asyncio.gather(*(person.comes() for person in people))
        return people

    async def until(self, so: Callable[[], bool]) -> None:
        """The same, without keeping the two servers from what is waited for."""
        async with asyncio.timeout(60):
            while not so():  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.002)

    async def crash(self) -> None:
        """Kill the second server; what it was given before is not lost."""
        if isinstance(self.both.second, Ejabberd):
            await self.both.second.flush()
        await self.both.second.kill()

    def counts_errors(self) -> None:
        """Count from now on what comes back from the other domain."""
        component, domain = self.service.component, self.both.second.domain
        take = component._spawn_event

        def counted(xml: Element) -> None:
            if xml.get("type") == "error" and xml.get("from", "").endswith(domain):
                self.errors[xml.tag.rpartition("}")[2]] += 1
            take(xml)

        component._spawn_event = counted  # type: ignore[method-assign]

    async def takes(self, author: Person, texts: Sequence[str]) -> None:
        """Posts that are there without anybody's server."""
        for text in texts:
            await self.service.relay.accept(Draft(author.jid, text, None, None, None))
