"""Blocks, mutes, requests and the operator's audit in the database.

Operations for the one writer, and questions for the start and for people. A block ends what it
forbids in its own transaction: whoever queued a follow behind it is refused by `gate.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from xmpprelay.core.blocks import OPERATOR
from xmpprelay.core.model import Follow, Mode, Person
from xmpprelay.core.wishes import Mute, Scope, Sort, Span
from xmpprelay.errors import TooMany
from xmpprelay.store.dialect import upsert
from xmpprelay.store.gate import Gate, forget_request, unexpired
from xmpprelay.store.operations import Followed, FollowRow, add_follow
from xmpprelay.store.rows import FOLLOW, PERSON, WITH_HANDLE, AnyRow, follow_of, people_of
from xmpprelay.store.schema import audit, block, follow, handle, mute, person, request, setting
from xmpprelay.store.writer import Transaction, operation

BLOCKS_AT_MOST: Final = 5_000
MUTES_AT_MOST: Final = 500

MUTES_KEPT: Final = timedelta(days=90)
"""After its end a mute is kept so long: for as long as somebody who is away is looked for (S11.5).

It covers what was posted in its span, also if that comes on a return (S7).
"""

COMMAND_LINE: Final = "command line"
"""Who has done something, for the audit, where nobody says his name."""

GONE: Final = "gone"
"""The setting that holds the days on which a person's server said that there is no such account."""


# --- blocks --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BlockRow:
    """Somebody, or the operator, wants to keep somebody out, or to do so no more."""

    owner: int  # person id, or OPERATOR
    target: str  # bare JID, domain, or *.domain
    by: str | None = None  # for the audit, of an operator's block: who did it


@dataclass(frozen=True, slots=True)
class Blocked:
    """What became of a block."""

    owner: int
    target: str
    new: bool  # False: it was there before
    ended: tuple[Follow, ...]  # follows, in either direction, that are no more


@operation(grows=False)
def add_block(tx: Transaction, rows: Sequence[BlockRow]) -> list[Blocked]:
    """Keep blocks, and end the follows and requests that a person's block forbids (S6.1).

    Under an operator's block they are kept: it says that nothing may pass now, and it is no
    decision of the two people (S5.7). Raises TooMany above the limit of one person.
    """
    return [_block(tx, row) for row in rows]


def _block(tx: Transaction, row: BlockRow) -> Blocked:
    this = and_(block.c.owner == row.owner, block.c.target == row.target)
    new = tx.conn.scalar(select(func.count()).where(this)) == 0
    if new:
        own = select(func.count()).where(block.c.owner == row.owner)
        if row.owner != OPERATOR and (tx.conn.scalar(own) or 0) >= BLOCKS_AT_MOST:
            raise TooMany(f"You have {BLOCKS_AT_MOST} blocks, the most there can be: unblock one.")
        values = {"owner": row.owner, "target": row.target, "created": tx.now}
        tx.conn.execute(insert(block), values)
        _note(tx, row, "block")
    if row.owner == OPERATOR:
        return Blocked(row.owner, row.target, new, ())
    return Blocked(row.owner, row.target, new, _end_between(tx, row))


def _end_between(tx: Transaction, row: BlockRow) -> tuple[Follow, ...]:
    ended = []
    for mine, theirs in (
        (follow.c.follower, follow.c.author),
        (follow.c.author, follow.c.follower),
    ):
        asked = select(*FOLLOW).join_from(follow, person, person.c.id == theirs)
        found = tx.conn.execute(asked.where(mine == row.owner, _covered(row.target)))
        ended += [follow_of(each) for each in found]
    if ended:
        this = and_(follow.c.follower == bindparam("f"), follow.c.author == bindparam("a"))
        tx.conn.execute(
            delete(follow).where(this), [{"f": e.follower, "a": e.author} for e in ended]
        )
    for follower, author in _requests_between(tx, row):
        forget_request(tx, follower, author)
    return tuple(ended)


def _requests_between(tx: Transaction, row: BlockRow) -> list[tuple[int, int]]:
    """(follower, author) of all requests between an owner and those whom a target covers."""
    pairs = []
    for mine, theirs in (
        (request.c.follower, request.c.author),
        (request.c.author, request.c.follower),
    ):
        asked = select(request.c.follower, request.c.author).join_from(
            request, person, person.c.id == theirs
        )
        found = tx.conn.execute(asked.where(mine == row.owner, _covered(row.target)))
        pairs += [(follower, author) for follower, author in found]
    return pairs


def _covered(target: str) -> ColumnElement[bool]:
    """The condition that a person falls under a target: what `blocks.covers` says, for a table.

    Prepared JIDs are in lower case, so that LIKE may ignore it.
    """
    if "@" in target:
        return person.c.jid == target
    if target.startswith("*."):
        return person.c.jid.endswith(target[1:], autoescape=True)
    return or_(person.c.jid == target, person.c.jid.endswith(f"@{target}", autoescape=True))


@operation(grows=False)
def end_block(tx: Transaction, rows: Sequence[BlockRow]) -> list[bool]:
    """End blocks, and tell of each whether there was one. What they ended does not come back.

    Requests that were made against the block, which nobody has seen, are forgotten, so that they
    can be made again.
    """
    return [_unblock(tx, row) for row in rows]


def _unblock(tx: Transaction, row: BlockRow) -> bool:
    this = and_(block.c.owner == row.owner, block.c.target == row.target)
    if tx.conn.execute(delete(block).where(this)).rowcount == 0:
        return False
    _note(tx, row, "unblock")
    if row.owner != OPERATOR:
        pairs = _requests_between(tx, row)
        gate = Gate(tx, pairs)
        for follower, author in pairs:
            if not gate.cut(follower, author):  # else another block still covers them
                forget_request(tx, follower, author)
    return True


def load_blocks(conn: Connection) -> Iterator[tuple[int, str]]:
    """Give all blocks as (owner, target), each owner's in the order in which he made them."""
    asked = select(block.c.owner, block.c.target).order_by(block.c.created, block.c.target)
    for row in conn.execute(asked):
        yield row.owner, row.target


# --- mutes ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MuteRow:
    """Somebody does not want to see something, or wants to see it again."""

    person: int
    sort: Sort
    value: str  # see wishes.Mute
    scope: Scope = Scope.POSTS
    span: timedelta | None = None  # None: for good


@dataclass(frozen=True, slots=True)
class Muted:
    """All mutes of a person, as they are now."""

    person: int
    mutes: tuple[Mute, ...]
    before: bool  # whether this one was muted until now


@operation(grows=False)
def add_mute(tx: Transaction, rows: Sequence[MuteRow]) -> list[Muted]:
    """Mute from now on. Muting what is muted begins anew: the last word counts.

    Of ended mutes the oldest make room. Raises TooMany if there are none.
    """
    results = []
    for row in rows:
        before = _end_mute(tx, row)
        mutes = _mutes_of(tx, row.person)
        if len(mutes) >= MUTES_AT_MOST:
            _make_room(tx, mutes)
        until = None if row.span is None else tx.now + row.span
        values = {"since": tx.now, "until": until, "scope": row.scope.value}
        upsert(tx.conn, mute, [_mute_key(row) | values])
        results.append(Muted(row.person, _mutes_of(tx, row.person), before))
    return results


@operation(grows=False)
def end_mute(tx: Transaction, rows: Sequence[MuteRow]) -> list[Muted]:
    """Let it be seen again from now on; what was posted in the span of the mute stays covered."""
    results = []
    for row in rows:
        before = _end_mute(tx, row)
        results.append(Muted(row.person, _mutes_of(tx, row.person), before))
    return results


def _end_mute(tx: Transaction, row: MuteRow) -> bool:
    this = and_(
        mute.c.person == row.person, mute.c.sort == row.sort.value, mute.c.value == row.value
    )
    still = or_(mute.c.until.is_(None), mute.c.until > tx.now)
    return tx.conn.execute(update(mute).where(this, still).values(until=tx.now)).rowcount > 0


def _make_room(tx: Transaction, mutes: Sequence[Mute]) -> None:
    ended = [m for m in mutes if m.span.until is not None and m.span.until <= tx.now]
    if not ended:
        raise TooMany(f"You have {MUTES_AT_MOST} mutes, the most there can be: unmute one.")
    oldest = min(ended, key=lambda each: each.span.since)
    this = and_(mute.c.sort == oldest.sort.value, mute.c.value == oldest.value)
    tx.conn.execute(delete(mute).where(this, mute.c.since == oldest.span.since))


def _mute_key(row: MuteRow) -> dict[str, Any]:
    return {"person": row.person, "sort": row.sort.value, "value": row.value}


def _mutes_of(tx: Transaction, who: int) -> tuple[Mute, ...]:
    asked = select(*mute.c).where(mute.c.person == who).order_by(mute.c.since)
    return tuple(_mute_of(row) for row in tx.conn.execute(asked))


def _mute_of(row: AnyRow) -> Mute:
    return Mute(Sort(row.sort), row.value, Span(row.since, row.until), Scope(row.scope))


def load_mutes(conn: Connection) -> dict[int, tuple[Mute, ...]]:
    """Give everybody's mutes, ended ones as well, each person's in the order of their beginning."""
    found: dict[int, list[Mute]] = {}
    for row in conn.execute(select(*mute.c).order_by(mute.c.since)):
        found.setdefault(row.person, []).append(_mute_of(row))
    return {who: tuple(mutes) for who, mutes in found.items()}


# --- requests ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An author answers somebody who asked to follow him."""

    author: int
    follower: int


@operation(grows=True)
def approve_request(tx: Transaction, rows: Sequence[AnswerRow]) -> list[Followed | None]:
    """Make follows of requests, in the mode in which they were asked for; None: there is none.

    One that was denied may be approved after all, as long as it lasts.
    """
    return [_approve(tx, row) for row in rows]


def _approve(tx: Transaction, row: AnswerRow) -> Followed | None:
    mode = tx.conn.scalar(select(request.c.mode).where(_this_request(tx, row)))
    if mode is None or Gate(tx, [(row.follower, row.author)]).cut(row.follower, row.author):
        return None
    wanted = FollowRow(row.follower, row.author, Mode(mode), limit=None, approved=True)
    [followed] = add_follow(tx, [wanted])
    return followed if isinstance(followed, Followed) else None


@operation(grows=False)
def deny_request(tx: Transaction, rows: Sequence[AnswerRow]) -> list[bool]:
    """Refuse requests without a word, and tell of each whether it waited."""
    return [
        tx.conn.execute(
            update(request)
            .where(_this_request(tx, row), request.c.denied.is_(False))
            .values(denied=True)
        ).rowcount
        > 0
        for row in rows
    ]


def _this_request(tx: Transaction, row: AnswerRow) -> ColumnElement[bool]:
    return and_(
        request.c.author == row.author, request.c.follower == row.follower, unexpired(tx.now)
    )


def requests_of(conn: Connection, author: int, now: datetime) -> list[Person]:
    """Give who waits for an author's answer, in the order in which they asked."""
    asked = (
        select(*PERSON)
        .select_from(WITH_HANDLE.join(request, request.c.follower == person.c.id))
        .where(request.c.author == author, request.c.denied.is_(False), unexpired(now))
        .order_by(request.c.created, person.c.id)
    )
    return list(people_of(conn.execute(asked)))


def asked_by(conn: Connection, follower: int, now: datetime) -> list[int]:
    """Give the ids of those whom a person has asked and who have not answered, as he sees it."""
    asked = (
        select(request.c.author)
        .where(request.c.follower == follower, unexpired(now))
        .order_by(request.c.created)
    )
    return list(conn.scalars(asked))


# --- what time ends ------------------------------------------------------------------------------


@operation(grows=False)
def forget_old(tx: Transaction, rows: Sequence[None]) -> list[frozenset[int]]:
    """Delete requests and ended mutes that are too old; give whose mutes these were."""
    old = mute.c.until <= tx.now - MUTES_KEPT
    whose = frozenset(tx.conn.scalars(select(mute.c.person).where(old)))
    tx.conn.execute(delete(mute).where(old))
    tx.conn.execute(delete(request).where(not_(unexpired(tx.now))))
    return [whose] * len(rows)


@operation(grows=False)
def end_follows_of(tx: Transaction, rows: Sequence[int]) -> list[tuple[Follow, ...]]:
    """End all that these people follow and have asked for: their accounts are gone (S5.7)."""
    results = []
    for who in rows:
        found = tx.conn.execute(select(*FOLLOW).where(follow.c.follower == who))
        results.append(tuple(map(follow_of, found)))
        tx.conn.execute(delete(follow).where(follow.c.follower == who))
        tx.conn.execute(delete(request).where(request.c.follower == who))
        tx.conn.execute(delete(setting).where(setting.c.person == who, setting.c.name == GONE))
    return results


# --- the operator --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Something that an operator or an admin has done."""

    who: str  # bare JID, or the command line
    action: str
    subject: str


@dataclass(frozen=True, slots=True)
class Noted:
    """The same, as it is kept."""

    at: datetime
    who: str
    action: str
    subject: str


@operation(grows=False)
def add_audit(tx: Transaction, rows: Sequence[AuditRow]) -> list[None]:
    """Note what was done."""
    values = [
        {"at": tx.now, "who": row.who, "action": row.action, "subject": row.subject} for row in rows
    ]
    tx.conn.execute(insert(audit), values)
    return [None] * len(rows)


def _note(tx: Transaction, row: BlockRow, action: str) -> None:
    if row.by is not None:
        add_audit(tx, [AuditRow(row.by, action, row.target)])


def list_audit(conn: Connection, limit: int) -> list[Noted]:
    """Give the newest entries, newest first."""
    asked = select(audit.c.at, audit.c.who, audit.c.action, audit.c.subject)
    return [Noted(*row) for row in conn.execute(asked.order_by(audit.c.id.desc()).limit(limit))]


def list_blocks(conn: Connection, owner: int) -> list[tuple[str, datetime]]:
    """Give the targets of an owner with the times of their blocks, in that order."""
    asked = select(block.c.target, block.c.created).where(block.c.owner == owner)
    return [(t, at) for t, at in conn.execute(asked.order_by(block.c.created, block.c.target))]


def jid_of_handle(conn: Connection, name: str) -> str | None:
    """Give the bare JID of who holds a handle; None: nobody does."""
    asked = select(person.c.jid).join_from(handle, person, person.c.id == handle.c.person)
    return conn.scalar(asked.where(handle.c.handle == name))
