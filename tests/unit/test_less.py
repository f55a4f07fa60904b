"""`off`, `on`, `on+`, caps and groups: what comes, what stays away, and what is brought later."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.less_world import ALICE, BOB, CAROL, HOUR, Scene, scene
from xmpprelay.core.wishes import EVERYTHING, Cap, of_author, of_group
from xmpprelay.less import FETCH_AT_ONCE, Missed


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path / "relay.db") as world:
        yield world


async def news(world: Scene, *authors: int) -> None:
    members = [world.person(author) for author in authors]
    await world.less.change_group(world.person(), "news", members, [])


async def test_nothing_of_a_span_comes_later_and_a_restart_does_not_end_it(world: Scene) -> None:
    await world.less.off(world.person(), of_author(ALICE), HOUR)
    await world.posts_now(ALICE)
    await world.restarts()
    await world.posts_now(ALICE)
    await world.later(HOUR)
    await world.posts_now(ALICE)
    await world.comes()
    assert world.live() == [3]


async def test_an_author_is_off_if_any_of_his_groups_is(world: Scene) -> None:
    person = world.person()
    await news(world, ALICE)
    await world.less.change_group(person, "sport", [world.person(ALICE)], [])
    await world.less.off(person, of_group("sport"), None)
    await world.posts_now(ALICE)
    await world.less.on(person, of_group("news"))
    await world.posts_now(ALICE)
    await world.less.change_group(person, "sport", [], [world.person(ALICE)])
    await world.posts_now(ALICE)
    assert world.live() == [3]


async def test_the_newest_are_brought_and_more_brings_the_rest_and_nothing_else(
    world: Scene,
) -> None:
    person = world.person()
    await news(world, ALICE)
    await world.less.off(person, of_group("news"), None)
    for _ in range(FETCH_AT_ONCE + 2):
        await world.posts_now(ALICE)
        await world.posts_now(CAROL)
    by_carol = list(range(2, 2 * FETCH_AT_ONCE + 5, 2))
    assert world.live() == by_carol
    world.sent.clear()
    missed = await world.less.on_again(person, of_group("news"))
    await world.turn()
    assert missed == Missed(FETCH_AT_ONCE, 2, 0)
    assert world.live() == [n - 1 for n in by_carol[2:]]
    rest = world.delivery.rest_of(BOB)
    assert rest is not None
    assert await world.journal.of_rest(BOB, rest, None, 100) == ([1, 3], 0)


async def test_what_waits_for_his_return_is_not_brought_as_well(world: Scene) -> None:
    person = world.person()
    await world.less.off(person, EVERYTHING, None)
    await world.posts_now(ALICE)
    await world.leaves()
    await world.posts_now(ALICE)
    assert await world.less.on_again(person, EVERYTHING) == Missed(1, 0, 0)
    await world.turn()
    assert world.live() == []
    await world.comes()
    assert world.live() == [1, 2]


async def test_what_is_off_otherwise_as_well_is_not_brought(world: Scene) -> None:
    person = world.person()
    await news(world, ALICE, CAROL)
    await world.less.off(person, of_group("news"), None)
    await world.less.off(person, of_author(CAROL), None)
    await world.posts_now(ALICE)
    await world.posts_now(CAROL)
    assert await world.less.on_again(person, of_group("news")) == Missed(1, 0, 0)
    await world.turn()
    assert world.live() == [1]


async def test_what_digests_have_passed_over_is_brought_as_one(world: Scene) -> None:
    person = world.person()
    await world.less.set_digest(person, of_author(ALICE), every=HOUR)
    await world.less.off(person, EVERYTHING, None)
    await world.posts_now(ALICE)
    await world.later(HOUR)
    await world.posts_now(ALICE)
    assert world.told == []
    assert await world.less.on_again(person, EVERYTHING) == Missed(0, 0, 1)
    assert world.told == [(1,)]
    await world.later(HOUR)
    assert world.told == [(1,), (2,)]


async def test_for_a_day_after_its_end_a_span_can_be_taken_back(world: Scene) -> None:
    person = world.person()
    await world.less.off(person, EVERYTHING, HOUR)
    await world.posts_now(ALICE)
    await world.later(timedelta(hours=24))
    assert await world.less.on_again(person, EVERYTHING) == Missed(1, 0, 0)
    await world.less.off(person, EVERYTHING, HOUR)
    await world.later(timedelta(hours=26))
    assert await world.less.on_again(person, EVERYTHING) is None


async def test_a_cap_counts_by_the_clock_and_is_kept(world: Scene) -> None:
    person = world.person()
    await world.less.set_cap(person, world.person(ALICE), Cap(2, daily=False))
    for _ in range(3):
        await world.posts_now(ALICE)
    await world.restarts(BOB)
    await world.posts_now(ALICE)
    await world.later(HOUR)
    await world.posts_now(ALICE)
    await world.less.set_cap(person, world.person(ALICE), None)
    await world.posts_now(ALICE)
    assert world.live() == [1, 2, 5, 6]


async def test_choices_are_there_again_after_a_restart(world: Scene) -> None:
    person = world.person()
    await news(world, ALICE)
    await world.less.off(person, of_group("news"), None)
    await world.less.set_cap(person, world.person(CAROL), Cap(2, daily=True))
    await world.less.set_digest(person, of_author(CAROL), every=HOUR)
    before = world.choices.of(BOB)
    await world.restarts(BOB)
    assert world.choices.of(BOB) == before
    assert world.less.is_off(person) == [of_group("news")]
    assert world.less.groups(person) == {"news": [world.person(ALICE)]}
