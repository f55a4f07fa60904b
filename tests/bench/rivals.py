"""What a private server's followers are measured with: accounts for them, and the ways to them.

The server's own pubsub and the relay are those of `xmpprelay bench`. Beside them stands a component
that calls slixmpp's `send_message()` for each follower (`plain.py`).
"""

import asyncio
import contextlib
import multiprocessing
from collections.abc import AsyncIterator, Sequence
from typing import Final, Self

from tests.bench import plain
from tests.servers import new_account
from tests.servers.ejabberd import Ejabberd
from xmpprelay.bench.author import Author
from xmpprelay.bench.dialogues import Login, Tls, Where
from xmpprelay.bench.followers import Followers
from xmpprelay.bench.ways import OwnPubsub, Relay, RelayOfBench, Way
from xmpprelay.errors import StreamError
from xmpprelay.quickstart.private_server import PrivateServer
from xmpprelay.quickstart.prosody import Prosody

PLAIN_DOMAIN: Final = "plain.test"
PLAIN_SECRET: Final = "plain"
PASSWORD: Final = "secret"
NAMES: Final = {way.short: way.name for way in (OwnPubsub, Relay)} | {
    "plain": "send_message() to each"
}

_LOGS_IN_WITHIN_S: Final = 30.0
_ACCOUNTS_AT_ONCE: Final = 500
"""That ejabberd makes in one go, which takes it a moment."""


def clients_of(server: PrivateServer) -> Where:
    """Where its clients connect to; no private server has TLS."""
    return Where(server.host, server.c2s_port, Tls.NONE)


@contextlib.asynccontextmanager
async def followers_of(server: PrivateServer, count: int) -> AsyncIterator[Followers]:
    """So many people of a private server, who are there."""
    names = [f"f{number}" for number in range(count)]
    await make_accounts(server, names)
    logins = [Login(f"{name}@{server.domain}", PASSWORD) for name in names]
    async with Followers(clients_of(server), logins, server=server.name) as followers:
        yield followers


@contextlib.asynccontextmanager
async def ways_of(server: PrivateServer, followers: Followers) -> AsyncIterator[list[Way]]:
    """All three, ready to be measured; the first is what the others are compared with."""
    account = await new_account(server, "author")
    async with contextlib.AsyncExitStack() as ending:
        have = ending.enter_async_context
        author = await have(Author(clients_of(server), Login(account.jid, account.password)))
        copies = isinstance(server, Ejabberd) and server.multicast
        process = await have(RelayOfBench(server, author, {"multicast": copies}))
        yield [
            await have(OwnPubsub(author, followers)),
            await have(PlainComponent(server, author, followers)),
            await have(Relay(author, followers, process)),
        ]


class PlainComponent:
    """`send_message()` to each."""

    name = NAMES["plain"]
    short = "plain"

    def __init__(self, server: PrivateServer, author: Author, followers: Followers) -> None:
        self._server, self._author = server, author
        context = multiprocessing.get_context("spawn")  # this process has a loop that runs
        self._pipe, theirs = context.Pipe()
        place = (PLAIN_DOMAIN, PLAIN_SECRET, server.host, server.component_port, followers.jids)
        self._process = context.Process(target=plain.live, args=(theirs, *place), daemon=True)

    async def __aenter__(self) -> Self:
        self._process.start()
        if not await asyncio.to_thread(self._pipe.poll, _LOGS_IN_WITHIN_S):
            raise StreamError(f"{self._server.name} does not let {PLAIN_DOMAIN} log in.")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await asyncio.to_thread(self._process.join)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def sends(self, text: str) -> None:
        self._author.chats(PLAIN_DOMAIN, text, "plain")


async def make_accounts(server: PrivateServer, names: Sequence[str]) -> None:
    """Accounts for all of them, by the quickest way that the server has."""
    if isinstance(server, Prosody):
        await server.add_user(names[0], PASSWORD)
        (first,) = server.folder.glob(f"data/*/accounts/{names[0]}.dat")
        for name in names[1:]:  # `prosodyctl` would be a process each
            path = first.with_name(f"{name}.dat")
            path.write_text(f'return {{\n\t["password"] = "{PASSWORD}";\n}};\n')
            path.chmod(0o644)  # it is another user's, where this one is root
    elif isinstance(server, Ejabberd):
        for at in range(0, len(names), _ACCOUNTS_AT_ONCE):
            some = ",".join(f'<<"{name}">>' for name in names[at : at + _ACCOUNTS_AT_ONCE])
            made = f'ejabberd_auth:try_register(Name, <<"{server.domain}">>, <<"{PASSWORD}">>)'
            await server.ask(f"[ok = {made} || Name <- [{some}]], ok.")
    else:
        raise TypeError(f"nobody knows how accounts are made on {server.name}")
