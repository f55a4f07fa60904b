"""What feeds need of the database: secrets by their hashes, and posts by tag, by name, by boost."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.store_world import Clock, Opened, people, post_row
from xmpprelay.core.model import Kind, Post
from xmpprelay.store.account import data_of, leave
from xmpprelay.store.database import Database
from xmpprelay.store.feeds import (
    Secret,
    SecretRow,
    boosters_of_author,
    boosters_of_post,
    load_secrets,
    naming_below,
    set_secret,
    tagged_between,
)
from xmpprelay.store.posts import ChangeRow, PostRow, append_post, change_post


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as db:
        yield db


async def secrets(db: Database) -> list[Secret]:
    return await db.read(lambda conn: list(load_secrets(conn)))


async def test_a_new_secret_takes_the_place_of_the_one_before(db: Database, clock: Clock) -> None:
    alice, bob = await people(db, "alice", "bob")
    await db.write(set_secret, SecretRow(alice, b"a" * 32))
    await db.write(set_secret, SecretRow(bob, b"b" * 32))
    clock.pass_s(60)
    made = await db.write(set_secret, SecretRow(alice, b"c" * 32))
    assert made == Secret(alice, b"c" * 32, clock.now())
    kept = {each.person: each for each in await secrets(db)}
    assert kept[alice] == made
    assert kept[bob].hash == b"b" * 32
    assert len(kept) == 2


async def test_two_new_secrets_in_one_transaction_leave_the_later_one(db: Database) -> None:
    [alice] = await people(db, "alice")
    first = db.submit(set_secret, SecretRow(alice, b"a" * 32))
    second = db.submit(set_secret, SecretRow(alice, b"b" * 32))
    await first
    await second
    assert [each.hash for each in await secrets(db)] == [b"b" * 32]


async def test_a_secret_goes_with_whose_it_is(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    for who in (alice, bob):
        await db.write(set_secret, SecretRow(who, bytes([who]) * 32))
    await db.write(leave, alice)
    assert [each.person for each in await secrets(db)] == [bob]
    held = await db.read(lambda conn: list(data_of(conn, "bob@example.org")))
    assert [set(each) for each in held if each["type"] == "secret feeds"] == [{"type", "since"}]


def numbers(posts: list[Post]) -> list[int]:
    return [post.number for post in posts]


async def test_what_may_have_a_tag_is_found_in_a_span(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    for text in ("#tea", "none", "more #Tea", "gone #tea"):
        await db.write(append_post, post_row(alice, text))
    await db.write(append_post, PostRow(bob, "", kind=Kind.BOOST, original=1))
    await db.write(append_post, PostRow(alice, "#psst", kind=Kind.DIRECT, targets=(bob,)))
    await db.write(change_post, ChangeRow(alice, 4, None))
    await db.write(change_post, ChangeRow(alice, 2, "now #tea"))
    assert numbers(await db.read(lambda c: tagged_between(c, 1, 100))) == [3, 2, 1]
    assert numbers(await db.read(lambda c: tagged_between(c, 2, 2))) == [2]


async def test_what_names_somebody_comes_the_newest_first(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    await db.write(append_post, PostRow(alice, "@bob a", targets=(bob,)))
    await db.write(append_post, PostRow(alice, "b @bob", mentions=(bob,)))
    await db.write(append_post, PostRow(alice, "psst", kind=Kind.DIRECT, targets=(bob,)))
    await db.write(append_post, PostRow(alice, "c @alice", mentions=(alice,)))
    await db.write(append_post, PostRow(alice, "d @bob", mentions=(bob,)))
    await db.write(change_post, ChangeRow(alice, 5, None))
    assert numbers(await db.read(lambda c: naming_below(c, bob, 100, 10))) == [2, 1]
    assert numbers(await db.read(lambda c: naming_below(c, bob, 2, 10))) == [1]
    assert numbers(await db.read(lambda c: naming_below(c, bob, 100, 1))) == [2]


async def test_who_has_boosted_a_post_or_an_author(db: Database) -> None:
    alice, bob, carol, dave = await people(db, "alice", "bob", "carol", "dave")
    await db.write(append_post, post_row(alice, "one"))
    await db.write(append_post, post_row(alice, "two"))
    await db.write(append_post, post_row(dave, "three"))
    for who, what in ((carol, 1), (bob, 1), (carol, 2), (alice, 3)):
        await db.write(append_post, PostRow(who, "", kind=Kind.BOOST, original=what))
    assert await db.read(lambda c: boosters_of_post(c, 1)) == [bob, carol]
    assert await db.read(lambda c: boosters_of_post(c, 2)) == [carol]
    assert await db.read(lambda c: boosters_of_author(c, alice)) == [bob, carol]
    assert await db.read(lambda c: boosters_of_author(c, dave)) == [alice]
    await db.write(change_post, ChangeRow(alice, 1, None))
    assert await db.read(lambda c: boosters_of_post(c, 1)) == []
    assert await db.read(lambda c: boosters_of_author(c, alice)) == [carol]
