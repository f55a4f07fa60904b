"""Groups, `off`, caps, digests and tiers in the database (S10)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import time, timedelta

import pytest

from tests.contract.store_world import Clock, Opened, count_posts, people, post_row
from xmpprelay.core.model import Kind
from xmpprelay.core.wishes import EVERYTHING, Cap, Digest, Span, of_author, of_group
from xmpprelay.errors import TooMany, UnknownHandle
from xmpprelay.store import less
from xmpprelay.store.database import Database
from xmpprelay.store.keeping_out import list_audit
from xmpprelay.store.less import (
    CapRow,
    Digested,
    DigestRow,
    Flush,
    GroupRow,
    OffRow,
    OnRow,
    PinRow,
    change_group,
    first_since,
    had_by,
    had_of,
    newest_of_authors,
    note_digests,
    paces_since,
    pin_tier,
    prune_offs,
    set_cap,
    set_digest,
    surplus_authors,
    switch_off,
    switch_on,
)
from xmpprelay.store.operations import HandleRow, take_handle
from xmpprelay.store.posts import PostRow, append_post

HOUR = timedelta(hours=1)


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as db:
        yield db


async def group(db: Database, person: int, name: str, *add: int, out: tuple[int, ...] = ()) -> int:
    """How many are in the group now."""
    row = GroupRow(person, name, add, out, Flush(person))
    return len((await db.write(change_group, row)).members)


# Groups


async def test_a_group_goes_with_its_last_member_and_all_that_was_chosen_for_it(
    db: Database,
) -> None:
    alice, bob, carol = await people(db, "alice", "bob", "carol")
    assert await group(db, bob, "news", alice, carol) == 2
    await db.write(switch_off, OffRow(bob, of_group("news"), None))
    await db.write(set_digest, DigestRow(bob, of_group("news"), HOUR, flush=Flush(bob)))
    assert await group(db, bob, "news", out=(carol,)) == 1
    stored = await db.read(less.load)
    assert stored.groups == {bob: {"news": frozenset({alice})}}
    assert stored.offs
    assert stored.digests
    assert await group(db, bob, "news", out=(alice,)) == 0
    stored = await db.read(less.load)
    assert (stored.groups, stored.offs, stored.digests) == ({}, {}, {})


async def test_there_is_a_limit_of_groups_and_of_members(db: Database) -> None:
    bob, *others = await people(db, "bob", *(f"a{n}" for n in range(less.MAX_MEMBERS + 1)))
    for n in range(less.MAX_GROUPS):
        assert await group(db, bob, f"group{n}", others[0]) == 1
    with pytest.raises(TooMany, match="50 groups"):
        await group(db, bob, "another", others[0])
    assert await group(db, bob, "group0", *others[: less.MAX_MEMBERS]) == less.MAX_MEMBERS
    with pytest.raises(TooMany, match="500 people"):
        await group(db, bob, "group0", others[-1])
    stored = await db.read(less.load)
    assert len(stored.groups[bob]) == less.MAX_GROUPS
    assert len(stored.groups[bob]["group0"]) == less.MAX_MEMBERS


# off and on


async def test_off_again_gives_another_end_and_on_ends_it_now(db: Database, clock: Clock) -> None:
    [bob] = await people(db, "bob")
    began = clock.now()
    assert await db.write(switch_off, OffRow(bob, EVERYTHING, HOUR)) == (Span(began, began + HOUR),)
    clock.pass_s(60)
    assert await db.write(switch_off, OffRow(bob, EVERYTHING, None)) == (Span(began, None),)
    clock.pass_s(60)
    kept = await db.write(switch_on, OnRow(bob, EVERYTHING))
    assert kept.span == Span(began, None)
    assert kept.spans == (Span(began, clock.now()),)
    assert (await db.write(switch_on, OnRow(bob, EVERYTHING))).span is None
    assert (await db.read(less.load)).offs == {bob: {EVERYTHING: (Span(began, clock.now()),)}}


async def test_a_span_is_forgotten_if_it_runs_or_has_ended_lately(
    db: Database, clock: Clock
) -> None:
    [bob] = await people(db, "bob")
    day = timedelta(days=1)
    for wait_s, there in ((1800, True), (86_400 + 3500, True), (86_400 + 3700, False)):
        await db.write(switch_off, OffRow(bob, EVERYTHING, HOUR))
        clock.pass_s(wait_s)
        kept = await db.write(switch_on, OnRow(bob, EVERYTHING, day))
        assert (kept.span is not None, len(kept.spans)) == (there, 0 if there else 1)


async def test_long_ended_spans_are_forgotten_and_others_not(db: Database, clock: Clock) -> None:
    alice, bob = await people(db, "alice", "bob")
    await db.write(switch_off, OffRow(bob, of_author(alice), HOUR))
    await db.write(switch_off, OffRow(bob, EVERYTHING, None))
    clock.pass_s(89 * 86_400)
    await db.write(prune_offs, None)
    assert len((await db.read(less.load)).offs[bob]) == 2
    clock.pass_s(2 * 86_400)
    await db.write(prune_offs, None)
    assert list((await db.read(less.load)).offs[bob]) == [EVERYTHING]


async def test_who_switches_all_the_time_loses_the_oldest_spans(db: Database, clock: Clock) -> None:
    [bob] = await people(db, "bob")
    for _ in range(less.SPANS_KEPT + 5):
        spans = await db.write(switch_off, OffRow(bob, EVERYTHING, timedelta(minutes=1)))
        clock.pass_s(120)
    assert len(spans) == less.SPANS_KEPT + 1
    assert (await db.read(less.load)).offs[bob][EVERYTHING] == spans


# Caps and digests


async def test_caps(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    rows = [CapRow(bob, alice, Cap(4, daily=False)), CapRow(bob, alice, Cap(9, daily=True))]
    await asyncio.gather(*(db.submit(set_cap, row) for row in rows))
    assert (await db.read(less.load)).caps == {bob: {alice: Cap(9, daily=True)}}
    await db.write(set_cap, CapRow(bob, alice, None))
    assert (await db.read(less.load)).caps == {}


async def test_a_digest_begins_with_the_next_post_and_goes_on_when_its_time_changes(
    db: Database,
) -> None:
    alice, bob = await people(db, "alice", "bob")
    subject = of_author(alice)
    await db.write(append_post, post_row(alice))

    async def chosen(every: timedelta | None = None, at: time | None = None) -> Digest:
        row = DigestRow(bob, subject, every, at, Flush(bob, (subject,)))
        kept = await db.write(set_digest, row)
        assert (await db.read(less.load)).digests == {bob: {subject: kept.digest}}
        return kept.digest

    assert await chosen(every=HOUR) == Digest(2, HOUR)
    await db.write(append_post, post_row(alice))
    assert await chosen(at=time(8, 30)) == Digest(2, None, time(8, 30))
    assert await chosen() == Digest(3)
    await db.write(append_post, post_row(alice))
    assert await chosen(every=HOUR) == Digest(4, HOUR)


async def test_a_change_says_how_far_digests_had_come_and_puts_them_forward(
    db: Database, clock: Clock
) -> None:
    alice, bob = await people(db, "alice", "bob")
    for _ in range(3):
        await db.write(append_post, post_row(alice))
    await db.write(note_digests, [Digested(bob, of_author(alice), 1, clock.now())])
    flush = Flush(bob, (of_author(alice), of_group("news")))
    kept = await db.write(change_group, GroupRow(bob, "news", (alice,), (), flush))
    assert (kept.flushed.number, kept.flushed.had) == (4, {of_author(alice): 1})
    had = await db.read(lambda conn: had_of(conn, bob, flush.subjects))
    assert had == dict.fromkeys(flush.subjects, 3)


async def test_what_is_noted_is_found_by_person_and_by_subject(db: Database, clock: Clock) -> None:
    alice, bob, carol = await people(db, "alice", "bob", "carol")
    subject, at = of_author(alice), clock.now()
    await db.write(note_digests, [Digested(bob, subject, 1, at), Digested(carol, subject, 2, at)])
    await db.write(note_digests, [Digested(bob, subject, 5, at)])
    assert await db.read(lambda conn: had_by(conn, subject)) == {bob: 5, carol: 2}
    assert await db.read(lambda conn: had_of(conn, bob, ["nothing", subject])) == {subject: 5}
    assert (await db.read(less.load)).digested == [], "nobody has chosen it"


# Posts


async def test_the_newest_of_some_authors_with_nothing_that_no_digest_shows(db: Database) -> None:
    alice, bob, carol = await people(db, "alice", "bob", "carol")
    for n in range(6):
        for who in (alice, carol):
            live = 4 if who == alice else None
            await db.write(append_post, PostRow(who, f"{n}", live_per_hour=live))
    await db.write(append_post, PostRow(alice, "", kind=Kind.DIRECT, targets=(bob,)))

    async def numbers(
        authors: list[int], after: int, upto: int, limit: int, *, surplus: bool = False
    ) -> list[int]:
        found = await db.read(
            lambda conn: newest_of_authors(conn, authors, after, upto, limit, surplus=surplus)
        )
        return [post.number for post in found]

    assert await numbers([alice], 0, 13, 100) == [1, 3, 5, 7, 9, 11]
    assert await numbers([alice, carol], 3, 8, 3) == [6, 7, 8]
    assert await numbers([alice], 0, 13, 100, surplus=True) == [9, 11]
    assert await db.read(surplus_authors) == {alice}
    assert await numbers([bob], 0, 12, 100) == []


async def test_times_are_found_by_halving(db: Database, clock: Clock) -> None:
    [alice] = await people(db, "alice")
    times = []
    for _ in range(20):
        times.append(clock.now())
        await db.write(append_post, post_row(alice))
        clock.pass_s(600)
    for number, at in enumerate(times, 1):
        assert await db.read(lambda conn, at=at: first_since(conn, at)) == number
    assert await db.read(lambda conn: first_since(conn, clock.now())) == 21
    [pace] = await db.read(lambda conn: paces_since(conn, times[15]))
    assert (pace.author, pace.posts) == (alice, 5)


async def test_without_posts_there_is_no_pace(db: Database, clock: Clock) -> None:
    assert await count_posts(db) == 0
    assert await db.read(lambda conn: paces_since(conn, clock.now())) == []


# Tiers


async def test_a_pinned_tier_and_who_did_it(db: Database) -> None:
    [alice] = await people(db, "alice")
    await db.write(take_handle, HandleRow(alice, "alice", "alice"))
    assert await db.write(pin_tier, PinRow("alice", "outlet")) == alice
    assert await db.read(less.load_tiers) == {alice: "outlet"}
    assert await db.write(pin_tier, PinRow("alice", None)) == alice
    assert await db.read(less.load_tiers) == {}
    with pytest.raises(UnknownHandle):
        await db.write(pin_tier, PinRow("nobody", "outlet"))
    noted = await db.read(lambda conn: list_audit(conn, 10))
    assert [(each.action, each.subject) for each in noted] == [
        ("people tier", "@alice auto"),
        ("people tier", "@alice outlet"),
    ]
