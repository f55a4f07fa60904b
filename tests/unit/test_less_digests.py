"""Digests on a clock of the test's own: what they say, when they come, and to whom (S10.3)."""

from collections.abc import AsyncIterator
from datetime import timedelta, timezone
from pathlib import Path

import pytest

from tests.unit.less_world import ALICE, BOB, CAROL, DAVE, ERIN, HOUR, MINUTE, START, Scene, scene
from xmpprelay.core.model import Grant, Kind, Rest
from xmpprelay.core.recipients import BLIND_PER_DAY
from xmpprelay.core.wishes import of_author, of_group
from xmpprelay.digests import LINE_CHARS, zone_of
from xmpprelay.store.less import had_by
from xmpprelay.store.operations import EndRow, end_follow
from xmpprelay.store.posts import ChangeRow


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path / "relay.db", readers=(BOB, DAVE)) as world:
        yield world


async def hourly(world: Scene, author: int = ALICE, person: int = BOB) -> None:
    await world.less.set_digest(world.person(person), of_author(author), every=HOUR)


# What they say


async def test_each_post_is_one_line_cut_to_a_length_with_its_id(world: Scene) -> None:
    await hourly(world)
    await world.posts_now(ALICE, "several\n  lines")
    await world.posts_now(ALICE, "long " * 100)
    await world.later(HOUR)
    [(jid, text)] = world.said
    assert jid == "bob@example.org"
    first, second = text.splitlines()
    assert first == "alice: several lines  #1"
    assert second.startswith("alice: long long")
    assert second.endswith("…  #2")
    assert len(second) <= len("alice: ") + LINE_CHARS + len("  #2")


async def test_ten_lines_and_how_to_get_the_rest_of_each(world: Scene) -> None:
    person = world.person()
    everybody = [world.person(a) for a in (ALICE, CAROL)]
    await world.less.change_group(person, "news", everybody, [])
    await world.less.set_digest(person, of_group("news"), every=HOUR)
    for _ in range(9):
        await world.posts_now(CAROL)
    for _ in range(5):
        await world.posts_now(ALICE)
    await world.posts_now(CAROL)
    await world.later(HOUR)
    lines = world.said[0][1].splitlines()
    assert len(lines) == 11
    assert lines[9] == "alice: hello  #a"
    assert lines[10] == "and 5 more: `last alice 4`, `last carol 1`"


async def test_a_boost_says_whose_post_it_is(world: Scene) -> None:
    await hourly(world)
    await hourly(world, ERIN)
    shown = await world.posts_now(ERIN, "by erin", targets=(ERIN,))
    await hourly(world, ALICE, DAVE)
    await world.db.write(end_follow, EndRow(DAVE, ERIN))
    world.graph.end_follow(DAVE, ERIN)
    await world.posts_now(ALICE, "", kind=Kind.BOOST, original=shown)
    await world.later(HOUR)
    assert ("dave@example.org", "alice boosts erin: by erin  #2") in world.said


async def test_what_was_deleted_or_edited_while_it_waited(world: Scene) -> None:
    await hourly(world)
    gone, kept = await world.posts_now(ALICE, "gone"), await world.posts_now(ALICE, "before")
    await world.journal.change(ChangeRow(ALICE, gone, None))
    await world.journal.change(ChangeRow(ALICE, kept, "after"))
    await world.turn()
    await world.later(HOUR)
    assert [text for _, text in world.said] == ["alice: after  #2"]
    assert world.live() == [], "nor a change of what he has had in a digest only (S9.1)"


# When they come, and to whom


async def test_not_before_it_is_due_and_only_if_there_is_something(world: Scene) -> None:
    await hourly(world)
    await world.posts_now(ALICE)
    await world.later(HOUR - MINUTE)
    assert world.told == []
    await world.later(MINUTE)
    assert world.told == [(1,)]
    await world.later(HOUR)
    assert world.told == [(1,)]
    await world.posts_now(ALICE)
    await world.later(HOUR)
    assert world.told == [(1,), (2,)]


async def test_what_has_fallen_due_comes_when_he_is_live(world: Scene) -> None:
    await hourly(world)
    await world.leaves()
    await world.posts_now(ALICE)
    await world.later(5 * HOUR)
    assert world.told == []
    await world.comes()
    await world.later(MINUTE)
    assert world.told == [(1,)]
    assert world.live() == []


async def test_it_is_counted_as_a_post_for_who_hides_his_presence(world: Scene) -> None:
    world.delivery.set_grant(BOB, Grant.REFUSED, world.now)
    await world.leaves()
    await hourly(world)
    await world.turn()
    for _ in range(BLIND_PER_DAY - 1):
        await world.posts_now(CAROL)
    await world.posts_now(ALICE)
    await world.later(HOUR)
    assert world.told == [(BLIND_PER_DAY,)]
    await world.posts_now(CAROL)
    assert len(world.live()) == BLIND_PER_DAY - 1, "the digest was the last of the day"


async def test_a_restart_neither_repeats_nor_loses_one(world: Scene) -> None:
    await hourly(world)
    await world.posts_now(ALICE)
    await world.later(HOUR)
    await world.posts_now(ALICE)
    await world.later(HOUR / 2)
    await world.restarts(BOB)
    await world.later(HOUR / 2)
    assert world.told == [(1,), (2,)]


async def test_what_names_him_comes_by_itself(world: Scene) -> None:
    await hourly(world)
    await world.posts_now(ALICE, "hello @bob", mentions=(BOB,))
    await world.later(HOUR)
    assert (world.live(), world.told) == ([1], [])


async def test_it_goes_no_further_than_the_fan_out(world: Scene) -> None:
    await hourly(world)
    await world.post(ALICE)  # its fan-out has not come to anybody
    world.now += HOUR
    await world.digests.tick()
    assert world.told == []
    await world.less.set_digest(world.person(), of_author(ALICE))
    await world.turn()
    assert (world.live(), world.told) == ([1], [])


# Changes of mind


async def test_a_change_sends_first_what_waits(world: Scene) -> None:
    await hourly(world)
    await world.posts_now(ALICE)
    await world.less.set_digest(world.person(), of_author(ALICE), every=2 * HOUR)
    assert world.told == [(1,)]
    await world.posts_now(ALICE)
    await world.later(HOUR)
    assert world.told == [(1,)]
    await world.less.set_digest(world.person(), of_author(ALICE))
    assert world.told == [(1,), (2,)]
    await world.posts_now(ALICE)
    await world.later(3 * HOUR)
    assert world.live() == [3]
    assert world.told == [(1,), (2,)]


async def test_what_waits_for_his_return_is_not_told_as_well(world: Scene) -> None:
    await hourly(world)
    await world.leaves()
    await world.posts_now(ALICE)
    await world.less.set_digest(world.person(), of_author(ALICE))
    assert world.told == []
    await world.comes()
    assert world.live() == [1]


async def test_what_would_have_come_on_his_return_is_told_when_it_no_more_does(
    world: Scene,
) -> None:
    person = world.person()
    await world.less.change_group(person, "news", [world.person(CAROL)], [])
    await world.less.set_digest(person, of_group("news"), every=HOUR)
    await world.leaves()
    await world.posts_now(ALICE)
    await world.less.change_group(person, "news", [world.person(ALICE)], [])
    assert world.told == [(1,)]
    await world.comes()
    await world.later(HOUR)
    assert (world.live(), world.told) == ([], [(1,)])


# What is surplus


async def test_surplus_comes_to_all_followers_in_rounds(world: Scene) -> None:
    world.rounds = {ALICE: HOUR}
    await world.later(MINUTE)
    await world.less.set_digest(world.person(DAVE), of_author(ALICE))
    for _ in range(3):
        await world.posts_now(ALICE, live_per_hour=1)
    assert world.live() == [1]
    assert world.live(DAVE) == [1, 2, 3]
    await world.later(HOUR)
    assert world.said == [("bob@example.org", "alice: hello  #2\nalice: hello  #3")]
    await world.later(HOUR)
    assert len(world.said) == 1
    assert await world.db.read(lambda conn: had_by(conn, of_author(ALICE))) == {BOB: 3, DAVE: 0}


async def test_who_is_away_has_his_surplus_with_a_later_round(world: Scene) -> None:
    world.rounds = {ALICE: HOUR}
    await world.later(MINUTE)
    await world.leaves()
    await world.posts_now(ALICE, live_per_hour=0)
    await world.later(HOUR)
    await world.posts_now(ALICE, live_per_hour=0)
    await world.comes()
    await world.later(HOUR)
    assert sorted(world.said) == [
        ("bob@example.org", "alice: hello  #1\nalice: hello  #2"),
        ("dave@example.org", "alice: hello  #1"),
        ("dave@example.org", "alice: hello  #2"),
    ]


async def test_what_a_group_has_told_comes_in_no_round_when_the_group_is_gone(
    world: Scene,
) -> None:
    world.rounds = {ALICE: HOUR}
    await world.later(MINUTE)
    person, alice = world.person(), world.person(ALICE)
    await world.less.change_group(person, "news", [alice], [])
    await world.less.set_digest(person, of_group("news"), every=HOUR)
    await world.posts_now(ALICE, live_per_hour=0)
    await world.later(HOUR)
    await world.posts_now(ALICE, live_per_hour=0)
    world.said.clear()
    await world.less.change_group(person, "news", [], [alice])
    await world.posts_now(ALICE, live_per_hour=0)
    await world.later(HOUR)
    assert [text for jid, text in world.said if jid == person.jid] == [
        "alice: hello  #2",
        "alice: hello  #3",
    ]


async def test_who_chooses_a_digest_gets_first_what_waits_for_the_round(world: Scene) -> None:
    world.rounds = {ALICE: HOUR}
    await world.later(MINUTE)
    await world.posts_now(ALICE, live_per_hour=0)
    await world.less.set_digest(world.person(), of_author(ALICE), every=timedelta(days=1))
    assert world.told == [(1,)]
    await world.later(HOUR)
    assert [jid for jid, _ in world.said] == ["bob@example.org", "dave@example.org"]


async def test_who_is_cut_off_meanwhile_gets_none(world: Scene) -> None:
    world.rounds = {ALICE: HOUR}
    await world.later(MINUTE)
    await world.posts_now(ALICE, live_per_hour=0)
    world.graph.block(ALICE, world.person().jid)
    await world.later(HOUR)
    assert [jid for jid, _ in world.said] == ["dave@example.org"]


async def test_a_round_waits_for_room_in_the_stream(tmp_path: Path) -> None:
    async with scene(tmp_path / "relay.db") as world:
        asked: list[bool] = []
        world.digests._has_room = lambda: bool(asked) or bool(asked.append(True))
        await hourly(world)
        await world.posts_now(ALICE)
        await world.later(HOUR)
        assert asked
        assert world.told == [(1,)]


# A return in one message


async def test_a_return_is_told_and_taken_out_of_the_rest(world: Scene) -> None:
    world.delivery.set_catchup(BOB, 0)
    await world.leaves()
    for _ in range(12):
        await world.posts_now(ALICE)
    await world.later(10 * MINUTE)
    await world.comes()
    assert world.delivery.rest_of(BOB) == Rest(1, 12)
    await world.digests.at_return(BOB, {ALICE: 12})
    await world.turn()
    lines = world.said[0][1].splitlines()
    assert lines[0] == "alice: hello  #3"
    assert lines[9:] == ["alice: hello  #c", "and 2 older: alice 2. `more` or `skip`"]
    assert world.delivery.rest_of(BOB) == Rest(1, 2)
    assert world.live() == []


# Zones


@pytest.mark.parametrize("name", [None, "UTC", "GMT", "Nowhere/Land", "+99", "../../etc/passwd"])
def test_an_unknown_zone_is_utc(name: str | None) -> None:
    assert zone_of(name).utcoffset(START) == timedelta(0)


def test_zones_by_offset_and_by_name() -> None:
    assert zone_of("+05:30") == timezone(timedelta(hours=5, minutes=30))
    assert zone_of("-3") == timezone(timedelta(hours=-3))
    assert str(zone_of("Asia/Tokyo")) == "Asia/Tokyo"
