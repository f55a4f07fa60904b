"""A domain full of followers, of which a test decides whether it answers, and when.

It is a component of the relay's server that speaks for everybody below its name. When it leaves,
that server answers in its place that the domain cannot be reached, as it does for any domain.
"""

import asyncio
from collections.abc import Collection, Sequence

from tests.integration.clients import FarServer, Stanza
from tests.integration.world import FAR_SECRET, World


class Crowd(FarServer):
    """A domain whose `people` follow alice; `there` are those who answer a probe.

    With `pings` set, pings are answered at once; else by `confirm`, one by one. `had` has the posts
    of each, in order.
    """

    def __init__(
        self, world: World, domain: str, people: Sequence[str], there: Collection[str]
    ) -> None:
        server = world.server
        super().__init__(
            domain, FAR_SECRET, server.host, server.component_port, server.component_domain
        )
        self.had: dict[str, list[str]] = {}
        self.probes = 0
        self.unconfirmed = 0  # posts that no answered ping was behind
        self.most_unconfirmed = 0
        self._world = world
        self._people = people
        self._there = frozenset(there)
        self._asked: list[tuple[Stanza, int]] = []  # pings, each with the posts just before it
        self._behind = 0  # posts since the last ping
        self._more = asyncio.Event()

    async def follow(self) -> None:
        """Everybody follows alice, is online, and lets the relay see it."""
        rows = [(jid, None, ("alice",)) for jid in self._people]
        await self._world.service.people.add_all(rows, lambda _: None)
        for jid in self._people:
            self.sends(
                f"<presence from='{jid}/phone' to='{self.home}'/>"
                f"<presence from='{jid}' to='{self.home}' type='subscribed'/>"
            )
        self.sends(
            f"<message from='{self._people[0]}' to='{self.home}'><body>ping</body></message>"
        )
        await self.gets(body="pong")

    def _arrived(self, stanza: Stanza) -> None:
        if stanza.post_id is not None:
            self._delivered(stanza)
        elif stanza.type == "probe":
            self.probes += 1
            if stanza.to in self._there:
                self.sends(f"<presence from='{stanza.to}/phone' to='{stanza.sender}'/>")
        elif stanza.kind == "iq" and stanza.type == "get":
            self._asked.append((stanza, self._behind))
            self._behind = 0
            if self.pings:
                self._answer()
        else:
            super()._arrived(stanza)
        self._more.set()

    def _delivered(self, stanza: Stanza) -> None:
        self.had.setdefault(stanza.to, []).append((stanza.body or "").partition("  #")[0])
        self._behind += 1
        self.unconfirmed += 1
        self.most_unconfirmed = max(self.most_unconfirmed, self.unconfirmed)

    def _answer(self) -> None:
        ping, posts = self._asked.pop(0)
        self.unconfirmed -= posts
        self.sends(f"<iq from='{self.domain}' to='{ping.sender}' id='{ping.id}' type='result'/>")

    async def confirm(self) -> None:
        """Answer the oldest ping, arrived or to come."""
        async with asyncio.timeout(30):
            while not self._asked:
                self._more.clear()
                await self._more.wait()
        self._answer()

    def confirm_all(self) -> None:
        """Answer all pings, from now on at once."""
        self.pings = True
        while self._asked:
            self._answer()

    async def have(self, posts: int) -> None:
        """Return when all who are there have so many posts, all in all."""
        while sum(map(len, self.had.values())) < posts * len(self._there):
            self._more.clear()
            await self._more.wait()

    def check(self, texts: Sequence[str]) -> None:
        """Everybody who is there has had these posts of alice, in order, once; nobody else any."""
        assert self.had.keys() == self._there
        for jid, had in self.had.items():
            assert had == [f"alice: {text}" for text in texts], jid


def crowd(size: int, domain: str) -> Sequence[str]:
    """So many addresses there."""
    return [f"f{n}@{domain}" for n in range(size)]
