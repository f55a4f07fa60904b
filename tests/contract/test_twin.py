"""The twin and the driver, asked the same by chance, answer the same, and ask for the same.

The suite compares them case by case; here are the cases that nobody thought of.
"""

from dataclasses import replace
from random import Random

import pytest

from tests.contract.primary_suite import attempt, status
from tests.primaries import faults
from tests.primaries.clock import Clock
from tests.primaries.faults import How, Op
from tests.primaries.profiles import PROFILES, Profile
from tests.primaries.server import Server
from tests.primaries.twin import Twin
from tests.primaries.world import World
from xmpprelay.core.primary import Found, Look, LookFailed, Result, Status, Visibility
from xmpprelay.primary.base import Primary
from xmpprelay.primary.http import Http
from xmpprelay.primary.mastodon.driver import Mastodon

SEED = 3
STEPS = 80
QUICK = [
    each
    for each in (*faults.CHAOS, *faults.REFUSALS, faults.REVOKED)
    if each.how not in (How.HANG, How.SLOW, How.REFUSE)
]
"""On a socket the others take their time, or break more than the one request."""

ASKED = frozenset({Op.INSERT, Op.EDIT, Op.DELETE, Op.LIST, Op.VERIFY})


class Side:
    """A driver and its world, and what was said of it."""

    def __init__(self, world: World, clock: Clock, primary: Primary, seed: int) -> None:
        self.world, self.clock, self.primary = world, clock, primary
        self.alice = world.join("alice", 1)
        self.rng = Random(seed)
        self.made: list[tuple[Status, str]] = []
        self.said: list[object] = []

    def utc(self) -> object:
        return self.clock.utc()

    async def go(self) -> None:
        """Some random days of an author."""
        await self.primary.probe(self.alice)
        self.world.script.at_random(Random(self.rng.random()), 0.4, QUICK, ASKED)
        for step in range(STEPS):
            self.clock.at += self.rng.choice((0.0, 1.0, 7.0, 700.0))  # `Date` has whole seconds
            self.said.append((step, await self.one()))

    async def one(self) -> object:
        rng, primary, alice = self.rng, self.primary, self.alice
        act = rng.random()
        if act < 0.25 and self.made:
            sent, remote_id = rng.choice(self.made)
            if act < 0.1:
                return plain(await primary.delete(alice, remote_id))
            edited = replace(sent, text=f"{sent.text}!")
            return plain(await primary.edit(alice, remote_id, edited, f"{rng.random()}"))
        new = replace(
            status(self, rng.choice(("ok", "tea?", f"{rng.random()}"))),  # type: ignore[arg-type]
            visibility=rng.choice(list(Visibility)),
            in_reply_to=rng.choice([None, None, *(each for _, each in self.made)]),
            language=rng.choice((None, "en", "tlh")),
            backdate=rng.random() < 0.1,
        )
        asked = attempt(self, new, rng.choice([None, *(each for _, each in self.made)]))  # type: ignore[arg-type]
        result = await primary.insert(alice, new, rng.choice(("old key", f"{rng.random()}")))
        self.clock.at += 5.0
        look = await primary.reconcile(alice, asked)
        if result.remote_id:
            self.made.append((new, result.remote_id))
        return plain(result), plain_look(look)


def plain(result: Result) -> object:
    """What is to be the same: all but words for people, and addresses."""
    return replace(result, detail="", remote_url=None)


def plain_look(look: Look) -> object:
    if isinstance(look, LookFailed):
        return plain(look.result)
    if isinstance(look, Found):
        return [each.remote_id for each in look.candidates]
    return type(look)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.software)
async def test_both_say_and_ask_the_same(profile: Profile) -> None:
    clock = Clock()

    async def no_time(_: float) -> None:
        """Nothing takes time: not on the socket's clock either."""

    world = World(profile, clock.now)
    twin = Side(world, clock, Twin(world, sleep=no_time), SEED)
    await twin.go()
    clock = Clock()
    async with Server(World(profile, clock.now)) as server:
        driver = Mastodon(Http([server.site], now=clock.utc), [server.site])
        side = Side(server.world, clock, driver, SEED)
        await side.go()
        await driver.aclose()
    assert side.said == twin.said
    assert side.world.faults == twin.world.faults
    for op in ASKED:
        assert side.world.requests[op] == twin.world.requests[op], op
    assert side.world.texts() == twin.world.texts()
    assert len(twin.world.ledger) > STEPS / 10
    assert twin.world.faults.total() > STEPS / 4
