"""Tiers and load as they are measured: from the journal, and from the lanes (S10.2, S10.4)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.less_world import ALICE, BOB, CAROL, ERIN, HOUR, Scene, scene
from xmpprelay.core.volume import FIRST_RATE, LoadState, Tier
from xmpprelay.errors import UnknownHandle
from xmpprelay.volume import Volume


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path / "relay.db") as world:
        yield world


async def measured(world: Scene, **how: float) -> Volume:
    """As at a start of the relay."""
    volume = Volume(
        world.db,
        world.delivery,
        world.choices,
        busy_s=how.get("busy_s", 30),
        peak_s=how.get("peak_s", 120),
        now=lambda: world.now,
        monotonic=lambda: world.now.timestamp(),
    )
    await world.db.read(volume.load)
    return volume


async def test_an_author_is_measured_over_a_day_and_falls_back_slowly(world: Scene) -> None:
    for _ in range(6 * 24 + 1):
        await world.post(ALICE)
    await world.post(CAROL)
    volume = await measured(world)
    assert (volume.tier(ALICE), volume.tier(CAROL)) == (Tier.OUTLET, Tier.PERSON)
    assert (volume.live_per_hour(ALICE), volume.live_per_hour(CAROL)) == (6, None)
    world.now += timedelta(hours=25)
    for _ in range(4 * 24):
        await world.post(ALICE)
    await volume.measure()
    assert volume.tier(ALICE) is Tier.OUTLET
    world.now += timedelta(hours=25)
    await volume.measure()
    assert volume.tier(ALICE) is Tier.PERSON
    assert volume.live_per_hour(ALICE) is None


async def test_who_says_that_he_is_a_bot_is_an_outlet(world: Scene) -> None:
    volume = await measured(world)
    await world.choices.set(ALICE, "bot", "on")
    assert volume.tier(ALICE) is Tier.OUTLET
    await world.choices.set(ALICE, "bot", "off")
    assert volume.tier(ALICE) is Tier.PERSON


async def test_a_pinned_tier_wins_and_outlives_a_restart(world: Scene) -> None:
    volume = await measured(world)
    await volume.pin("alice", Tier.FIREHOSE)
    await volume.pin("carol", Tier.PERSON)
    await world.choices.set(CAROL, "bot", "on")
    for each in (volume, await measured(world)):
        assert (each.tier(ALICE), each.tier(CAROL)) == (Tier.FIREHOSE, Tier.PERSON)
        assert each.live_per_hour(ALICE) == 0
    await volume.pin("alice", None)
    assert volume.tier(ALICE) is Tier.PERSON
    with pytest.raises(UnknownHandle):
        await volume.pin("nobody", Tier.PERSON)


async def test_there_are_rounds_for_whose_posts_may_be_surplus(world: Scene) -> None:
    await world.post(ERIN, live_per_hour=0)
    volume = await measured(world)
    assert volume.rounds() == {ERIN: HOUR}
    await volume.pin("alice", Tier.FIREHOSE)
    volume.live_per_hour(ALICE)
    volume.live_per_hour(CAROL)
    assert volume.rounds() == {ERIN: HOUR, ALICE: 3 * HOUR}


async def test_when_the_lanes_are_full_outlets_step_back_and_people_do_not(world: Scene) -> None:
    volume = await measured(world, busy_s=0.5 / FIRST_RATE, peak_s=1e6)
    await volume.pin("alice", Tier.OUTLET)
    volume.sample()
    assert (volume.state, volume.live_per_hour(ALICE)) == (LoadState.NORMAL, 6)
    await world.post(CAROL)  # committed, and not fanned out yet
    volume.sample()
    assert (volume.state, volume.waiting) == (LoadState.BUSY, 1)
    assert (volume.live_per_hour(ALICE), volume.live_per_hour(CAROL)) == (0, None)
    await world.turn()
    volume.sample()
    assert (volume.state, volume.waiting) == (LoadState.NORMAL, 0)
    assert world.delivery.lane_loads()[0].confirmed == 1
    await world.leaves(BOB)
    await world.post(CAROL)
    volume.sample()
    assert volume.waiting == 0, "nobody is there"
