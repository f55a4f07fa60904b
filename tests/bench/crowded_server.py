"""`crowded.py` on a real server: who follows the one author is really logged in, so are all others.

The followers of the others are in this process, with slixmpp; their times are taken when a stanza
has been parsed.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from tests.bench.crowded import OTHERS, WITHIN_S, Plan
from tests.bench.rivals import clients_of, followers_of
from tests.integration.clients import Person
from tests.servers import new_account
from tests.servers.ejabberd import Ejabberd
from xmpprelay.bench.author import Author
from xmpprelay.bench.dialogues import Login
from xmpprelay.bench.followers import Followers, Posts, allow_connections
from xmpprelay.bench.tally import text_of
from xmpprelay.bench.ways import Relay, RelayOfBench
from xmpprelay.quickstart.private_server import PrivateServer
from xmpprelay.quickstart.prosody import Prosody


@asynccontextmanager
async def on_server(plan: Plan) -> AsyncIterator["OnServer"]:
    """All of them, on a private server."""
    allow_connections(plan.followers)
    async with AsyncExitStack() as ending:
        have = ending.enter_async_context
        server: PrivateServer = await have(Prosody() if plan.server == "prosody" else Ejabberd())
        followers = await have(followers_of(server, plan.followers))
        account = await new_account(server, "author")
        author = await have(Author(clients_of(server), Login(account.jid, account.password)))
        process = await have(RelayOfBench(server, author))
        relay = await have(Relay(author, followers, process))
        others = []
        for number, count in enumerate(OTHERS):
            people = [
                Person(await new_account(server, f"other{number}"), server.component_domain)
                for _ in range(1 + count)
            ]
            for person in people:
                await person.comes()
                ending.push_async_callback(person.drops)
            await people[0].joins(f"other{number}")
            for person in people[1:]:
                await person.says(f"follow other{number}")
                await person.fence()  # his consent to be seen is there
            others.append(people)
        yield OnServer(plan, followers, process, relay, others)


class OnServer:
    """See `crowded.Place`."""

    def __init__(
        self,
        plan: Plan,
        followers: Followers,
        process: RelayOfBench,
        relay: Relay,
        others: Sequence[Sequence[Person]],
    ) -> None:
        self._plan = plan
        self._followers = followers
        self._process = process
        self._relay = relay
        self._others = others
        self._under_way: deque[Posts] = deque()
        self._directs = 0
        self.deliveries = 0  # of posts that have come to everybody

    @property
    def relay_pid(self) -> int:
        return self._process.pid

    async def floods(self) -> None:
        while True:
            posts = await self._followers.expect(1)
            self._under_way.append(posts)
            self._relay.sends(posts.text(0))
            if len(self._under_way) >= self._plan.ahead:
                await self._oldest_comes()

    async def is_through(self) -> None:
        while self._under_way:
            await self._oldest_comes()

    async def _oldest_comes(self) -> None:
        await self._under_way[0].there(0, WITHIN_S)
        self._under_way.popleft()
        self.deliveries += self._plan.followers

    async def one(self, author: int, post: int) -> float:
        who, *people = self._others[author]
        text, began = text_of(author, post), time.perf_counter()
        who.sends(text)
        mark = text.partition(" and")[0]
        await asyncio.gather(
            *(person.gets(lambda stanza: mark in (stanza.body or "")) for person in people)
        )
        ended = time.perf_counter()
        who.mail.forget()  # each `ok`
        return 1000 * (ended - began)

    async def direct(self) -> float | None:
        (sender, *_), (_, reader, *_) = self._others[0], self._others[1]
        self._directs += 1
        text, began = f"direct {self._directs}.", time.perf_counter()
        sender.sends(text, to=reader.jid)
        await reader.gets(body=text)
        return 1000 * (time.perf_counter() - began)

    async def wrong(self) -> int:
        account = await self._followers.account()
        doubled = sum(
            len(person.posts()) - len(set(person.posts()))
            for _, *people in self._others
            for person in people
        )
        return account.lost + account.doubled + doubled
