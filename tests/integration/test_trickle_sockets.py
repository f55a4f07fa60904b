"""The trickle and its driver against a scripted primary on real sockets, in real time.

The runs of tests/properties/test_trickle.py, with the Mastodon driver in the place of the twin. The
settle time is 50 ms, and everything that is late is so by less. An operator asks for probes, since
nobody wants to wait for minutes here.
"""

import asyncio
from dataclasses import replace

import pytest

from tests.primaries.faults import UNCLEAR, Op
from tests.primaries.server import Server
from tests.properties.trickle.life import Books, Life, Plan
from xmpprelay.core.primary import Account
from xmpprelay.errors import StoreError
from xmpprelay.primary.base import Primary
from xmpprelay.primary.http import Http
from xmpprelay.primary.mastodon.driver import Mastodon

TOTAL_S = 0.5
PROBED_EVERY_S = 0.05


class OnSockets(Life):
    """One run."""

    def _driver(self) -> Primary:
        site = self.world.site
        self.http = Http([site], total_s=TOTAL_S)
        return Mastodon(self.http, [site])

    async def lives_there(self) -> Books:
        async with Server(self.world) as server:
            site = server.site
            self.people.accounts = {
                person: _moved(account, site) for person, account in self.people.accounts.items()
            }
            self.primary = self._driver()
            self.relay = self._relay()
            asking = asyncio.create_task(self._asks())
            try:
                return await self.lives()
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                await self.primary.aclose()

    async def _asks(self) -> None:
        while True:
            await asyncio.sleep(PROBED_EVERY_S)
            health = self.relay.place.site.health
            if health.probe_at is not None and not self._dead.is_set():
                try:
                    await self.relay.standby.probe_now(self.world.site)
                except StoreError:
                    continue


def _moved(account: Account, site: str) -> Account:
    host = site.partition("://")[2]
    return replace(account, site=site, name=f"{account.name.partition('@')[0]}@{host}")


SEEDS = (0, 1, 6)
"""Some that need less than a minute: what a server asks to be left alone for is real time here."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.timeout(300)
async def test_each_post_is_inserted_once_and_in_order(seed: int) -> None:
    plan = Plan(
        seed, posts=25, kills=2, outages=0, faults=UNCLEAR, ops=frozenset({Op.INSERT}),
        scale=0.01, late_s=0.04, settle_s=0.05,
    )  # fmt: skip
    books = await OnSockets(plan).lives_there()
    assert not books.bad, "\n".join(books.bad[:10])
    assert books.inserted > 12
    assert books.faults.total() > 0  # how many depends on how the times of the machine fall
