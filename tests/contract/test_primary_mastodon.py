"""The driver for servers with Mastodon's API, on the scripted primary behind a socket."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime

import pytest

from tests.contract.primary_suite import Break, Seen, attempt, ids, status
from tests.contract.status_suite import StatusSuite
from tests.primaries import faults
from tests.primaries.clock import Clock
from tests.primaries.faults import Fault, How, Op
from tests.primaries.profiles import PROFILES, Profile
from tests.primaries.server import Server
from tests.primaries.twin import caps_of
from tests.primaries.world import World
from xmpprelay.core.primary import LookFailed, Outcome, Reach, Scope
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

    async def test_what_is_dropped_as_spam_is_found_out_by_reading_it_back(
        self, bench: MastodonBench
    ) -> None:
        careful = Mastodon(bench.http, [bench.account.site], read_back=True)
        await bench.meet(faults.FINE, faults.ANTISPAM)
        results = [
            await careful.insert(bench.account, status(bench, text), text) for text in ("a", "b")
        ]
        assert [each.outcome for each in results] == [Outcome.INSERTED, Outcome.REJECTED]
        assert results[1].reason == "accepted_but_dropped"
        assert [each.text for each in await bench.stored()] == ["a"]

    async def test_an_instance_that_is_not_listed_any_more_gets_nothing(
        self, bench: MastodonBench
    ) -> None:
        moved = replace(bench.account, site="https://elsewhere.example")
        new = status(bench, "hello?")
        results = [
            await bench.primary.insert(moved, new, "key"),
            await bench.primary.edit(moved, "1", new, "edit"),
            await bench.primary.delete(moved, "1"),
        ]
        look = await bench.primary.reconcile(moved, attempt(bench, new))
        assert isinstance(look, LookFailed)
        for result in (*results, look.result):
            assert (result.outcome, result.scope) == (Outcome.AUTH, Scope.ACCOUNT)
            assert "link another" in result.detail
        assert (await bench.primary.probe(moved)).reach is Reach.AUTH

    async def test_an_account_without_an_id_or_a_site_is_the_one_of_the_token(
        self, bench: MastodonBench
    ) -> None:
        account = replace(bench.account, site="", remote_id="")
        sent = status(bench, "tea")
        made = await bench.primary.insert(account, sent, "key")
        assert ids(await bench.primary.reconcile(account, attempt(bench, sent))) == [made.remote_id]
