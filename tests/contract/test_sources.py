"""What is written down of entries of authors' own nodes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.contract.store_world import Clock, Opened, people, post_row, settings
from xmpprelay.core.sourced import Known
from xmpprelay.store.account import data_of, leave
from xmpprelay.store.database import Database
from xmpprelay.store.posts import ChangeRow, append_post, change_post, own_message
from xmpprelay.store.queries import load_standings
from xmpprelay.store.sources import (
    ENTRIES_KEPT,
    ORIGIN,
    SOURCE,
    EntryRow,
    SourceRow,
    TypedRow,
    also_typed,
    known_entries,
    posted_lately,
    remember,
    set_source,
)

SINCE = datetime(2026, 3, 1, 12, 30, 0, 250_000, tzinfo=UTC)


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as db:
        yield db


async def known(db: Database, person: int, *items: str) -> dict[str, Known]:
    return await db.read(lambda conn: known_entries(conn, person, items))


async def lately(
    db: Database, author: int, since: datetime, *, as_entry: bool, name: str | None = None
) -> list[int]:
    found = await db.read(
        lambda conn: posted_lately(conn, author, since, as_entry=as_entry, name=name)
    )
    return [post.number for post in found]


async def test_what_is_known_of_an_entry_is_what_was_said_last(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    await db.write(remember, EntryRow(alice, "one", 7, "a"))
    await db.write(remember, EntryRow(alice, "one", 7, "b"))
    await db.write(remember, EntryRow(alice, "two", None, None))
    assert await known(db, alice, "one", "two", "three") == {
        "one": Known(7, "b"), "two": Known(None, None),
    }  # fmt: skip
    assert await known(db, bob, "one", "two") == {}
    assert await known(db, alice) == {}


async def test_a_source_is_kept_with_what_is_history_and_its_author_has_a_standing(
    db: Database,
) -> None:
    [alice] = await people(db, "alice")
    await db.write(remember, EntryRow(alice, "posted", 7, "a"))
    standing = await db.write(set_source, SourceRow(alice, SINCE, ("posted", "old")))
    assert standing is not None
    assert [standing] == await db.read(lambda conn: list(load_standings(conn)))
    assert await settings(db) == {(alice, SOURCE): SINCE.isoformat()}
    assert await known(db, alice, "posted", "old") == {
        "posted": Known(7, "a"), "old": Known(None, None),
    }  # fmt: skip
    assert await db.write(set_source, SourceRow(alice, SINCE)) == standing
    assert await db.write(set_source, SourceRow(alice, None)) is None
    assert await settings(db) == {}
    assert await known(db, alice, "old") != {}


async def test_of_each_author_so_many_entries_are_known_the_oldest_go(
    db: Database, clock: Clock
) -> None:
    alice, bob = await people(db, "alice", "bob")
    await db.write(remember, EntryRow(bob, "first", None, None))
    await db.write(remember, EntryRow(alice, "first", 1, "a"))
    await db.write(remember, EntryRow(alice, "second", 2, "a"))
    clock.pass_s(1)
    await db.write(remember, EntryRow(alice, "first", 1, "b"))
    clock.pass_s(1)
    history = tuple(f"item {number}" for number in range(ENTRIES_KEPT - 1))
    await db.write(set_source, SourceRow(alice, SINCE, history))
    assert set(await known(db, alice, "first", "second")) == {"first"}
    assert len(await known(db, alice, "first", *history)) == ENTRIES_KEPT
    assert set(await known(db, bob, "first")) == {"first"}


async def test_posts_of_the_last_minutes_are_told_apart_by_where_they_come_from(
    db: Database, clock: Clock
) -> None:
    alice, bob = await people(db, "alice", "bob")
    start = clock.now()
    await db.write(append_post, post_row(alice, "long ago"))
    clock.pass_s(600)
    for row in (
        post_row(alice, "typed"),
        post_row(alice, "typed and published", origin="client"),
        post_row(alice, "published", origin=f"{ORIGIN}item"),
        post_row(alice, "deleted"),
        post_row(bob, "somebody else's"),
    ):
        await db.write(append_post, row)
    await db.write(change_post, ChangeRow(alice, 5, None, (), None, None))
    await db.write(remember, EntryRow(alice, "tied", 3, "a"))
    await db.write(remember, EntryRow(alice, "item", 4, "a"))
    await db.write(remember, EntryRow(alice, "none", None, None))
    since = start + timedelta(seconds=1)
    assert await lately(db, alice, since, as_entry=False) == [2]
    assert await lately(db, alice, since, as_entry=True) == [4]
    assert await lately(db, alice, start, as_entry=False) == [2, 1]


async def test_an_entry_that_was_typed_as_well_is_found_by_that_message_alone(
    db: Database, clock: Clock
) -> None:
    [alice] = await people(db, "alice")
    since = clock.now()
    for number in range(1, 4):
        await db.write(append_post, post_row(alice, origin=f"{ORIGIN}{number}"))
    await db.write(also_typed, TypedRow(1, "client"))
    await db.write(also_typed, TypedRow(2, None))
    assert await lately(db, alice, since, as_entry=True) == [3]
    assert await lately(db, alice, since, as_entry=True, name="client") == [1, 3]
    found = await db.read(lambda conn: own_message(conn, alice, "client"))
    assert found is not None
    assert found.number == 1


async def test_whoever_leaves_leaves_no_entries_and_they_are_part_of_her_data(
    db: Database,
) -> None:
    alice, bob = await people(db, "alice", "bob")
    await db.write(append_post, post_row(alice))
    for person in (alice, bob):
        await db.write(remember, EntryRow(person, "item", 1, "a"))
    told = await db.read(lambda conn: list(data_of(conn, "alice@example.org")))
    assert [each for each in told if each["type"] == "entry"] == [
        {"type": "entry", "item": "item", "post": f"1.{db.epoch}"}
    ]
    await db.write(leave, alice)
    assert await known(db, alice, "item") == {}
    assert await known(db, bob, "item") != {}
