"""What is asked of the database by people who read: bounded, newest first, nothing deleted."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.store_world import Clock, Opened, people, post_row
from xmpprelay.core.model import Kind
from xmpprelay.store.database import Database
from xmpprelay.store.operations import HandleRow, take_handle
from xmpprelay.store.posts import ChangeRow, PostRow, append_post, change_post
from xmpprelay.store.reading import handle_since, last_time, newest_of, posts_between


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as db:
        yield db


async def written(db: Database) -> tuple[int, int]:
    """1 hello, 2 bob's, 3 a letter, 4 a boost of 2, 5 later deleted, 6 edits 1, 7 deletes 5."""
    alice, bob = await people(db, "alice", "bob")
    await db.write(append_post, post_row(alice, "hello"))
    await db.write(append_post, post_row(bob, "bob's"))
    await db.write(append_post, PostRow(alice, "psst", kind=Kind.DIRECT, targets=(bob,)))
    await db.write(append_post, PostRow(alice, "", kind=Kind.BOOST, original=2))
    await db.write(append_post, post_row(alice, "oh no"))
    await db.write(change_post, ChangeRow(alice, 1, "hello!"))
    await db.write(change_post, ChangeRow(alice, 5, None))
    return alice, bob


async def test_the_newest_of_an_author_are_posts_and_boosts_as_they_are_now(db: Database) -> None:
    alice, _ = await written(db)
    found = await db.read(lambda conn: newest_of(conn, alice, 100, 10))
    assert [(post.number, post.content.text) for post in found] == [(4, "bob's"), (1, "hello!")]
    assert [p.number for p in await db.read(lambda c: newest_of(c, alice, 100, 1))] == [4]
    assert [p.number for p in await db.read(lambda c: newest_of(c, alice, 4, 10))] == [1]


async def test_a_span_has_everybodys_posts_and_nothing_else(db: Database) -> None:
    await written(db)
    assert [p.number for p in await db.read(lambda c: posts_between(c, 1, 100))] == [2, 1]
    assert [p.number for p in await db.read(lambda c: posts_between(c, 2, 7))] == [2]
    assert await db.read(lambda c: posts_between(c, 3, 7)) == []


async def test_times_of_an_author(db: Database, clock: Clock) -> None:
    [alice] = await people(db, "alice")
    assert await db.read(lambda c: handle_since(c, alice)) is None
    assert await db.read(lambda c: last_time(c, alice)) is None
    joined = clock.now()
    await db.write(take_handle, HandleRow(alice, "alice", "alice"))
    clock.pass_s(60)
    await db.write(append_post, post_row(alice))
    assert await db.read(lambda c: handle_since(c, alice)) == joined
    assert await db.read(lambda c: last_time(c, alice)) == clock.now()
