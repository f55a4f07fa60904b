"""Handles that change hands or do not, leaving, and all the data of one person."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import Connection, insert, select

from tests.contract.store_world import Clock, Opened, people, post_row
from xmpprelay.core.model import Follow, Kind, Person
from xmpprelay.errors import HandleTaken, Refused
from xmpprelay.store import queries
from xmpprelay.store.account import (
    AT_ONCE,
    Blanked,
    BlankRow,
    RenameRow,
    blank_posts,
    data_of,
    leave,
    rename,
    set_settings,
)
from xmpprelay.store.database import Database
from xmpprelay.store.operations import (
    FollowRow,
    HandleRow,
    SettingRow,
    add_follow,
    set_setting,
    take_handle,
)
from xmpprelay.store.posts import PostRow, append_post
from xmpprelay.store.queries import Handle
from xmpprelay.store.schema import addressed, block, cap, liking, member, mute, post
from xmpprelay.store.writer import Operation, Transaction

DAY = timedelta(days=1)


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as db:
        yield db


async def named(db: Database, *names: str) -> list[int]:
    ids = await people(db, *names)
    for who, name in zip(ids, names, strict=True):
        await db.write(take_handle, HandleRow(who, name, name))
    return ids


async def handles(db: Database) -> dict[str, Handle]:
    return await db.read(lambda conn: {each.handle: each for each in queries.load_handles(conn)})


# Renaming (S12.2)


async def test_the_old_name_becomes_a_tombstone_that_tells_the_new_one(
    db: Database, clock: Clock
) -> None:
    [alice] = await named(db, "alice")
    joined = clock.now()
    clock.pass_s(60)
    renamed = await db.write(rename, RenameRow(alice, "alicia", "alicia"))
    assert renamed.person == Person(alice, "alice@example.org", "alicia")
    assert (renamed.before, renamed.at) == ("alice", clock.now())
    kept = await handles(db)
    assert kept["alice"] == Handle("alice", "alice", None, joined, clock.now(), alice)
    assert kept["alicia"] == Handle("alicia", "alicia", alice, joined, None, None)


async def test_one_may_rename_once_in_thirty_days(db: Database, clock: Clock) -> None:
    [alice] = await named(db, "alice")
    await db.write(rename, RenameRow(alice, "alicia", "alicia"))
    clock.jump(30 * DAY - timedelta(seconds=1))
    with pytest.raises(Refused, match="2026-03-31"):
        await db.write(rename, RenameRow(alice, "ally", "ally"))
    clock.jump(timedelta(seconds=1))
    await db.write(rename, RenameRow(alice, "ally", "ally"))
    kept = await handles(db)
    assert {name: each.person for name, each in kept.items()} == {
        "alice": None, "alicia": None, "ally": alice,
    }  # fmt: skip


async def test_nobody_takes_a_name_that_is_or_was_somebody_elses(db: Database) -> None:
    alice, bob = await named(db, "alice", "bob")
    await db.write(rename, RenameRow(alice, "alicia", "alicia"))
    for handle, skeleton in (("alice", "alice"), ("al1ce", "alice"), ("alicia", "alicia")):
        with pytest.raises(HandleTaken):
            await db.write(rename, RenameRow(bob, handle, skeleton))
        [carol] = await people(db, "carol")
        with pytest.raises(HandleTaken):
            await db.write(take_handle, HandleRow(carol, handle, skeleton))
    assert (await handles(db))["bob"].person == bob


async def test_another_spelling_of_ones_own_name_leaves_no_tombstone(
    db: Database, clock: Clock
) -> None:
    [alice] = await named(db, "alice")
    await db.write(rename, RenameRow(alice, "al_ice", "alice"))
    assert {n: each.person for n, each in (await handles(db)).items()} == {"al_ice": alice}
    with pytest.raises(Refused):
        await db.write(rename, RenameRow(alice, "alice", "alice"))


async def test_who_has_no_handle_has_none_to_change(db: Database) -> None:
    [alice] = await people(db, "alice")
    with pytest.raises(Refused):
        await db.write(rename, RenameRow(alice, "alicia", "alicia"))
    assert await handles(db) == {}


async def test_an_old_name_is_free_after_ninety_days_and_a_year(db: Database, clock: Clock) -> None:
    alice, bob = await named(db, "alice", "bob")
    await db.write(rename, RenameRow(alice, "alicia", "alicia"))
    clock.jump(455 * DAY)
    with pytest.raises(HandleTaken):
        await db.write(rename, RenameRow(bob, "alice", "alice"))
    clock.jump(timedelta(seconds=1))
    await db.write(rename, RenameRow(bob, "alice", "alice"))
    assert (await handles(db))["alice"].person == bob


# Leaving


async def test_who_leaves_keeps_nothing_and_his_name_is_nobodys_for_a_year(
    db: Database, clock: Clock
) -> None:
    alice, bob, carol = await named(db, "alice", "bob", "carol")
    await db.write(add_follow, FollowRow(alice, bob))
    await db.write(add_follow, FollowRow(bob, alice))
    await db.write(add_follow, FollowRow(bob, carol))
    await db.write(set_setting, SettingRow(alice, "replies", "all"))
    await db.write(set_setting, SettingRow(bob, "replies", "all"))
    await db.write(leave, alice)
    assert [(f.follower, f.author) for f in await db.read(_follows)] == [(bob, carol)]
    assert await db.read(lambda c: list(queries.load_settings(c))) == [(bob, "replies", "all")]
    gone = (await handles(db))["alice"]
    assert (gone.person, gone.retired, gone.successor) == (None, clock.now(), None)
    with pytest.raises(HandleTaken):
        await db.write(take_handle, HandleRow(alice, "alice", "alice"))
    clock.jump(365 * DAY + timedelta(seconds=1))
    await db.write(take_handle, HandleRow(carol, "carol", "carol"))  # his own: nothing changes
    [dave] = await people(db, "dave")
    assert (await db.write(take_handle, HandleRow(dave, "alice", "alice"))).handle == "alice"


def _follows(conn: Connection) -> list[Follow]:
    return list(queries.load_follows(conn))


async def test_the_earlier_names_of_who_leaves_tell_nothing_any_more(db: Database) -> None:
    [alice] = await named(db, "alice")
    await db.write(rename, RenameRow(alice, "alicia", "alicia"))
    await db.write(leave, alice)
    assert {n: (h.person, h.successor) for n, h in (await handles(db)).items()} == {
        "alice": (None, None), "alicia": (None, None),
    }  # fmt: skip


async def test_posts_are_blanked_a_portion_at_a_time(db: Database) -> None:
    alice, bob = await named(db, "alice", "bob")
    for who, text in ((alice, "one"), (bob, "bob's"), (alice, "two")):
        await db.write(append_post, post_row(who, text, origin=text))
    assert await db.write(blank_posts, BlankRow(alice, 0)) == Blanked((1, 3))
    assert await db.write(blank_posts, BlankRow(alice, 3)) == Blanked(())
    rows = await db.read(lambda c: c.execute(select(post).order_by(post.c.number)).all())
    assert [(r.text, r.deleted, r.origin, r.lang) for r in rows] == [
        ("", True, None, None), ("bob's", False, "bob's", "en"), ("", True, None, None),
    ]  # fmt: skip
    assert AT_ONCE <= 30_000, "SQLite takes so many parameters"


# Many settings


async def test_several_settings_are_one_row_of_the_queue(db: Database) -> None:
    [alice] = await people(db, "alice")
    await db.write(set_settings, [SettingRow(alice, "a", "1"), SettingRow(alice, "b", "2")])
    await db.write(set_settings, [SettingRow(alice, "a", None), SettingRow(alice, "b", "3")])
    assert await db.read(lambda c: list(queries.load_settings(c))) == [(alice, "b", "3")]


# Export


async def test_the_data_of_one_person_is_all_of_his_and_nobody_elses(
    db: Database, clock: Clock
) -> None:
    alice, bob, carol = await named(db, "alice", "bob", "carol")
    await db.write(add_follow, FollowRow(alice, bob))
    await db.write(add_follow, FollowRow(carol, alice))
    await db.write(add_follow, FollowRow(carol, bob))
    await db.write(set_setting, SettingRow(alice, "replies", "all"))
    await db.write(set_setting, SettingRow(bob, "quiet", "on"))
    await db.write(append_post, post_row(alice, "hello"))
    await db.write(append_post, post_row(bob, "not hers"))
    letter = PostRow(bob, "to alice", kind=Kind.DIRECT, targets=(alice,))
    await db.write(append_post, letter)
    await db.write(append_post, PostRow(bob, "to carol", kind=Kind.DIRECT, targets=(carol,)))
    await db.write(append_post, PostRow(alice, "to bob", kind=Kind.DIRECT, targets=(bob,)))
    await db.write(_rows_of_alice, (alice, bob))
    data = await db.read(lambda conn: list(data_of(conn, "alice@example.org")))
    assert json.loads(json.dumps(data)) == data
    kinds = [each["type"] for each in data]
    assert kinds == [
        "person", "handle", "setting", "follows", "follower", "block", "mute", "group", "max",
        "like", "post", "direct", "direct",
    ]  # fmt: skip
    by_kind = {each["type"]: each for each in data}
    assert by_kind["person"]["jid"] == "alice@example.org"
    assert by_kind["follows"]["who"] == "@bob"
    assert by_kind["follower"]["who"] == "@carol"
    assert by_kind["setting"] == {"type": "setting", "name": "replies", "value": "all"}
    assert by_kind["mute"]["value"] == "@bob"
    texts = [each["text"] for each in data if "text" in each]
    assert texts == ["hello", "to alice", "to bob"]
    [post_of_alice] = [each for each in data if each["type"] == "post"]
    assert post_of_alice["id"] == f"1.{db.epoch}"
    assert post_of_alice["published"] == clock.now().isoformat()


async def test_of_somebody_unknown_there_is_no_data(db: Database) -> None:
    assert await db.read(lambda conn: list(data_of(conn, "nobody@example.org"))) == []


def _insert_rows(tx: Transaction, rows: Sequence[tuple[int, int]]) -> list[None]:
    [(alice, bob)] = rows
    now = tx.now
    tx.conn.execute(insert(block).values(owner=alice, target="spam.org", created=now))
    tx.conn.execute(insert(block).values(owner=bob, target="alice@example.org", created=now))
    tx.conn.execute(insert(mute).values(person=alice, sort="person", value=str(bob), since=now))
    tx.conn.execute(insert(member).values(person=alice, name="news", author=bob))
    tx.conn.execute(insert(cap).values(person=alice, author=bob, count=4, daily=False))
    tx.conn.execute(insert(liking).values(number=2, person=alice, created=now))
    assert tx.conn.scalar(select(addressed.c.number).where(addressed.c.person == alice)) == 3
    return [None]


_rows_of_alice = Operation(_insert_rows, grows=False)
