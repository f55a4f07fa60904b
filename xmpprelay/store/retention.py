"""Old posts that nobody needs any more, and their removal in small steps (`[retention]`).

How old a post is, is said by its number: everything up to the last post that was made here longer
ago than posts are kept. So what was taken over from another relay counts from when it came.

A post stays, however old it is, while

- somebody lacks it: it is for him, or he follows its author, and it waits for his return, was sent
  back, or was left to `more`;
- its fan-out is open;
- it is to be inserted into the primary, is held there, parked or refused, or is answered by a post
  that is to be inserted;
- it says how far its account has been inserted: its receipt is the last one, or may be what
  something that was sent and is not settled is taken for;
- another entry shows or changes it;
- it is the newest: numbers go on from there.

What was published as an item is emptied and stays, as if its author had deleted it: its id is not
used again, whatever is published anew. Entries of an author's own node stay known, so that none is
posted twice. An `<origin-id/>` goes with its post.

Who lacks what is read once, beside the writer, when a round begins. That is enough: the lowest
number that somebody may lack never goes down but to a post whose fan-out was open then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from xmpprelay.core.insertion import Act, State
from xmpprelay.core.model import Kind
from xmpprelay.store.dialect import first_of, free_pages, greatest, least, numbers, numbers_value
from xmpprelay.store.rows import AnyRow
from xmpprelay.store.schema import (
    addressed,
    fanout,
    follow,
    insertion,
    liking,
    post,
    sourced,
    standing,
)
from xmpprelay.store.writer import Transaction, operation

STEP: Final = 25
"""Posts looked at in one transaction: a few milliseconds, for which others wait."""

_NEVER: Final = 2**62
"""Above every number."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """The lowest number that may still be wanted, for whom there is one below the bound."""

    of_author: Mapping[int, int]  # by some follower of his
    of_person: Mapping[int, int]  # by himself, of what is for him


def first_kept(conn: Connection, since: datetime) -> int:
    """Give the number of the first post that is not old; the newest never is.

    Old is what was made here before that time, and what was there by then.
    """
    newest = conn.scalar(select(func.max(post.c.number))) or 0
    young = select(post.c.number).where(post.c.created >= since).order_by(post.c.number).limit(1)
    first = conn.scalar(young)
    old = (
        select(post.c.number)
        .where(post.c.number < (newest if first is None else first), post.c.atom_id.is_(None))
        .order_by(post.c.number.desc())
        .limit(1)
    )
    return (conn.scalar(old) or 0) + 1


def lacking(conn: Connection, bound: int, seen_since: datetime | None) -> Lacking:
    """Give who lacks something below a bound, from which number on.

    Whoever is away since before `seen_since` counts for what is for him alone; None: everybody
    counts.
    """
    lowest = least(
        func.coalesce(standing.c.away_from, _NEVER),
        func.coalesce(first_of(standing.c.missed), _NEVER),
        func.coalesce(first_of(standing.c.rest), _NEVER),
    )
    of_person = select(standing.c.person, lowest.label("lowest")).where(lowest < bound)
    of_author = (
        select(follow.c.author, func.min(greatest(follow.c.since, lowest)))
        .join_from(standing, follow, follow.c.follower == standing.c.person)
        .where(lowest < bound)
        .group_by(follow.c.author)
    )
    if seen_since is not None:
        there = or_(standing.c.away_at.is_(None), standing.c.away_at >= seen_since)
        of_author = of_author.where(there)
    return Lacking(
        {row[0]: row[1] for row in conn.execute(of_author)},
        {row[0]: row[1] for row in conn.execute(of_person)},
    )


@dataclass(frozen=True, slots=True)
class OldRow:
    """The next posts are to be looked at."""

    after: int  # the number of the last one that was looked at
    bound: int  # the number of the first that is not old
    lacking: Lacking


@dataclass(frozen=True, slots=True)
class Removed:
    """What has become of some old posts."""

    upto: int | None  # the number of the last one that was looked at; None: there was no more
    gone: Mapping[int, int]  # number -> author


@operation(grows=False)
def remove_old(tx: Transaction, rows: Sequence[OldRow]) -> list[Removed]:
    """Remove those of the next old posts that nobody needs; see the head of the module."""
    return [_remove(tx.conn, row) for row in rows]


def _remove(conn: Connection, row: OldRow) -> Removed:
    asked = (
        select(post.c.number, post.c.author, post.c.kind, post.c.item)
        .where(post.c.number > row.after, post.c.number < row.bound)
        .where(or_(post.c.item.is_(None), post.c.deleted.is_(False)))
        .order_by(post.c.number)
        .limit(STEP)
    )
    found = conn.execute(asked).all()
    if not found:
        return Removed(None, {})
    kept = _needed(conn, [each.number for each in found])
    kept |= _lacked(conn, found, row.lacking)
    gone = [each for each in found if each.number not in kept]
    _forget(conn, [each.number for each in gone])
    plain = [each.number for each in gone if each.item is None]
    conn.execute(delete(post).where(post.c.number.in_(_THESE)), _these(plain))
    items = [each.number for each in gone if each.item is not None]
    conn.execute(update(post).where(post.c.number.in_(_THESE)).values(_EMPTY), _these(items))
    return Removed(found[-1].number, {each.number: each.author for each in gone})


_EMPTY: Final = {"text": "", "deleted": True, "attachments": "[]", "mentions": "[]"}


def _lacked(conn: Connection, found: Sequence[AnyRow], lacking: Lacking) -> set[int]:
    """Those that somebody may still be sent."""
    kept = {
        each.number
        for each in found
        if each.kind != Kind.DIRECT.value
        and each.number >= lacking.of_author.get(each.author, _NEVER)
    }
    asked = select(addressed.c.person, addressed.c.number).where(addressed.c.number.in_(_THESE))
    for person, number in conn.execute(asked, _these([each.number for each in found])):
        if number >= lacking.of_person.get(person, _NEVER):
            kept.add(number)
    return kept


def _forget(conn: Connection, gone: Sequence[int]) -> None:
    """Remove what belongs to posts that go."""
    for table, number in (
        (addressed, addressed.c.number),
        (liking, liking.c.number),
        (insertion, insertion.c.post),
    ):
        conn.execute(delete(table).where(number.in_(_THESE)), _these(gone))
    entries = update(sourced).where(sourced.c.number.in_(_THESE))
    conn.execute(entries.values(number=None, digest=None), _these(gone))


# --- what is needed ------------------------------------------------------------------------------

_TABLE, _NUMBER = numbers("these")
_THESE: Final = select(_NUMBER).select_from(_TABLE)


def _these(values: Sequence[int]) -> dict[str, str]:
    return {"these": numbers_value(values)}


def _needed(conn: Connection, found: Sequence[int]) -> set[int]:
    """Those that something else in the database needs, whoever has had them."""
    return {number for asked in _NEEDS for number in conn.scalars(asked, _these(found))}


def _needs() -> tuple[Select[Any], ...]:
    shows = select(post.c.original).where(post.c.original.in_(_THESE))
    is_open = select(fanout.c.number).where(fanout.c.number.in_(_THESE))
    undecided = select(insertion.c.post).where(
        insertion.c.post.in_(_THESE),
        insertion.c.state.not_in([State.INSERTED.value, State.CANCELLED.value]),
    )
    answered = (
        select(post.c.parent)
        .join_from(post, insertion, insertion.c.post == post.c.number)
        .where(post.c.parent.in_(_THESE), insertion.c.due.is_not(None))
    )
    receipts = select(insertion.c.post).where(
        insertion.c.post.in_(_THESE), _is_receipt(insertion.c), or_(_looks_back(), ~_is_passed())
    )
    return shows, is_open, undecided, answered, receipts


def _is_receipt(row: Any) -> ColumnElement[bool]:
    return and_(row.act == Act.INSERT.value, row.state == State.INSERTED.value)


def _looks_back() -> ColumnElement[bool]:
    """Something of the account was sent and is not settled: it may be looked for there."""
    other = insertion.alias("other")
    return exists().where(
        other.c.account == insertion.c.account,
        other.c.due.is_not(None),
        other.c.first_sent.is_not(None),
    )


def _is_passed() -> ColumnElement[bool]:
    """Something of the account was inserted at the same place later."""
    later = insertion.alias("later")
    return exists().where(
        later.c.account == insertion.c.account,
        _is_receipt(later.c),
        later.c.service.is_not_distinct_from(insertion.c.service),
        later.c.service_account == insertion.c.service_account,
        later.c.last_sent > insertion.c.last_sent,
    )


_NEEDS: Final = _needs()


# --- room ----------------------------------------------------------------------------------------


@operation(grows=True)
def give_back(tx: Transaction, rows: Sequence[int]) -> list[bool]:
    """Give the file system so many pages back that are free; True: there are more to be given.

    A tenth of the file stays free, for what comes next.
    """
    return [free_pages(tx.conn, pages) for pages in rows]
