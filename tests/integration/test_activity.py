"""What a relay counts of what goes on, by the minute, and what is left of it after it has ended."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.contract.test_activity import all_rows
from tests.contract.test_sqlite_files import limit_pages
from tests.integration.wire import HOME, Wire, wired
from tests.integration.world import Clock
from xmpprelay.config import Primary
from xmpprelay.core.activity import MINUTE, Span, Tally, merged
from xmpprelay.core.health import Flag
from xmpprelay.store.activity import count

ALICE, BOB = "alice@example.test", "bob@example.test"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def wire(tmp_path: Path, clock: Clock) -> AsyncIterator[Wire]:
    primary = Primary(driver="sql", url=f"sqlite:///{tmp_path}/primary.db")
    async with wired(tmp_path, clock, primary=primary) as wire:
        yield wire


async def says(wire: Wire, who: str, *texts: str) -> None:
    for text in texts:
        wire.says(who, text)
        await wire.quiet()


async def counted(wire: Wire) -> Tally:
    """All of the last day."""
    shown = await wire.service.activity.series(Span.DAY)
    return merged(shown.points, shown.begins, 1440)


async def test_posts_deliveries_people_and_the_backlog_are_counted(wire: Wire) -> None:
    before = await counted(wire)
    await wire.service.inserting.standby.flag("", Flag.ON)  # which status@relay posts
    await says(wire, ALICE, "join alice")
    await says(wire, BOB, "follow alice")
    wire.feeds(f"<presence from='{BOB}' to='{HOME}' type='subscribed'/>")
    wire.feeds(f"<presence from='{BOB}/x' to='{HOME}'/>")
    await says(wire, ALICE, "one", "two", "edit #3 too", "del #2", "profile bot on", "three")
    after = await counted(wire)
    assert after.posts - before.posts == 1 + 3, "a change of a post is no post"
    assert after.bot_posts - before.bot_posts == 1
    assert after.people - before.people == 2
    assert after.deliveries - before.deliveries >= 5, "bob is sent the changes as well"
    assert after.backlog == wire.service.inserting.places[""].site.total > 0


async def test_what_was_counted_is_there_after_a_restart(
    wire: Wire, clock: Clock, tmp_path: Path
) -> None:
    await says(wire, ALICE, "join alice", "one")
    clock.passes(minutes=1)
    wire.service.tick()
    await says(wire, ALICE, "two")
    before = await counted(wire)
    assert before.posts == 2
    await wire.service.stop()
    async with wired(tmp_path, clock) as again:
        after = await counted(again)
        assert (after.posts, after.people) == (2, before.people)
        await says(again, ALICE, "three")
        assert (await counted(again)).posts == 3


async def test_minutes_in_which_no_relay_ran_are_not_watched(
    wire: Wire, clock: Clock, tmp_path: Path
) -> None:
    for _ in range(5):
        clock.passes(minutes=1)
        wire.service.tick()
    await wire.service.stop()
    clock.passes(minutes=60)
    async with wired(tmp_path, clock) as again:
        # Of the minutes in which it was started and stopped, both count.
        assert (await counted(again)).watched in (7, 8)


async def test_old_rows_are_thinned_while_it_runs(wire: Wire, clock: Clock) -> None:
    hour = clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    for minute in range(10):
        await wire.service.db.write(count, Tally(hour + minute * MINUTE, posts=1))
    clock.passes(days=2)
    wire.service.tick()
    await wire.service.activity.written()
    rows = [row for row in await wire.service.db.read(all_rows) if row.begins < hour + 60 * MINUTE]
    assert [(row.begins, row.minutes, row.posts) for row in rows] == [(hour, 10, 10)]


async def test_on_a_full_disk_what_is_counted_waits_for_room(wire: Wire, clock: Clock) -> None:
    activity, db = wire.service.activity, wire.service.db
    await says(wire, ALICE, "join alice")
    await db.write(limit_pages, 0)
    for minutes in range(1, 500):  # noqa: B007 - until there is no room
        activity.came(1)
        clock.passes(minutes=1)
        wire.service.tick()
        await activity.written()
        if activity.waiting:
            break
    assert activity.waiting
    assert (await counted(wire)).people == minutes + 2
    await db.write(limit_pages, 10_000)
    clock.passes(minutes=1)
    wire.service.tick()
    await activity.written()
    assert not activity.waiting
    rows = await db.read(all_rows)
    assert sum(row.people for row in rows) == minutes + 2
