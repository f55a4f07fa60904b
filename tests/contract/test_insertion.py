"""The queue for the primary in the database: what comes into it, and how its rows change."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.contract.store_world import Clock, Opened, people
from xmpprelay.core.health import Flag
from xmpprelay.core.insertion import OPEN, Act, Head, Insertion, State, Where, ended
from xmpprelay.core.model import Appended, Kind, Post, Queued
from xmpprelay.core.pacing import Rate
from xmpprelay.core.primary import Candidate, Caps, Dedupe, Status, Visibility
from xmpprelay.store.account import BlankRow, blank_posts
from xmpprelay.store.database import Database
from xmpprelay.store.insertion import (
    EXPIRE,
    ChooseRow,
    ClaimRow,
    Listed,
    SettleRow,
    Waiting,
    before_it,
    choose,
    claim,
    claimed,
    counts_by_state,
    head_of,
    inserted_since,
    list_open,
    load_waiting,
    newest_remote,
    oldest_open,
    oldest_waiting,
    pending_of,
    restart,
    rows_of_post,
    settle,
)
from xmpprelay.store.links import LinkRow, PrivateRow, add_link, set_private
from xmpprelay.store.operations import SettingRow, set_setting
from xmpprelay.store.outages import (
    EndRow,
    Outage,
    Remembered,
    begin_outage,
    end_outage,
    list_outages,
    remember_caps,
    remembered,
    set_flag,
)
from xmpprelay.store.posts import ChangeRow, PostRow, append_post, change_post

HERE, THERE = "https://social.example", "https://other.example"

PLACE, OTHER = Where("a table"), Where("another")


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as database:
        yield database


async def append(db: Database, author: int, text: str = "one", **more: Any) -> Appended:
    return await db.write(append_post, PostRow(author, text, **({"account": author} | more)))


async def post(db: Database, author: int, text: str = "one", **more: Any) -> Post:
    return (await append(db, author, text, **more)).post


async def change(db: Database, author: int, number: int, text: str | None = None) -> Appended:
    return await db.write(change_post, ChangeRow(author, number, text))


async def rows(db: Database, number: int) -> list[Insertion]:
    return await db.read(lambda conn: rows_of_post(conn, number))


async def row(db: Database, number: int) -> Insertion:
    [one] = await rows(db, number)
    return one


async def becomes(db: Database, number: int, **values: Any) -> Insertion:
    """A post's first row, made what it is to be."""
    first = replace((await rows(db, number))[0], **values)
    return (await db.write(settle, SettleRow(first, (await rows(db, number))[0].state)))[1]


async def inserted(
    db: Database, number: int, remote_id: str, at: datetime, where: Where = PLACE
) -> Insertion:
    return await becomes(
        db, number, state=State.INSERTED, due=None, remote_id=remote_id, last_sent=at, where=where
    )


async def head(db: Database, account: int, here: Where = PLACE) -> Head:
    found = await db.read(lambda conn: head_of(conn, account, here))
    assert found is not None
    return found


def stands(found: Sequence[Insertion]) -> list[tuple[Act, State, int]]:
    return [(each.act, each.state, each.part) for each in found]


# --- what comes into the queue -------------------------------------------------------------------


async def test_a_post_is_queued_with_it(db: Database, clock: Clock) -> None:
    [alice] = await people(db, "alice")
    made = await append(db, alice, origin="o")
    assert made.queued == (Queued(alice, 1),)
    queued = await row(db, made.post.number)
    assert queued == replace(_as_queued(made.post.number, clock.now()), id=queued.id, account=alice)
    again = await append(db, alice, origin="o")
    assert (again.duplicate, again.queued) == (True, ())
    assert len(await rows(db, made.post.number)) == 1


async def test_what_is_in_nobody_s_name_is_not_queued(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    letter = await append(db, alice, kind=Kind.DIRECT, targets=(bob,), account=None)
    paper = await append(db, alice, relay_only=True, account=None)
    for made in (letter, paper):
        assert made.queued == ()
        assert await rows(db, made.post.number) == []
        gone = await change(db, alice, made.post.number)
        assert sum(each.opened for each in gone.queued) == 0


async def test_the_operator_s_account_is_for_everybody(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    for author in (alice, bob, alice):
        await post(db, author, account=0)
    assert (await head(db, 0)).post.author == alice
    waits = await db.read(lambda conn: list(load_waiting(conn)))
    assert [(each.account, each.rows) for each in waits] == [(0, 3)]


@pytest.mark.parametrize(
    ("state", "unclear", "edit", "delete"),
    [
        # state of the insertion; Queued of an edit, and then of a deletion (opened, closed)
        (State.QUEUED, False, (), (0, 1)),
        (State.QUEUED, True, (1, 0), (1, 1)),
        (State.SENDING, False, (1, 0), (1, 1)),
        (State.UNKNOWN, True, (1, 0), (1, 1)),
        (State.HELD, True, (1, 0), (0, 2)),
        (State.INSERTED, False, (1, 0), (1, 1)),
        (State.REFUSED, False, (), (0, 0)),
        (State.PARKED, False, (), (0, 0)),
        (State.CANCELLED, False, (), (0, 0)),
    ],
)
async def test_changes_of_a_post_in_each_state(
    db: Database,
    clock: Clock,
    state: State,
    unclear: bool,
    edit: tuple[int, ...],
    delete: tuple[int, int],
) -> None:
    [alice] = await people(db, "alice")
    number = (await post(db, alice)).number
    due = clock.now() if state in OPEN else None
    await becomes(db, number, state=state, unclear=unclear, due=due)
    edited = await change(db, alice, number, "two")
    assert [(each.opened, each.closed) for each in edited.queued] == ([edit] if edit else [])
    twice = await change(db, alice, number, "three")
    assert twice.queued == (), "one edit that waits does for all"
    gone = await change(db, alice, number)
    assert [(each.opened, each.closed, each.post) for each in gone.queued] == [(*delete, number)]
    found = await rows(db, number)
    stopped = state in (State.HELD, State.PARKED, State.REFUSED)
    stays = not stopped and (unclear or state is not State.QUEUED)
    first = state if stays else State.CANCELLED
    wanted = [(Act.INSERT, first, 0)]
    wanted += [(Act.EDIT, State.CANCELLED, 0)] if edit else []
    wanted += [(Act.DELETE, State.QUEUED, 0)] if delete[0] else []
    assert stands(found) == wanted
    assert [each.due is None for each in found] == [each.state not in OPEN for each in found]


async def test_an_edit_that_is_under_way_is_followed_by_the_next(db: Database) -> None:
    [alice] = await people(db, "alice")
    number = (await post(db, alice)).number
    await becomes(db, number, state=State.INSERTED, due=None, remote_id="r1")
    await change(db, alice, number, "two")
    edit = (await rows(db, number))[1]
    await db.write(settle, SettleRow(replace(edit, state=State.SENDING), State.QUEUED))
    await change(db, alice, number, "three")
    gone = await change(db, alice, number)
    assert [(each.opened, each.closed) for each in gone.queued] == [(1, 1)]
    assert stands(await rows(db, number)) == [
        (Act.INSERT, State.INSERTED, 0),
        (Act.EDIT, State.SENDING, 0),
        (Act.EDIT, State.CANCELLED, 0),
        (Act.DELETE, State.QUEUED, 0),
    ]


async def test_each_part_of_a_deleted_post_is_deleted(db: Database, clock: Clock) -> None:
    [alice] = await people(db, "alice")
    number = (await post(db, alice)).number

    def in_three(found: Head) -> tuple[Insertion, Sequence[Insertion]]:
        further = [replace(found.row, id=0, part=part) for part in (2, 3)]
        return replace(found.row, part=1, state=State.SENDING), further

    await db.write(claim, ClaimRow(alice, in_three, PLACE))
    first = (await rows(db, number))[0]
    await db.write(
        settle,
        SettleRow(
            replace(first, state=State.INSERTED, due=None, remote_id="r1", last_sent=clock.now()),
            State.SENDING,
        ),
    )
    second = await head(db, alice)
    assert (second.row.part, second.before and second.before.remote_id) == (2, "r1")
    gone = await change(db, alice, number)
    assert [(each.opened, each.closed) for each in gone.queued] == [(1, 0), (0, 1), (0, 1)]
    assert stands(await rows(db, number)) == [
        (Act.INSERT, State.INSERTED, 1),
        (Act.DELETE, State.QUEUED, 1),
        (Act.INSERT, State.CANCELLED, 2),
        (Act.INSERT, State.CANCELLED, 3),
    ]
    own = (await head(db, alice)).own_row
    assert own is not None
    assert (own.part, own.remote_id) == (1, "r1")


# --- a turn --------------------------------------------------------------------------------------


async def test_a_claim_is_about_the_oldest_open_row(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    first, second = await post(db, alice), await post(db, alice)
    await post(db, bob)
    seen: list[int] = []

    def sends(found: Head) -> tuple[Insertion, Sequence[Insertion]]:
        seen.append(found.post.number)
        return replace(found.row, state=State.SENDING, key="k"), ()

    stored = await db.write(claim, ClaimRow(alice, sends, PLACE))
    assert stored == await row(db, first.number)
    assert stored is not None
    assert (stored.state, stored.key) == (State.SENDING, "k")
    await db.write(settle, SettleRow(replace(stored, state=State.REFUSED, due=None), stored.state))
    await db.write(claim, ClaimRow(alice, sends, PLACE))
    assert seen == [first.number, second.number]


async def test_a_claim_that_decides_nothing_changes_nothing(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    number = (await post(db, alice)).number
    before = await row(db, number)
    assert await db.write(claim, ClaimRow(alice, lambda _: None, PLACE)) is None
    assert await row(db, number) == before

    def never(_: Head) -> None:
        raise AssertionError("bob has nothing")

    assert await db.write(claim, ClaimRow(bob, never, PLACE)) is None


async def test_every_column_comes_back_as_it_was_stored(db: Database, clock: Clock) -> None:
    [alice] = await people(db, "alice")
    number = (await post(db, alice)).number
    now = clock.now()
    status = Status(
        "1.ab", "xmpp:1", "alice@example.org", "alice", "täxt\n🎉", now, "de",
        Visibility.UNLISTED, now, "r0", ("bob@social.example",), ("m1", "m2"), backdate=True,
    )  # fmt: skip
    before = await row(db, number)
    full = replace(
        before, state=State.UNKNOWN, due=now, key="k", tries=3, alike=2,
        unclear=True, refused=True, first_sent=now, last_sent=now + timedelta(seconds=1),
        high_water="r9", visibility=Visibility.PRIVATE, status=status,
        media={"https://a.example/b.png": "m1", "https://a.example/c.png": ""},
        reason="timeout", detail="no answer",
    )  # fmt: skip
    assert await db.write(settle, SettleRow(full, State.QUEUED)) == (before, full)
    assert await row(db, number) == full


def _as_queued(number: int, now: datetime) -> Insertion:
    return Insertion(0, 0, number, Act.INSERT, now, due=now, visibility=Visibility.PUBLIC)


async def test_what_somebody_did_meanwhile_stays(db: Database) -> None:
    """An attachment is uploaded, and its post is dropped before that has come to its end."""
    [alice] = await people(db, "alice")
    number = (await post(db, alice)).number
    turn = await row(db, number)
    await db.write(choose, ChooseRow(dropped, number=number))
    before, after = await db.write(settle, SettleRow(replace(turn, media={"a": "m"}), turn.state))
    assert before == after == await row(db, number)
    assert after.state is State.CANCELLED


async def test_that_it_is_inserted_is_stored_in_any_case(db: Database) -> None:
    """Its account was unlinked while it was sent."""
    [alice] = await people(db, "alice")
    number = (await post(db, alice)).number
    sending = await becomes(db, number, state=State.SENDING)
    await db.write(choose, ChooseRow(dropped, account=alice))
    done = replace(sending, state=State.INSERTED, due=None, remote_id="r1")
    before, after = await db.write(settle, SettleRow(done, State.SENDING))
    assert (before.due, after.due) == (None, None), "it was counted when it was dropped"
    assert (await row(db, number)).remote_id == "r1"


async def test_a_remote_id_belongs_to_one_row(db: Database, clock: Clock) -> None:
    alice, bob = await people(db, "alice", "bob")
    first, second, other = [await post(db, who) for who in (alice, alice, bob)]
    await inserted(db, first.number, "r1", clock.now())
    taken = await inserted(db, second.number, "r1", clock.now())
    assert (taken.remote_id, taken.reason, taken.state) == (None, "claimed", State.INSERTED)
    assert (await inserted(db, other.number, "r1", clock.now())).remote_id == "r1"
    candidates = [Candidate("r1"), Candidate("r2")]
    found = await db.read(lambda conn: claimed(conn, alice, PLACE.service, candidates))
    assert found == {"r1"}
    assert await db.read(lambda conn: claimed(conn, alice, PLACE.service, [])) == frozenset()


async def test_the_high_water_mark_is_what_was_sent_last(db: Database, clock: Clock) -> None:
    alice, bob = await people(db, "alice", "bob")
    numbers = [(await post(db, alice)).number for _ in range(4)]
    assert (await head(db, alice)).newest is None
    await inserted(db, numbers[1], "r2", clock.now() + timedelta(seconds=5))
    await inserted(db, numbers[0], "r1", clock.now() + timedelta(seconds=1))
    await becomes(db, numbers[2], state=State.REFUSED, due=None, last_sent=clock.now())
    assert await db.read(lambda conn: newest_remote(conn, alice, PLACE)) == "r2"
    assert await db.read(lambda conn: newest_remote(conn, bob, PLACE)) is None
    assert (await head(db, alice)).newest == "r2"
    await becomes(db, numbers[3], first_sent=clock.now(), last_sent=clock.now())
    assert (await head(db, alice)).newest is None, "it is asked for before the first sending only"


async def test_after_a_restart_what_was_under_way_is_unclear(db: Database, clock: Clock) -> None:
    alice, bob = await people(db, "alice", "bob")
    sending, queued = await post(db, alice), await post(db, bob)
    await becomes(db, sending.number, state=State.SENDING)
    clock.pass_s(5)

    def unclear(each: Insertion, now: datetime) -> Insertion:
        return replace(each, state=State.UNKNOWN, due=now)

    assert await db.write(restart, unclear) == 1
    found = await row(db, sending.number)
    assert (found.state, found.due) == (State.UNKNOWN, clock.now())
    assert (await row(db, queued.number)).state is State.QUEUED
    assert await db.write(restart, unclear) == 0


# --- what decides about it -----------------------------------------------------------------------


async def test_a_head_knows_what_the_post_answers(db: Database, clock: Clock) -> None:
    alice, bob = await people(db, "alice", "bob")
    parent = await post(db, bob)
    await post(db, alice, parent=parent.number)
    found = await head(db, alice)
    assert found.parent is not None
    assert found.parent_row is not None
    assert (found.parent.number, found.parent_row.state) == (parent.number, State.QUEUED)
    await inserted(db, parent.number, "r1", clock.now())
    found = await head(db, alice)
    assert found.parent_row is not None
    assert found.parent_row.remote_id == "r1"
    await change(db, bob, parent.number)
    found = await head(db, alice)
    assert found.parent is not None
    assert found.parent.deleted


async def test_a_head_knows_what_its_author_wants(db: Database) -> None:
    [alice] = await people(db, "alice")
    await post(db, alice)
    found = await head(db, alice)
    assert (found.protected, found.private, found.expire) == (False, False, None)
    await link(db, alice)
    await db.write(set_setting, SettingRow(alice, "protect", "on"))
    await db.write(set_setting, SettingRow(alice, EXPIRE, "7200"))
    await db.write(set_private, PrivateRow(alice, True))
    found = await head(db, alice)
    assert (found.protected, found.private, found.expire) == (True, True, timedelta(hours=2))


async def link(db: Database, person: int, site: str = HERE, name: str = "a") -> None:
    await db.write(add_link, LinkRow(person, site, f"{name}{person}", f"{name}{person}", "sealed"))


async def test_a_row_knows_where_it_was_sent(db: Database, clock: Clock) -> None:
    alice, bob = await people(db, "alice", "bob")
    parent = await post(db, bob)
    assert (await row(db, parent.number)).where is None
    await inserted(db, parent.number, "r1", clock.now(), Where("there", "b1"))
    await post(db, alice, parent=parent.number)
    found = await head(db, alice, Where("here", "a1"))
    assert found.here == Where("here", "a1")
    assert found.parent_row is not None
    assert found.parent_row.where == Where("there", "b1")
    await change(db, bob, parent.number, "two")
    own = (await head(db, bob, Where("here", "b2"))).own_row
    assert own is not None
    assert own.where == Where("there", "b1")


async def test_a_remote_id_is_one_row_s_at_each_service(db: Database, clock: Clock) -> None:
    [alice] = await people(db, "alice")
    first, second, third = [(await post(db, alice)).number for _ in range(3)]
    await inserted(db, first, "r1", clock.now(), OTHER)
    candidates = [Candidate("r1")]
    for service, taken in ((OTHER.service, {"r1"}), (PLACE.service, set())):
        asked = partial(claimed, account=alice, service=service, candidates=candidates)
        found = await db.read(asked)
        assert found == taken
    assert (await inserted(db, second, "r1", clock.now(), PLACE)).remote_id == "r1"
    assert (await inserted(db, third, "r1", clock.now(), PLACE)).reason == "claimed"


async def test_a_high_water_mark_is_one_of_the_place_and_the_account(
    db: Database, clock: Clock
) -> None:
    [alice] = await people(db, "alice")
    places = [PLACE, OTHER, replace(PLACE, account="a1")]
    for place in places:
        await inserted(db, (await post(db, alice)).number, str(place), clock.now(), place)
        clock.pass_s(1)
    waits = await post(db, alice)
    for place in places:
        assert (await head(db, alice, place)).newest == str(place)
    assert (await head(db, alice, Where("a new one"))).newest is None
    sent = {"first_sent": clock.now(), "last_sent": clock.now(), "where": OTHER}
    await becomes(db, waits.number, **sent)
    assert (await head(db, alice, OTHER)).newest is None, "it has one already"
    assert (await head(db, alice, PLACE)).newest == str(PLACE)


async def test_a_first_part_that_begins_anew_elsewhere_loses_the_others(
    db: Database, clock: Clock
) -> None:
    [alice] = await people(db, "alice")
    number = (await post(db, alice)).number
    other = (await post(db, alice)).number

    def in_parts(parts: int) -> Callable[[Head], tuple[Insertion, Sequence[Insertion]]]:
        def decide(found: Head) -> tuple[Insertion, Sequence[Insertion]]:
            further = [replace(found.row, id=0, part=n) for n in range(2, parts + 1)]
            return replace(found.row, part=1 if further else 0, where=found.here), further

        return decide

    await db.write(claim, ClaimRow(alice, in_parts(3), OTHER))
    assert (await head(db, alice, OTHER)).rest == 0
    assert (await head(db, alice, PLACE)).rest == 2
    await db.write(claim, ClaimRow(alice, in_parts(2), PLACE))
    assert [each.part for each in await rows(db, number)] == [1, 2]
    await db.write(claim, ClaimRow(alice, in_parts(1), OTHER))
    assert [each.part for each in await rows(db, number)] == [0]
    assert len(await rows(db, other)) == 1


# --- how much waits ------------------------------------------------------------------------------


async def test_how_much_waits_of_whom(db: Database, clock: Clock) -> None:
    alice, bob = await people(db, "alice", "bob")
    began = clock.now()
    numbers = [(await post(db, who)).number for who in (alice, bob, alice, bob)]
    clock.pass_s(10)
    numbers.append((await post(db, alice)).number)
    await becomes(db, numbers[0], state=State.CANCELLED, due=None)
    later = clock.now() + timedelta(hours=1)
    await becomes(db, numbers[2], state=State.HELD, due=later)
    waits = await db.read(lambda conn: sorted(load_waiting(conn), key=lambda each: each.account))
    assert waits == [Waiting(alice, 2, began, later), Waiting(bob, 2, began, began)]
    assert await db.read(lambda conn: oldest_open(conn, alice)) == Waiting(alice, 0, began, later)
    assert await db.read(oldest_waiting) == {alice: began, bob: began}
    assert await db.read(lambda conn: before_it(conn, numbers[4])) == 3
    assert await db.read(lambda conn: before_it(conn, numbers[1])) == 0
    [carol] = await people(db, "carol")
    assert await db.read(lambda conn: oldest_open(conn, carol)) is None
    assert await db.read(counts_by_state) == {
        State.CANCELLED: 1, State.HELD: 1, State.QUEUED: 3,
    }  # fmt: skip


async def test_an_account_s_rows_go_in_the_order_of_its_posts(db: Database, clock: Clock) -> None:
    [alice] = await people(db, "alice")
    first, second = await post(db, alice), await post(db, alice)
    await inserted(db, first.number, "r1", clock.now())
    await change(db, alice, first.number, "two")
    assert (await head(db, alice)).row.post == first.number, "an edit of what was before"
    assert (await head(db, alice)).row.act is Act.EDIT
    assert second.number > first.number


async def test_what_an_author_is_shown(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    numbers = [(await post(db, alice, f"post {n}", account=0)).number for n in range(5)]
    await post(db, bob, account=0)
    await becomes(db, numbers[1], state=State.PARKED, due=None)
    await becomes(db, numbers[2], state=State.REFUSED, due=None)
    await becomes(db, numbers[3], state=State.INSERTED, due=None, remote_id="r")

    def shown(found: Sequence[Listed]) -> list[str]:
        return [each.post.text for each in found]

    found = await db.read(lambda conn: pending_of(conn, alice, 10))
    assert shown(found) == ["post 0", "post 1", "post 2", "post 4"]
    assert [each.row.post for each in found] == [each.post.number for each in found]
    assert shown(await db.read(lambda conn: pending_of(conn, alice, 2))) == ["post 0", "post 1"]
    states = await db.read(lambda conn: list_open(conn, states=[State.REFUSED, State.PARKED]))
    assert shown(states) == ["post 1", "post 2"]
    assert len(await db.read(lambda conn: list_open(conn, limit=2))) == 2


async def test_rows_of_a_post_are_told_to_its_author_only(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    number = (await post(db, alice, account=0)).number
    assert len(await db.read(lambda conn: rows_of_post(conn, number, alice))) == 1
    assert await db.read(lambda conn: rows_of_post(conn, number, bob)) == []


async def test_how_many_were_inserted_since(db: Database, clock: Clock) -> None:
    [alice] = await people(db, "alice")
    for n in range(3):
        await inserted(db, (await post(db, alice)).number, f"r{n}", clock.now())
        clock.pass_s(60)
    since = clock.now() - timedelta(seconds=120)
    assert await db.read(lambda conn: inserted_since(conn, since)) == 2


# --- what people choose --------------------------------------------------------------------------


def dropped(each: Insertion, now: datetime) -> Insertion | None:
    return ended(each, State.CANCELLED, "dropped", now)


async def test_rows_are_chosen_by_post_by_author_and_by_account(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    one, two = await post(db, alice, account=0), await post(db, alice)
    other = await post(db, bob, account=0)
    parked, refused = await post(db, alice), await post(db, alice)
    await becomes(db, parked.number, state=State.PARKED, due=None)
    await becomes(db, refused.number, state=State.REFUSED, due=None)

    async def chosen(**which: int) -> list[int]:
        seen: list[int] = []

        def nothing(each: Insertion, _: datetime) -> None:
            seen.append(each.post)

        assert await db.write(choose, ChooseRow(nothing, **which)) == ()
        return seen

    assert await chosen() == [each.number for each in (one, two, other, parked)]
    assert await chosen(author=alice) == [one.number, two.number, parked.number]
    assert await chosen(account=0) == [one.number, other.number]
    assert await chosen(author=alice, number=refused.number) == [refused.number]
    assert await chosen(author=bob, number=refused.number) == []
    changes = await db.write(choose, ChooseRow(dropped, author=alice))
    assert [(a.state, b.state) for a, b in changes] == [
        (State.QUEUED, State.CANCELLED), (State.QUEUED, State.CANCELLED),
        (State.PARKED, State.CANCELLED),
    ]  # fmt: skip
    assert (await row(db, other.number)).state is State.QUEUED


async def test_of_two_who_choose_at_once_the_second_sees_what_the_first_has_done(
    db: Database,
) -> None:
    [alice] = await people(db, "alice")
    number = (await post(db, alice)).number
    wish = ChooseRow(lambda each, now: dropped(each, now) if each.due else None, number=number)
    results = await asyncio.gather(*(db.submit(choose, wish) for _ in range(2)))
    assert [len(each) for each in results] == [1, 0]


# --- when an author leaves -----------------------------------------------------------------------


async def test_what_an_author_who_leaves_has_posted_is_not_inserted(
    db: Database, clock: Clock
) -> None:
    alice, bob = await people(db, "alice", "bob")
    numbers = [(await post(db, alice)).number for _ in range(6)]
    other = await post(db, bob)
    status = Status("1.ab", "xmpp:1", "alice@example.org", "alice", "secret", clock.now())
    media = {"https://a.example/secret.png": "m1"}
    url = "https://social.example/@alice/1"
    await inserted(db, numbers[0], "r1", clock.now())
    await becomes(db, numbers[0], remote_url=url, media=media)
    await change(db, alice, numbers[0], "two")
    for number, state in zip(numbers[1:], _STATES, strict=True):
        due = clock.now() if state in OPEN else None
        await becomes(db, number, state=state, due=due, status=status, media=media, detail="why")
    blanked = await db.write(blank_posts, BlankRow(alice, 0))
    assert blanked.numbers[:6] == tuple(numbers)
    assert [each for each in blanked.queued if each.closed] == [
        Queued(alice, 0, 1, number) for number in (numbers[0], *numbers[1:5])
    ]
    assert stands(await rows(db, numbers[0])) == [
        (Act.INSERT, State.INSERTED, 0), (Act.EDIT, State.CANCELLED, 0),
    ]  # fmt: skip
    for number in numbers:
        for each in await rows(db, number):
            assert each.state in (State.INSERTED, State.CANCELLED)
            assert (each.due, each.status, each.media) == (None, None, {})
            assert (each.remote_url, each.detail) == (None, "")
    assert (await row(db, other.number)).state is State.QUEUED
    assert await db.read(lambda conn: oldest_open(conn, alice)) is None
    assert (await db.write(blank_posts, BlankRow(alice, blanked.numbers[-1]))).numbers == ()


_STATES = (State.QUEUED, State.SENDING, State.UNKNOWN, State.HELD, State.PARKED)


# --- when a primary is away ----------------------------------------------------------------------


async def test_outages_are_kept_with_what_they_carried(db: Database, clock: Clock) -> None:
    began = clock.now()
    await db.write(begin_outage, Outage(HERE, began, None, "http_503", 0))
    await db.write(begin_outage, Outage(HERE, began + timedelta(1), None, "again", 0))
    await db.write(begin_outage, Outage(THERE, began + timedelta(2), None, "timeout", 0))
    away = await db.read(lambda conn: remembered(conn, HERE))
    assert away == Remembered(None, Flag.AUTO, began, "http_503")
    ends = began + timedelta(hours=1)
    await db.write(end_outage, EndRow(HERE, ends, 12))
    assert await db.read(lambda conn: remembered(conn, HERE)) == Remembered()
    assert await db.read(lambda conn: list_outages(conn, 10)) == [
        Outage(THERE, began + timedelta(2), None, "timeout", 0),
        Outage(HERE, began, ends, "http_503", 12),
    ]
    await db.write(end_outage, EndRow(HERE, ends + timedelta(1), 99))
    assert (await db.read(lambda conn: list_outages(conn, 10)))[1].carried == 12
    assert len(await db.read(lambda conn: list_outages(conn, 1))) == 1


CAPS = Caps(
    "gotosocial", 5000, 25, 6, 8 << 20, frozenset({"image/png"}), Dedupe.WINDOW, 3600.0, True,
    frozenset({Visibility.PUBLIC}), False, frozenset({Visibility.PUBLIC, Visibility.UNLISTED}),
    True, Rate(0.5, 3.0), Rate(1.0, 30.0),
)  # fmt: skip


async def test_what_a_primary_can_do_and_the_flag_outlive_a_restart(opened: Opened) -> None:
    async with opened() as db:
        assert await db.read(lambda conn: remembered(conn, HERE)) == Remembered()
        await db.write(remember_caps, (HERE, Caps("old")))
        await db.write(remember_caps, (HERE, CAPS))
        await db.write(set_flag, (HERE, Flag.ON))
    async with opened() as db:
        assert await db.read(lambda conn: remembered(conn, HERE)) == Remembered(CAPS, Flag.ON)
        assert await db.read(lambda conn: remembered(conn, THERE)) == Remembered()
        await db.write(set_flag, (HERE, Flag.OFF))
        assert (await db.read(lambda conn: remembered(conn, HERE))).flag is Flag.OFF
        await db.write(set_flag, (HERE, Flag.AUTO))
    async with opened() as db:
        assert await db.read(lambda conn: remembered(conn, HERE)) == Remembered(CAPS, Flag.AUTO)


async def test_what_another_version_has_remembered_is_asked_for_anew(
    opened: Opened, path: Path
) -> None:
    async with opened():
        pass
    for text in ("{}", "no json", '{"software": "x", "levitates": true}'):
        with closing(sqlite3.connect(path)) as conn, conn:
            conn.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"caps:{HERE}", text))
        async with opened() as db:
            assert (await db.read(lambda conn: remembered(conn, HERE))).caps is None
