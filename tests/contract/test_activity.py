"""Counters of minutes in the database: added up, and fewer with age without losing anything."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, select

from tests.contract.store_world import Opened
from xmpprelay.activity import Activity
from xmpprelay.core.activity import MINUTE, Span, Tally, floor, merged, series
from xmpprelay.core.volume import Tier
from xmpprelay.store.activity import count, load_activity, thin
from xmpprelay.store.database import Database
from xmpprelay.store.outages import EndRow, Outage, begin_outage, end_outage, outages_since
from xmpprelay.store.schema import activity
from xmpprelay.store.writer import Numbers, Transaction

T = TypeVar("T")

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
AGES = st.integers(-100, 95 * 24 * 60)


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as db:
        yield db


def at(minutes: float) -> datetime:
    return NOON + minutes * MINUTE


async def loaded(db: Database) -> list[Tally]:
    return await db.read(all_rows)


def all_rows(conn: Connection) -> list[Tally]:
    """As they are in the database."""
    return [Tally(*row) for row in conn.execute(select(activity).order_by(activity.c.minute))]


async def thinned(db: Database, now: datetime) -> list[Tally]:
    while await db.write(thin, now):
        pass
    return await loaded(db)


async def test_what_is_counted_twice_for_a_minute_is_added_up(db: Database) -> None:
    await db.write(count, Tally(at(0), 1, 1, 3, 1, 40, 2, 9))
    await db.write(count, Tally(at(0), 1, 1, 1, 1, 2, 0, 4))
    await db.write(count, Tally(at(1)))
    assert await loaded(db) == [Tally(at(0), 1, 1, 4, 2, 42, 2, 9), Tally(at(1))]


async def test_rows_are_asked_for_by_time(db: Database) -> None:
    for minute in range(5):
        await db.write(count, Tally(at(minute), posts=minute))
    found = await db.read(lambda conn: load_activity(conn, at(1), at(4), 1))
    assert [row.posts for row in found] == [1, 2, 3]


@given(
    st.lists(st.tuples(st.integers(-300, 300), st.integers(0, 9), st.integers(0, 9)), max_size=30),
    st.sampled_from([1, 10, 60, 720]),
)
@settings(max_examples=50, deadline=None)
def test_rows_are_added_up_as_the_rules_have_it(
    counted: list[tuple[int, int, int]], minutes: int
) -> None:
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as conn:
            activity.create(conn)
            for minute, posts, backlog in counted:
                row = Tally(at(minute), posts=posts, bot_posts=1, people=2, backlog=backlog)
                count(Transaction(conn, NOON, Numbers(1)), [row])
            by_row: dict[datetime, list[Tally]] = {}
            for row in all_rows(conn):
                by_row.setdefault(floor(row.begins, minutes), []).append(row)
            found = load_activity(conn, at(-999), at(999), minutes)
            assert found == [merged(rows, begins, minutes) for begins, rows in by_row.items()]
    finally:
        engine.dispose()


async def test_rows_become_fewer_with_age(db: Database) -> None:
    for minute in range(120):
        await db.write(count, Tally(at(minute), posts=1, backlog=minute))
    assert len(await thinned(db, at(24 * 60 + 9))) == 120, "none is a day old yet"
    [first, *others] = await thinned(db, at(24 * 60 + 10))
    assert first == Tally(at(0), 10, 10, 10, backlog=9)
    assert len(others) == 110
    assert [row.minutes for row in await thinned(db, at(26 * 60))] == [10] * 12
    assert await thinned(db, at(7 * 24 * 60 + 119)) == [
        Tally(at(0), 60, 60, 60, backlog=59),
        *(Tally(at(60 + n), 10, 10, 10, backlog=69 + n) for n in range(0, 60, 10)),
    ]
    hours = await thinned(db, at(7 * 24 * 60 + 120))
    assert [row.minutes for row in hours] == [60, 60]
    assert await thinned(db, at(90 * 24 * 60)) == hours
    assert await thinned(db, at(91 * 24 * 60)) == []


async def test_one_step_is_small(db: Database) -> None:
    """A clock that is a year ahead for a minute costs one row, and some sharpness of two."""
    for minute in range(200):
        await db.write(count, Tally(at(minute), posts=1))
    assert await db.write(thin, at(366 * 24 * 60))
    found = await loaded(db)
    assert sum(row.posts for row in found) == 199
    assert len(found) >= 140


async def test_a_minute_in_what_is_a_long_row_already_goes_into_it(db: Database) -> None:
    """Somebody has set the clock back by days."""
    old = Tally(floor(at(-8 * 24 * 60), 60), 60, 60, posts=7, backlog=3)
    await db.write(count, old)
    await db.write(count, Tally(old.begins, posts=1, backlog=5))
    assert await loaded(db) == [replace(old, posts=8, backlog=5)]
    for minute in (5, 15):
        await db.write(count, Tally(old.begins + minute * MINUTE, posts=1))
    assert await thinned(db, at(0)) == [replace(old, posts=10, backlog=5)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(AGES, st.integers(0, 9), st.integers(0, 9)), max_size=40),
    st.lists(st.integers(0, 40 * 24 * 60), min_size=1, max_size=4),
)
def test_thinning_keeps_sums(counted: list[tuple[int, int, int]], times: list[int]) -> None:
    """Whatever rows there are, whenever they are thinned: what is shown adds up to the same."""
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as conn:
            activity.create(conn)
            tx = Transaction(conn, NOON, Numbers(1))
            for age, posts, deliveries in counted:
                row = Tally(at(-age), posts=posts, deliveries=deliveries, backlog=posts)
                count(tx, [row])
            for now in sorted(at(minutes) for minutes in times):
                before = all_rows(conn)
                kept = [row for row in before if row.begins >= Span.QUARTER.first(now)]
                shown = {span: series(before, [], span, now) for span in Span}
                while thin(tx, [now]) == [True]:
                    pass
                after = all_rows(conn)
                for name in ("posts", "deliveries"):
                    of = [getattr(row, name) for row in after]
                    assert sum(of) == sum(getattr(row, name) for row in kept)
                for span in Span:
                    assert series(after, [], span, now) == shown[span]
                assert len({row.begins for row in after}) == len(after)
    finally:
        engine.dispose()


async def test_outages_since_a_time(db: Database) -> None:
    for began, ended in ((-100, -90), (-50, -40), (-10, None)):
        await db.write(begin_outage, Outage("", at(began), None, "timeout", 0))
        if ended is not None:
            await db.write(end_outage, EndRow("", at(ended), 3))
    for since, began in ((-200, [-10, -50, -100]), (-45, [-10, -50]), (-40, [-10]), (99, [-10])):
        found = await db.read(lambda conn, since=since: outages_since(conn, at(since)))
        assert [each.began for each in found] == [at(minutes) for minutes in began]


# While it is counted


class Beside:
    """The database, where a minute is written just before a read, or just behind it."""

    def __init__(self, db: Database, *, before: bool) -> None:
        self._db, self._before = db, before
        self.write = db.write
        self.minute: Callable[[], None] = lambda: None

    async def read(self, fn: Callable[[Connection], T]) -> T:
        if self._before:
            await self._written()
        found = await self._db.read(fn)
        if not self._before:
            await self._written()
        return found

    async def _written(self) -> None:
        self.minute()
        await asyncio.sleep(0)
        await self.write(count, Tally(at(-99_999)))  # what came before it is committed


@pytest.mark.parametrize("before", [True, False])
async def test_a_minute_that_is_written_meanwhile_is_there_once(
    db: Database, *, before: bool
) -> None:
    now = at(0)
    beside = Beside(db, before=before)
    activity = Activity(
        beside,  # type: ignore[arg-type]
        SimpleNamespace(confirmed=lambda: 0),  # type: ignore[arg-type]
        tier=lambda _: Tier.PERSON,
        backlog=lambda: 0,
        now=lambda: now,
    )
    activity.came(1)
    now = at(1)
    activity.came(2)
    beside.minute = activity.minute
    for _ in range(2):
        shown = await activity.series(Span.DAY)
        assert (shown.points[-1].people, shown.points[-1].watched) == (3, 2)
    await activity.written()
    written = [row.people for row in await loaded(db) if row.people]
    assert written == [1], "and the other runs"
