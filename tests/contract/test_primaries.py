"""The scripted primary without sockets passes the suite of the driver with sockets.

What the engine's chaos shows on the twin is true only as far as the twin does what the driver does
(`test_primary_mastodon.py`), for each kind of server.
"""

from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from tests.contract.primary_suite import Break, Seen, status
from tests.contract.status_suite import StatusSuite
from tests.primaries import faults
from tests.primaries.clock import START, Clock
from tests.primaries.faults import Fault, Op
from tests.primaries.profiles import PROFILES, Profile
from tests.primaries.twin import Twin, caps_of
from tests.primaries.world import World
from xmpprelay.core.primary import Outcome

WRITES = (Op.INSERT, Op.EDIT, Op.DELETE)
WAY = {Break.LOST: faults.RESET, Break.UNHEARD: faults.RESET_DONE}


@pytest.fixture(params=PROFILES, ids=lambda profile: profile.software)
def profile(request: pytest.FixtureRequest) -> Profile:
    return request.param


class TwinBench:
    """The world, and its twin."""

    def __init__(self, profile: Profile) -> None:
        self.clock = Clock()
        self.world = World(profile, self.clock.now)
        self.caps = caps_of(profile)
        self.account = self.world.join("alice", 1)
        self.secret = self.account.token
        self.primary = Twin(self.world, sleep=self.clock.sleep)

    def utc(self) -> datetime:
        return self.clock.utc()

    async def stored(self) -> list[Seen]:
        return [
            Seen(each.text, each.visibility, each.parent, each.language)
            for each in self.world.stored(self.account)
        ]

    async def meet(self, *what: Fault, op: Op = Op.INSERT) -> None:
        self.world.script.then(*what, op=op)

    async def break_way(self, how: Break) -> None:
        if how is Break.REFUSED:
            self.world.script.outage(faults.REFUSE, start=START, end=float("inf"))
        else:
            for op in WRITES:
                self.world.script.then(WAY[how], op=op)

    async def mend(self) -> None:
        self.world.script.mend()


class TestTwin(StatusSuite):
    @pytest.fixture
    async def bench(self, profile: Profile) -> AsyncIterator[TwinBench]:
        bench = TwinBench(profile)
        yield bench
        await bench.primary.aclose()

    async def test_what_is_dropped_as_spam_is_found_out_by_reading_it_back(
        self, bench: TwinBench
    ) -> None:
        careful = Twin(bench.world, sleep=bench.clock.sleep, read_back=True)
        await bench.meet(faults.FINE, faults.ANTISPAM)
        results = [
            await careful.insert(bench.account, status(bench, text), text) for text in ("a", "b")
        ]
        assert [each.outcome for each in results] == [Outcome.INSERTED, Outcome.REJECTED]
        assert results[1].reason == "accepted_but_dropped"
        assert careful.asked[Op.SHOW] == 2
