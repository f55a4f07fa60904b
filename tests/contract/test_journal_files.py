"""Posts go out of one journal and into another one, and come to nobody as new."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.contract.store_world import Clock, Opened, on, people
from xmpprelay.core.atom import atom_id
from xmpprelay.core.graph import Graph
from xmpprelay.core.insertion import State
from xmpprelay.core.model import Kind, Mode, Post, Queued
from xmpprelay.core.routing import TAKEN_OVER, Outlet, decide
from xmpprelay.core.text import message_id
from xmpprelay.errors import Refused
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.insertion import ChooseRow, choose, list_open
from xmpprelay.store.journal_files import (
    CHUNK,
    FiledPost,
    FileRow,
    Imported,
    ImportRow,
    Wanted,
    count_wanted,
    filed_posts,
    import_posts,
    imported_at,
    note_file,
    present,
)
from xmpprelay.store.operations import (
    FollowRow,
    HandleRow,
    SettingRow,
    add_follow,
    set_setting,
    take_handle,
)
from xmpprelay.store.posts import ChangeRow, PostRow, append_post, change_post

DOMAIN = "relay.test"
OLD = datetime(2025, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC)


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as database:
        yield database


async def post(db: Database, author: int, text: str = "one", **more: object) -> Post:
    return (await db.write(append_post, PostRow(author, text, **more))).post  # type: ignore[arg-type]


async def exported(db: Database, **more: object) -> list[FiledPost]:
    wanted = Wanted(DOMAIN, **more)  # type: ignore[arg-type]
    found, count = await db.read(
        lambda conn: (list(filed_posts(conn, wanted)), count_wanted(conn, wanted))
    )
    assert count == len(found)
    return found


async def taken_over(
    db: Database, *posts: FiledPost, account_of: Callable[[int], int | None] | None = None
) -> Imported:
    return await db.write(import_posts, ImportRow(posts, account_of))


async def everything(db: Database) -> list[Post]:
    return await db.read(lambda conn: queries.recent_posts(conn, 1000))


def filed(name: str, author: str = "alice", **more: object) -> FiledPost:
    first = FiledPost(name, f"{author}@example.org", author, f"text of {name}", "en", OLD)
    return replace(first, **more)  # type: ignore[arg-type]


# --- out -----------------------------------------------------------------------------------------


async def test_a_file_has_posts_as_they_are_now(db: Database) -> None:
    alice, bob, carol = await people(db, "alice", "bob", "carol")
    await db.write(take_handle, HandleRow(alice, "alice", "alice"))
    await db.write(set_setting, SettingRow(bob, "protect", "on"))
    first = await post(
        db, alice, "one https://a.test/1.png", lang="en", attachments=("https://a.test/1.png",)
    )
    await post(db, bob, "@alice two", parent=1, root=1, targets=(alice,), mentions=(carol,))
    await post(db, alice, "~ three", relay_only=True)
    await post(db, alice, "", kind=Kind.BOOST, original=1)
    await db.write(change_post, ChangeRow(alice, 1, "1 https://a.test/1.png"))
    await db.write(change_post, ChangeRow(alice, 3, None))
    await post(db, bob, "psst", kind=Kind.DIRECT, targets=(alice,))
    one, two, three = await exported(db)
    assert one == FiledPost(
        atom_id=atom_id(DOMAIN, message_id(1, db.epoch)),
        author="alice@example.org",
        handle="alice",
        text="1 https://a.test/1.png",
        lang="en",
        created=first.created,
        edits=1,
        attachments=("https://a.test/1.png",),
    )
    assert (two.in_reply_to, two.targets, two.mentions) == (
        one.atom_id, ("alice@example.org",), ("carol@example.org",),
    )  # fmt: skip
    assert (two.handle, two.protected) == (None, True)
    assert (three.text, three.deleted, three.relay_only) == ("", True, True)
    *_, letter = await exported(db, letters=True)
    assert (letter.kind, letter.text, letter.targets) == (
        Kind.DIRECT, "psst", ("alice@example.org",),
    )  # fmt: skip


async def test_a_file_may_have_some_posts_only(db: Database, clock: Clock) -> None:
    alice, bob = await people(db, "alice", "bob")
    await post(db, alice, "one")
    clock.pass_s(60)
    await post(db, bob, "two")
    await post(db, alice, "three")
    assert [each.text for each in await exported(db, since=clock.now())] == ["two", "three"]
    assert [each.text for each in await exported(db, author=alice)] == ["one", "three"]


async def test_what_the_relay_itself_says_is_in_no_file(db: Database) -> None:
    [status] = await people(db, "status")
    await post(db, status, "The primary is on standby")
    assert [each.author for each in await exported(db)] == ["status@example.org"]
    wanted = Wanted("example.org")
    assert await db.read(lambda conn: list(filed_posts(conn, wanted))) == []


async def test_a_file_says_what_is_inserted(db: Database) -> None:
    [alice] = await people(db, "alice")
    for _ in range(2):
        await post(db, alice, account=alice)
    done = ChooseRow(
        lambda row, _: replace(row, state=State.INSERTED, due=None, remote_id="99"), number=1
    )
    await db.write(choose, done)
    assert [each.inserted for each in await exported(db)] == [("99",), ()]


# --- in ------------------------------------------------------------------------------------------


async def test_posts_go_into_another_journal_and_out_again(opened: Opened, path: Path) -> None:
    async with opened() as db:
        alice, bob, carol = await people(db, "alice", "bob", "carol")
        await post(db, alice, "one\nand a half", lang="de", attachments=("https://a.test/1",))
        await post(db, bob, "@alice two", parent=1, root=1, targets=(alice,), mentions=(carol,))
        await post(db, carol, "three", parent=2, root=1)
        await post(db, bob, "psst", kind=Kind.DIRECT, targets=(alice,))
        more = [PostRow(alice, f"more {n}", relay_only=n % 2 == 0) for n in range(CHUNK)]
        await asyncio.gather(*(db.submit(append_post, row) for row in more))
        await db.write(change_post, ChangeRow(alice, 1, None))
        before = await exported(db, letters=True)
    async with opened(on(path.with_name("other.db"))) as other:
        zoe, *_ = await people(other, "zoe", "carol", "alice", "bob")
        await post(other, zoe, "I was here before")
        done = await taken_over(other, *before)
        assert done == Imported(len(before), 0, ())
        assert await exported(other, letters=True) == [
            *(await exported(other, author=zoe)),
            *before,
        ]
        _, first, second, third, *_ = await everything(other)
        assert [each.number for each in (first, second, third)] == [2, 3, 4]
        assert [(each.parent, each.root) for each in (second, third)] == [(2, 2), (3, 2)]
        again = await taken_over(other, *before)
        assert again == Imported(0, len(before), ())


async def test_what_was_made_here_is_known_here(db: Database) -> None:
    [alice] = await people(db, "alice")
    made = await post(db, alice, "one")
    [one] = await exported(db)
    reply = filed("tag:b", in_reply_to=one.atom_id)
    assert await taken_over(db, one, reply) == Imported(1, 1, ())
    assert (await everything(db))[-1].parent == made.number
    stranger = replace(one, atom_id=one.atom_id.replace(db.epoch, "zzzzzz"))
    assert (await taken_over(db, stranger)).new == 1, "of the same number, at another relay"


async def test_what_is_answered_and_not_here_is_left_out(db: Database) -> None:
    await people(db, "alice")
    await taken_over(db, filed("tag:b", in_reply_to="tag:a", targets=("nobody@example.org",)))
    [reply] = await everything(db)
    assert (reply.parent, reply.root, reply.targets) == (None, None, ())


async def test_an_author_who_is_not_known_spoils_his_part_alone(db: Database) -> None:
    await people(db, "alice")
    with pytest.raises(Refused, match=r"bob@example\.org is not known here"):
        await taken_over(db, filed("tag:a"), filed("tag:b", "bob"))
    assert await everything(db) == []
    await taken_over(db, filed("tag:c"))
    assert [each.number for each in await everything(db)] == [1]


async def test_they_come_to_nobody_as_new(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    followed = await db.write(add_follow, FollowRow(bob, alice, Mode.HOME))
    await post(db, alice, "new")
    named = filed("tag:a", targets=("bob@example.org",))
    await taken_over(db, named, filed("tag:b"))
    standings = await db.read(lambda conn: list(queries.load_standings(conn)))
    assert standings == [followed.standing]  # type: ignore[union-attr]
    assert await db.read(queries.open_fanouts) == []
    graph = Graph(("example.org",))
    for person in await db.read(lambda conn: list(queries.load_people(conn))):
        graph.add_person(person)
    for follow in await db.read(lambda conn: list(queries.load_follows(conn))):
        graph.add_follow(follow)
    new, *old = await db.read(lambda conn: queries.candidates_for(conn, bob, 1, 9, 9))
    assert decide(graph, new, bob).yes
    assert len(old) == 2
    for each in old:
        for outlet in (Outlet.LIVE, Outlet.DIGEST):
            assert decide(graph, each, bob, outlet) is TAKEN_OVER
        for outlet in (Outlet.ASKED, Outlet.TIMELINE):
            assert decide(graph, each, bob, outlet).yes
    gone = (await db.write(change_post, ChangeRow(alice, 2, None))).post
    assert decide(graph, gone, bob) is TAKEN_OVER, "nor is it taken back from him"


async def test_only_what_is_not_there_is_inserted_and_only_if_asked_for(db: Database) -> None:
    alice, _ = await people(db, "alice", "bob")
    posts = (
        filed("tag:a"),
        filed("tag:b", "bob"),
        filed("tag:c", inserted=("99",)),
        filed("tag:d", relay_only=True),
        filed("tag:e", deleted=True, text=""),
        filed("tag:f", kind=Kind.DIRECT, targets=("bob@example.org",)),
    )
    done = await taken_over(db, *posts, account_of={alice: alice}.get)
    assert done == Imported(6, 0, (Queued(alice, 1),))
    [row] = await db.read(list_open)
    assert (row.post.atom_id, row.row.account) == ("tag:a", alice)
    assert row.row.created - OLD > timedelta(days=365), "it is not too old, for it is asked for now"


# --- who and what was here -----------------------------------------------------------------------


async def test_a_file_is_known_again(db: Database, clock: Clock) -> None:
    assert await db.read(lambda conn: imported_at(conn, "ab")) is None
    for _ in range(2):
        await db.write(note_file, FileRow("ab", 7))
        clock.pass_s(60)
    at = await db.read(lambda conn: imported_at(conn, "ab"))
    assert at == clock.now() - timedelta(seconds=120)


async def test_who_is_here_is_told_for_the_checks(db: Database) -> None:
    alice, bob, _ = await people(db, "alice", "bob", "carol")
    await db.write(take_handle, HandleRow(alice, "ally", "ally"))
    await db.write(set_setting, SettingRow(bob, "protect", "on"))
    here = await db.read(present)
    assert here.handles == {
        "alice@example.org": "ally", "bob@example.org": "", "carol@example.org": "",
    }  # fmt: skip
    assert here.taken == {"ally": "alice@example.org"}
    assert here.protected == {"bob@example.org"}
