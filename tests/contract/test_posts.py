"""Posts are changed, shown and liked in the database as the rules want it (S8, S9)."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.contract.store_world import Clock, Opened, people
from xmpprelay.core.model import Appended, Kind, Post
from xmpprelay.errors import Refused, UnknownPost
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.likes import LikeRow, count_likes, like, unlike
from xmpprelay.store.posts import (
    MAX_EDITS,
    ChangeRow,
    PostRow,
    append_post,
    boost_of,
    change_post,
    newest_posts,
    own_message,
    wrote_to,
)


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as database:
        yield database


async def post(db: Database, author: int, text: str = "one", **more: object) -> Post:
    row = PostRow(author, text, lanes=lambda _: ("lane",), **more)  # type: ignore[arg-type]
    return (await db.write(append_post, row)).post


async def change(
    db: Database, author: int, number: int | None, text: str | None, **more: object
) -> Appended:
    row = ChangeRow(author, number, text, lanes=lambda _: ("lane",), **more)  # type: ignore[arg-type]
    return await db.write(change_post, row)


async def now_is(db: Database, number: int) -> Post:
    found = await db.read(lambda conn: queries.post_by_number(conn, number))
    assert found is not None
    return found


async def test_an_edit_is_an_entry_and_changes_the_text(db: Database) -> None:
    alice, bob, carol = await people(db, "alice", "bob", "carol")
    first = await post(db, alice, targets=(bob,), parent=7, root=3)
    assert (await now_is(db, 1)).root == first.root == 3
    made = await change(db, alice, 1, "two", mentions=(alice, bob, carol))
    entry = made.post
    assert (entry.number, entry.kind, entry.text, entry.edits) == (2, Kind.EDIT, "two", 1)
    assert entry.mentions == (carol,), "the others were named before, or wrote it"
    assert [each.person for each in made.standings] == [carol]
    assert entry.original == await now_is(db, 1)
    assert (entry.original.text, entry.original.targets) == ("two", (bob,))
    assert await now_is(db, 2) == entry


async def test_a_resend_of_a_change_changes_nothing(db: Database) -> None:
    [alice] = await people(db, "alice")
    await post(db, alice)
    await post(db, alice, "two")
    for ids in ({"origin": "a"}, {"stanza_id": "b"}):
        results = [await change(db, alice, 1, "edited", **ids) for _ in range(2)]
        assert [each.duplicate for each in results] == [False, True]
        assert results[0].post.number == results[1].post.number
    assert (await now_is(db, 1)).edits == 2
    gone = [await change(db, alice, None, None, stanza_id="d") for _ in range(2)]
    assert [each.duplicate for each in gone] == [False, True]
    assert not (await now_is(db, 1)).deleted, "`del` sent again is not another `del`"
    assert (await now_is(db, 2)).deleted


async def test_whose_and_how_old_a_post_may_be(db: Database, clock: Clock) -> None:
    alice, bob = await people(db, "alice", "bob")
    await post(db, alice)
    boost = await post(db, bob, "", kind=Kind.BOOST, original=1)
    for author, number in ((bob, 1), (alice, boost.number), (alice, 99)):
        with pytest.raises(UnknownPost, match="You have no post"):
            await change(db, author, number, "mine")
        with pytest.raises(UnknownPost, match="You have no post"):
            await change(db, author, number, None)
    with pytest.raises(Refused, match="is a boost"):
        await change(db, bob, boost.number, "mine")
    for count in range(MAX_EDITS):
        await change(db, alice, 1, f"edit {count}")
    with pytest.raises(Refused, match="5 times"):
        await change(db, alice, 1, "once more")
    await post(db, alice, "another")
    clock.pass_s(86_401)
    with pytest.raises(Refused, match="older than a day"):
        await change(db, alice, 8, "too late")
    await change(db, alice, 8, None)
    for text in ("again", None):
        with pytest.raises(UnknownPost):
            await change(db, alice, 8, text)


async def test_a_deletion_takes_the_boosts_along(db: Database) -> None:
    alice, bob, carol = await people(db, "alice", "bob", "carol")
    await post(db, alice)
    await post(db, bob, "", kind=Kind.BOOST, original=1)
    taken_back = await post(db, carol, "", kind=Kind.BOOST, original=1)
    await change(db, carol, taken_back.number, None)
    await post(db, carol, "", kind=Kind.BOOST, original=1)
    made = await change(db, alice, 1, None)
    assert (made.post.number, made.post.kind, made.post.original) == (
        6, Kind.DELETE, await now_is(db, 1),
    )  # fmt: skip
    assert [(e.number, e.author, e.original) for e in made.further] == [
        (7, bob, await now_is(db, 2)),
        (8, carol, await now_is(db, 5)),
    ]
    for number in (7, 8):
        entry = await now_is(db, number)
        assert entry.original is not None
        assert entry.original.deleted
        assert entry.content is entry, "what it shows is the deletion"
        assert entry.original.original is not None, "as deep as the chain goes"
        assert entry.original.original.text == ""
    rows = await db.read(queries.open_fanouts)
    assert {each.number for each in rows} >= {6, 7, 8}
    with pytest.raises(UnknownPost):
        await post(db, bob, "", kind=Kind.BOOST, original=1)


async def test_the_last_one_is_of_any_kind_but_a_change(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    with pytest.raises(UnknownPost, match="no post that could"):
        await change(db, alice, None, None)
    await post(db, alice)
    await post(db, alice, "psst", kind=Kind.DIRECT, targets=(bob,))
    await change(db, alice, 1, "edited")
    gone = [await change(db, alice, None, None) for _ in range(2)]
    assert [each.post.original and each.post.original.number for each in gone] == [2, 1]


async def test_a_message_is_found_by_the_clients_own_id(db: Database) -> None:  # S9.3
    alice, bob = await people(db, "alice", "bob")
    await post(db, alice, stanza_id="s", origin="o")
    await post(db, bob, stanza_id="s")
    await change(db, alice, 1, "edited", stanza_id="e")

    async def found(author: int, name: str) -> int | None:
        mine = await db.read(lambda conn: own_message(conn, author, name))
        return None if mine is None else mine.number

    assert [await found(alice, name) for name in ("s", "o", "e", "x")] == [1, 1, 1, None]
    assert await found(bob, "s") == 2
    assert await found(bob, "o") is None


async def test_what_a_person_wrote_lately(db: Database, clock: Clock) -> None:
    alice, bob, carol = await people(db, "alice", "bob", "carol")
    began = clock.now()
    await post(db, alice)
    await post(db, alice, "psst", kind=Kind.DIRECT, targets=(bob,))
    clock.pass_s(60)
    await post(db, alice, "two")
    await post(db, bob, "", kind=Kind.BOOST, original=1)
    await post(db, alice, "gone")
    await change(db, alice, 5, None)

    async def numbers(author: int, since_s: int) -> list[int]:
        since = began + timedelta(seconds=since_s)
        found = await db.read(lambda conn: newest_posts(conn, author, since, 10))
        return [each.number for each in found]

    assert await numbers(alice, 0) == [3, 1]
    assert await numbers(alice, 60) == [3]
    assert await numbers(bob, 0) == []
    for author, target, since_s, wrote in (
        (alice, bob, 0, True), (alice, bob, 1, False), (bob, alice, 0, False),
        (alice, carol, 0, False),
    ):  # fmt: skip
        since = began + timedelta(seconds=since_s)
        assert await db.read(lambda c, a=author, t=target, s=since: wrote_to(c, a, t, s)) is wrote
    boost = await db.read(lambda conn: boost_of(conn, bob, 1))
    assert boost is not None
    assert boost.number == 4
    assert await db.read(lambda conn: boost_of(conn, alice, 1)) is None
    await change(db, bob, 4, None)
    assert await db.read(lambda conn: boost_of(conn, bob, 1)) is None


async def test_a_like_is_one_a_person(db: Database) -> None:  # S8.2
    alice, bob = await people(db, "alice", "bob")
    await post(db, alice)
    rows = [LikeRow(bob, 1), LikeRow(bob, 1), LikeRow(alice, 1)]
    assert [await db.write(like, row) for row in rows] == [True, False, True]
    assert await db.read(lambda conn: count_likes(conn, 1)) == 2
    assert [await db.write(unlike, row) for row in rows] == [True, False, True]
    assert await db.read(lambda conn: count_likes(conn, 1)) == 0
