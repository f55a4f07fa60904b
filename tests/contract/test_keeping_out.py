"""Blocks, mutes and requests in the database: what a block ends, who comes too late (S5.2, S6)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from tests.contract.store_world import Clock, Opened, people
from xmpprelay.core.blocks import OPERATOR, covers
from xmpprelay.core.model import Mode
from xmpprelay.core.wishes import Scope, Sort
from xmpprelay.errors import TooMany
from xmpprelay.store import gate, keeping_out, queries
from xmpprelay.store.database import Database
from xmpprelay.store.keeping_out import (
    AnswerRow,
    BlockRow,
    MuteRow,
    add_block,
    add_mute,
    approve_request,
    asked_by,
    deny_request,
    end_block,
    end_follows_of,
    end_mute,
    forget_old,
    list_audit,
    load_blocks,
    load_mutes,
    requests_of,
)
from xmpprelay.store.operations import (
    Asked,
    EndRow,
    Followed,
    FollowRow,
    SettingRow,
    add_follow,
    add_person,
    end_follow,
    set_setting,
)
from xmpprelay.store.schema import request, standing

DAY = timedelta(days=1)


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as db:
        yield db


async def follows(db: Database) -> set[tuple[int, int]]:
    found = await db.read(lambda conn: list(queries.load_follows(conn)))
    return {(each.follower, each.author) for each in found}


async def waiting(db: Database, author: int, clock: Clock) -> list[int]:
    return [each.id for each in await db.read(lambda c: requests_of(c, author, clock.now()))]


async def protect(db: Database, author: int) -> None:
    await db.write(set_setting, SettingRow(author, gate.PROTECT, "on"))


# --- blocks --------------------------------------------------------------------------------------


async def test_a_block_ends_follows_and_requests_in_both_directions(
    db: Database, clock: Clock
) -> None:
    alice, bob, carol = await people(db, "alice", "bob", "carol")
    await protect(db, carol)
    for follower, author in ((alice, bob), (bob, alice), (carol, bob), (bob, carol)):
        await db.write(add_follow, FollowRow(follower, author))
    blocked = await db.write(add_block, BlockRow(bob, "alice@example.org"))
    assert {(f.follower, f.author) for f in blocked.ended} == {(alice, bob), (bob, alice)}
    assert blocked.new
    assert await follows(db) == {(carol, bob)}
    assert await waiting(db, carol, clock) == [bob]
    again = await db.write(add_block, BlockRow(bob, "alice@example.org"))
    assert (again.new, again.ended) == (False, ())
    await db.write(add_block, BlockRow(carol, "bob@example.org"))
    assert await waiting(db, carol, clock) == []
    assert await follows(db) == set()


@pytest.mark.parametrize("target", ["spam.org", "*.spam.org", "*.org", "a_c@spam.org", "sp%m.org"])
async def test_a_target_covers_in_the_database_whom_it_covers_in_memory(
    db: Database, target: str
) -> None:
    [bob] = await people(db, "bob")
    jids = ["abc@spam.org", "a_c@spam.org", "x@a.spam.org", "x@b.a.spam.org", "x@nospam.org"]
    jids += ["x@spam.org.net", "spam.org", "SPAM@example.net"]
    ids = {jid: (await db.write(add_person, jid)).id for jid in jids}
    for who in ids.values():
        await db.write(add_follow, FollowRow(who, bob))
    await db.write(add_block, BlockRow(bob, target))
    left = {follower for follower, _ in await follows(db)}
    assert left == {who for jid, who in ids.items() if not covers(target, jid)}


async def test_a_follow_queued_behind_a_block_waits_for_ever(db: Database, clock: Clock) -> None:
    alice, bob = await people(db, "alice", "bob")
    block = db.submit(add_block, BlockRow(bob, "*.org"))
    rows = [FollowRow(alice, bob), FollowRow(bob, alice, limit=None, approved=True)]
    waits = [db.submit(add_follow, row) for row in rows]
    blocked, *asked = await asyncio.gather(block, *waits)
    assert blocked.ended == ()
    assert asked == [Asked(alice, bob, new=False), Asked(bob, alice, new=False)]
    assert await follows(db) == set()
    assert await waiting(db, bob, clock) == await waiting(db, alice, clock) == []
    assert await db.read(lambda conn: asked_by(conn, alice, clock.now())) == [bob]
    assert await db.write(approve_request, AnswerRow(bob, alice)) is None
    assert await db.read(lambda conn: conn.scalar(select(func.count()).select_from(standing))) == 0


async def test_an_ended_block_lets_ask_anew_unless_another_one_holds(
    db: Database, clock: Clock
) -> None:
    alice, bob = await people(db, "alice", "bob")
    for target in ("alice@example.org", "example.org"):
        await db.write(add_block, BlockRow(bob, target))
    await db.write(add_follow, FollowRow(alice, bob))
    assert await db.write(end_block, BlockRow(bob, "example.org"))
    assert await db.read(lambda conn: asked_by(conn, alice, clock.now())) == [bob]
    assert await db.write(end_block, BlockRow(bob, "alice@example.org"))
    assert await db.read(lambda conn: asked_by(conn, alice, clock.now())) == []
    assert isinstance(await db.write(add_follow, FollowRow(alice, bob)), Followed)
    assert not await db.write(end_block, BlockRow(bob, "alice@example.org"))


async def test_the_operators_block_keeps_follows_and_is_audited(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    await db.write(add_follow, FollowRow(alice, bob))
    row = BlockRow(OPERATOR, "alice@example.org", by="the boss")
    assert (await db.write(add_block, row)).ended == ()
    assert await db.write(add_block, row)
    assert await follows(db) == {(alice, bob)}
    assert await db.write(end_block, row)
    assert not await db.write(end_block, row)
    noted = await db.read(lambda conn: list_audit(conn, 10))
    assert [(each.who, each.action, each.subject) for each in noted] == [
        ("the boss", "unblock", "alice@example.org"),
        ("the boss", "block", "alice@example.org"),
    ]
    assert len(await db.read(lambda conn: list_audit(conn, 1))) == 1


async def test_there_is_a_limit_of_blocks_but_not_for_the_operator(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping_out, "BLOCKS_AT_MOST", 2)
    [bob] = await people(db, "bob")
    for owner in (bob, OPERATOR):
        for number in range(2):
            await db.write(add_block, BlockRow(owner, f"{number}.org"))
    with pytest.raises(TooMany, match="unblock one"):
        await db.write(add_block, BlockRow(bob, "2.org"))
    assert not (await db.write(add_block, BlockRow(bob, "1.org"))).new
    assert (await db.write(add_block, BlockRow(OPERATOR, "2.org"))).new
    blocks = await db.read(lambda conn: list(load_blocks(conn)))
    assert {target for owner, target in blocks if owner == bob} == {"0.org", "1.org"}


# --- requests ------------------------------------------------------------------------------------


async def test_a_request_becomes_a_follow_in_the_mode_asked_for(db: Database, clock: Clock) -> None:
    alice, bob = await people(db, "alice", "bob")
    await protect(db, bob)
    assert await db.write(add_follow, FollowRow(alice, bob)) == Asked(alice, bob, new=True)
    asked = await db.write(add_follow, FollowRow(alice, bob, Mode.AUTHOR))
    assert asked == Asked(alice, bob, new=False)
    followed = await db.write(approve_request, AnswerRow(bob, alice))
    assert followed is not None
    assert (followed.follow.mode, followed.new) == (Mode.AUTHOR, True)
    assert await waiting(db, bob, clock) == []
    assert await db.write(approve_request, AnswerRow(bob, alice)) is None
    again = await db.write(add_follow, FollowRow(alice, bob, Mode.HOME))
    assert isinstance(again, Followed), "who follows may change the mode"


async def test_who_followed_before_the_protection_goes_on(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    await db.write(add_follow, FollowRow(alice, bob))
    await protect(db, bob)
    assert isinstance(await db.write(add_follow, FollowRow(alice, bob, Mode.AUTHOR)), Followed)


async def test_a_denied_request_holds_its_time_and_a_withdrawn_one_does_not(
    db: Database, clock: Clock
) -> None:
    alice, bob, carol = await people(db, "alice", "bob", "carol")
    await protect(db, bob)
    for who in (alice, carol):
        await db.write(add_follow, FollowRow(who, bob))
    assert await db.write(deny_request, AnswerRow(bob, alice))
    assert not await db.write(deny_request, AnswerRow(bob, alice))
    for who in (alice, carol):
        assert not await db.write(end_follow, EndRow(who, bob))
    assert not (await db.write(add_follow, FollowRow(alice, bob))).new  # type: ignore[union-attr]
    assert (await db.write(add_follow, FollowRow(carol, bob))).new  # type: ignore[union-attr]
    clock.jump(29 * DAY)
    assert not (await db.write(add_follow, FollowRow(alice, bob))).new  # type: ignore[union-attr]
    clock.jump(2 * DAY)
    assert await waiting(db, bob, clock) == []
    assert (await db.write(add_follow, FollowRow(alice, bob))).new  # type: ignore[union-attr]
    assert await waiting(db, bob, clock) == [alice]
    await db.write(forget_old, None)
    rows = await db.read(lambda conn: conn.scalar(select(func.count()).select_from(request)))
    assert rows == 1, "those that are too old are deleted"


async def test_no_more_can_wait_than_the_limits_say_cut_off_or_not(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "REQUESTS_AT_MOST", 2)
    alice, bob, *others = await people(db, "alice", "bob", "carol", "dave", "erin")
    await protect(db, alice)
    for who in others[:2]:
        await db.write(add_follow, FollowRow(who, alice))
    await db.write(add_block, BlockRow(alice, "bob@example.org"))
    for who in (others[2], bob):
        with pytest.raises(TooMany, match="wait for an answer"):
            await db.write(add_follow, FollowRow(who, alice))
    assert await db.write(deny_request, AnswerRow(alice, others[0]))
    await db.write(add_follow, FollowRow(others[2], alice))


async def test_requests_count_as_follows_do(db: Database) -> None:
    alice, bob, carol = await people(db, "alice", "bob", "carol")
    await protect(db, bob)
    await db.write(add_follow, FollowRow(alice, bob, limit=1))
    with pytest.raises(TooMany, match="unfollow one"):
        await db.write(add_follow, FollowRow(alice, carol, limit=1))


# --- mutes, and accounts that are gone -----------------------------------------------------------


async def test_mutes_are_kept_with_their_spans(db: Database, clock: Clock) -> None:
    [alice] = await people(db, "alice")
    start = clock.now()
    await db.write(add_mute, MuteRow(alice, Sort.TAG, "rain", span=DAY))
    clock.pass_s(60)
    again = await db.write(add_mute, MuteRow(alice, Sort.TAG, "rain", Scope.POSTS))
    assert again.before
    clock.pass_s(60)
    ended = await db.write(end_mute, MuteRow(alice, Sort.TAG, "rain"))
    assert (ended.person, ended.before) == (alice, True)
    spans = [(m.span.since - start, (m.span.until or start) - start) for m in ended.mutes]
    minute = timedelta(minutes=1)
    assert spans == [(0 * minute, minute), (minute, 2 * minute)]
    assert await db.read(load_mutes) == {alice: ended.mutes}
    assert not (await db.write(end_mute, MuteRow(alice, Sort.TAG, "rain"))).before
    clock.jump(89 * DAY)
    assert await db.write(forget_old, None) == frozenset()
    clock.jump(2 * DAY)
    assert await db.write(forget_old, None) == frozenset({alice})
    assert await db.read(load_mutes) == {}


async def test_old_mutes_make_room_and_others_do_not(
    db: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping_out, "MUTES_AT_MOST", 2)
    [alice] = await people(db, "alice")
    await db.write(add_mute, MuteRow(alice, Sort.TAG, "a", span=timedelta(minutes=1)))
    await db.write(add_mute, MuteRow(alice, Sort.TAG, "b"))
    with pytest.raises(TooMany, match="unmute one"):
        await db.write(add_mute, MuteRow(alice, Sort.TAG, "c"))
    clock.pass_s(60)
    muted = await db.write(add_mute, MuteRow(alice, Sort.TAG, "c"))
    assert [each.value for each in muted.mutes] == ["b", "c"]


async def test_an_account_that_is_gone_follows_nobody(db: Database, clock: Clock) -> None:
    alice, bob, carol = await people(db, "alice", "bob", "carol")
    await protect(db, carol)
    for follower, author in ((alice, bob), (alice, carol), (bob, alice)):
        await db.write(add_follow, FollowRow(follower, author))
    [ended] = await db.write(end_follows_of, alice)
    assert (ended.follower, ended.author) == (alice, bob)
    assert await follows(db) == {(bob, alice)}
    assert await waiting(db, carol, clock) == []
