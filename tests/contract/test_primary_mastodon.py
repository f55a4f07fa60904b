"""The driver for servers with Mastodon's API, on the scripted primary behind a socket."""

from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from tests.contract.primary_suite import Break, Seen
from tests.contract.status_suite import StatusSuite
from tests.primaries import faults
from tests.primaries.clock import Clock
from tests.primaries.faults import Fault, How, Op
from tests.primaries.profiles import PROFILES, Profile
from tests.primaries.server import Server
from tests.primaries.twin import caps_of
from tests.primaries.world import World
from xmpprelay.primary.http import Http
from xmpprelay.primary.mastodon.driver import Mastodon

WRITES = (Op.INSERT, Op.EDIT, Op.DELETE)
WAY = {Break.LOST: faults.RESET, Break.UNHEARD: faults.RESET_DONE}

TOTAL_S = 5.0
BRIEFLY_S = 0.1
"""For requests that are to hang; the others may take as long as a busy machine needs."""


class MastodonBench:
    """A driver, and a server for it."""

    def __init__(self, server: Server, clock: Clock) -> None:
        self.clock = clock
        self.world = server.world
        self.caps = caps_of(server.world.profile)
        self.account = self.world.join("alice", 1)
        self.secret = self.account.token
        self.http = Http([server.site], now=clock.utc, total_s=TOTAL_S)
        self.primary = Mastodon(self.http, [server.site])
        self._server = server

    def utc(self) -> datetime:
        return self.clock.utc()

    async def stored(self) -> list[Seen]:
        return [
            Seen(each.text, each.visibility, each.parent, each.language)
            for each in self.world.stored(self.account)
        ]

    async def meet(self, *what: Fault, op: Op = Op.INSERT) -> None:
        hangs = any(each.how in (How.HANG, How.SLOW) for each in what)
        self.http.total_s = BRIEFLY_S if hangs else TOTAL_S
        self.world.script.then(*what, op=op)

    async def break_way(self, how: Break) -> None:
        if how is Break.REFUSED:
            await self._server.refuse()
        else:
            for op in WRITES:
                self.world.script.then(WAY[how], op=op)

    async def mend(self) -> None:
        self.world.script.mend()
        await self._server.listen()


@pytest.fixture(params=PROFILES, ids=lambda profile: profile.software)
def profile(request: pytest.FixtureRequest) -> Profile:
    return request.param


class TestMastodon(StatusSuite):
    @pytest.fixture
    async def bench(self, profile: Profile) -> AsyncIterator[MastodonBench]:
        clock = Clock()
        async with Server(World(profile, clock.now)) as server:
            bench = MastodonBench(server, clock)
            yield bench
            await bench.primary.aclose()
