"""What people want to see less of, in the database: groups, `off`, caps, digests (S10).

A change that moves posts from one digest to another, or between a digest and the live stream, names
the subjects whose digests it concerns (`Flush`). In its transaction they are noted as sent up to
the newest post, and the operation gives back how far each had come before: what lies between is for
the caller to send, at once (`digests.py`).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from typing import Final

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from xmpprelay.core.model import CHANGES, Kind, Post
from xmpprelay.core.wishes import Cap, Digest, Span, of_group
from xmpprelay.errors import TooMany, UnknownHandle
from xmpprelay.store.dialect import upsert
from xmpprelay.store.keeping_out import COMMAND_LINE, AuditRow, add_audit
from xmpprelay.store.operations import SettingRow, set_setting
from xmpprelay.store.rows import POST, AnyRow, posts_of
from xmpprelay.store.schema import cap, digest, digested, handle, member, off, post, setting
from xmpprelay.store.writer import Transaction, operation

MAX_GROUPS: Final = 50
MAX_MEMBERS: Final = 500

SPANS_KEPT: Final = 50
"""Ended spans of one subject; whoever switches more often than that loses the oldest."""

KEPT_FOR: Final = timedelta(days=90)
"""After so long nobody is awake who could still lack a post from within an ended span (S11.5)."""

# --- how far digests have come -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Flush:
    """Whose digests of what are to count as sent up to now."""

    person: int
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Flushed:
    """What they had been before."""

    number: int  # the number of the next post: everything below it counts as sent
    had: Mapping[str, int]  # subject -> up to where it was sent; none for one never sent


def _flush(tx: Transaction, row: Flush) -> Flushed:
    had = had_of(tx.conn, row.person, row.subjects)
    number = tx.numbers.next
    new = [Digested(row.person, subject, number - 1, tx.now) for subject in row.subjects]
    upsert(tx.conn, digested, [_digested_row(each) for each in new])
    return Flushed(number, had)


@dataclass(frozen=True, slots=True)
class Digested:
    """A digest that was sent."""

    person: int
    subject: str
    number: int  # up to this one he has had what belongs into it
    at: datetime


@operation(grows=False)
def note_digests(tx: Transaction, rows: Sequence[Sequence[Digested]]) -> list[None]:
    """Keep how far digests have come. Of two rows for the same digest the later one counts."""
    newest = {(each.person, each.subject): each for row in rows for each in row}
    upsert(tx.conn, digested, [_digested_row(each) for each in newest.values()])
    return [None] * len(rows)


def _digested_row(row: Digested) -> dict[str, object]:
    return {"person": row.person, "subject": row.subject, "number": row.number, "at": row.at}


# --- groups --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GroupRow:
    """Somebody puts people into a group of his, and takes others out."""

    person: int
    name: str  # lower case
    add: tuple[int, ...]
    remove: tuple[int, ...]
    flush: Flush


@dataclass(frozen=True, slots=True)
class GroupKept:
    """What is in the group now; nobody: there is no such group any more."""

    members: frozenset[int]
    flushed: Flushed


@operation(grows=True)
def change_group(tx: Transaction, rows: Sequence[GroupRow]) -> list[GroupKept]:
    """Change groups; one without members goes, with all that was chosen for it. Or TooMany."""
    return [_change_group(tx, row) for row in rows]


def _change_group(tx: Transaction, row: GroupRow) -> GroupKept:
    whose = member.c.person == row.person
    this = and_(whose, member.c.name == row.name)
    before = set(tx.conn.scalars(select(member.c.author).where(this)))
    after = (before | set(row.add)) - set(row.remove)
    if len(after) > MAX_MEMBERS:
        raise TooMany(f"A group has {MAX_MEMBERS} people at most: make another one for the rest.")
    groups = tx.conn.scalar(select(func.count(member.c.name.distinct())).where(whose)) or 0
    if after and not before and groups >= MAX_GROUPS:
        raise TooMany(f"You have {groups} groups, the most there can be: take one apart first.")
    gone = before - after
    if gone:
        tx.conn.execute(delete(member).where(this, member.c.author.in_(gone)))
    if new := sorted(after - before):
        values = [{"person": row.person, "name": row.name, "author": author} for author in new]
        tx.conn.execute(insert(member), values)
    flushed = _flush(tx, row.flush)
    if not after:
        for table in (off, digest, digested):
            about = and_(table.c.person == row.person, table.c.subject == of_group(row.name))
            tx.conn.execute(delete(table).where(about))
    return GroupKept(frozenset(after), flushed)


# --- off and on ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OffRow:
    """Somebody switches something off, from now on; again: it ends at another time."""

    person: int
    subject: str
    span: timedelta | None  # None: until he says `on`


@operation(grows=True)
def switch_off(tx: Transaction, rows: Sequence[OffRow]) -> list[tuple[Span, ...]]:
    """Switch off; gives all spans of the subject, ascending."""
    return [_switch_off(tx, row) for row in rows]


def _switch_off(tx: Transaction, row: OffRow) -> tuple[Span, ...]:
    spans = _spans(tx.conn, row.person, row.subject)
    until = None if row.span is None else tx.now + row.span
    running = next((span for span in spans if span.covers(tx.now)), None)
    span = Span(tx.now, until) if running is None else replace(running, until=until)
    kept = [each for each in spans if each.since != span.since]
    for each in kept[: max(0, len(kept) - SPANS_KEPT)]:
        _forget(tx.conn, row.person, row.subject, each)
    values = {"person": row.person, "subject": row.subject, "since": span.since, "until": until}
    upsert(tx.conn, off, [values])
    return (*kept[-SPANS_KEPT:], span)


@dataclass(frozen=True, slots=True)
class OnRow:
    """Somebody switches something on again."""

    person: int
    subject: str
    lately: timedelta | None = None
    # None: what came meanwhile stays covered. Else the last span is forgotten, if it runs or has
    # ended within so long: nothing in it is covered any more.


@dataclass(frozen=True, slots=True)
class OnKept:
    """What was switched on."""

    span: Span | None  # that ended, or was forgotten; None: there was none
    spans: tuple[Span, ...]  # of the subject, as they are now


@operation(grows=False)
def switch_on(tx: Transaction, rows: Sequence[OnRow]) -> list[OnKept]:
    """End what is off."""
    return [_switch_on(tx, row) for row in rows]


def _switch_on(tx: Transaction, row: OnRow) -> OnKept:
    spans = _spans(tx.conn, row.person, row.subject)
    span = last_span(spans, tx.now, row.lately or timedelta(0))
    if span is None:
        return OnKept(None, spans)
    others = tuple(each for each in spans if each is not span)
    if row.lately is not None:
        _forget(tx.conn, row.person, row.subject, span)
        return OnKept(span, others)
    this = and_(off.c.person == row.person, off.c.subject == row.subject)
    tx.conn.execute(update(off).where(this, off.c.since == span.since).values(until=tx.now))
    return OnKept(span, (*others, replace(span, until=tx.now)))


def last_span(spans: Sequence[Span], now: datetime, lately: timedelta) -> Span | None:
    """The newest span, if it runs, or has ended within `lately`."""
    last = max(spans, key=lambda span: span.since, default=None)
    if last is None or last.until is None:
        return last
    return last if now < last.until + lately else None


def _forget(conn: Connection, person: int, subject: str, span: Span) -> None:
    this = and_(off.c.person == person, off.c.subject == subject, off.c.since == span.since)
    conn.execute(delete(off).where(this))


def _spans(conn: Connection, person: int, subject: str) -> tuple[Span, ...]:
    asked = select(off.c.since, off.c.until).where(off.c.person == person, off.c.subject == subject)
    return tuple(Span(*row) for row in conn.execute(asked.order_by(off.c.since)))


@operation(grows=False)
def prune_offs(tx: Transaction, rows: Sequence[None]) -> list[None]:
    """Forget spans that ended long ago."""
    tx.conn.execute(delete(off).where(off.c.until < tx.now - KEPT_FOR))
    return [None] * len(rows)


# --- caps and digests ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CapRow:
    """Somebody wants no more than so much of an author; None: as much as comes."""

    person: int
    author: int
    cap: Cap | None


@operation(grows=True)
def set_cap(tx: Transaction, rows: Sequence[CapRow]) -> list[Cap | None]:
    """Keep caps. Of two rows for the same author the later one counts."""
    for row in rows:
        this = and_(cap.c.person == row.person, cap.c.author == row.author)
        tx.conn.execute(delete(cap).where(this))
        if row.cap is not None:
            values = {"person": row.person, "author": row.author}
            tx.conn.execute(insert(cap).values(**values, count=row.cap.count, daily=row.cap.daily))
    return [row.cap for row in rows]


@dataclass(frozen=True, slots=True)
class DigestRow:
    """Somebody wants digests of something, at other times than before, or none."""

    person: int
    subject: str
    every: timedelta | None = None
    at: time | None = None
    flush: Flush = field(default_factory=lambda: Flush(0))


@dataclass(frozen=True, slots=True)
class DigestKept:
    """What holds now."""

    digest: Digest
    flushed: Flushed
    at: datetime  # from when on its times are counted


@operation(grows=True)
def set_digest(tx: Transaction, rows: Sequence[DigestRow]) -> list[DigestKept]:
    """Keep what is wanted of digests; one that goes on goes on from where it began."""
    return [_set_digest(tx, row) for row in rows]


def _set_digest(tx: Transaction, row: DigestRow) -> DigestKept:
    this = and_(digest.c.person == row.person, digest.c.subject == row.subject)
    before = next((each for _, _, each in _digests(tx.conn.execute(_DIGEST.where(this)))), None)
    new = Digest(tx.numbers.next, row.every, row.at)
    if before is not None and before.on and new.on:
        new = replace(new, since=before.since)
    values = {
        "person": row.person,
        "subject": row.subject,
        "since": new.since,
        "every": None if new.every is None else int(new.every.total_seconds()),
        "at": None if new.at is None else f"{new.at:%H:%M}",
    }
    upsert(tx.conn, digest, [values])
    return DigestKept(new, _flush(tx, row.flush), tx.now)


_DIGEST: Final = select(
    digest.c.person, digest.c.subject, digest.c.since, digest.c.every, digest.c.at
)


def _digests(rows: Iterable[AnyRow]) -> Iterator[tuple[int, str, Digest]]:
    for person, subject, since, every, at in rows:
        span = None if every is None else timedelta(seconds=every)
        yield person, subject, Digest(since, span, None if at is None else time.fromisoformat(at))


# --- for the start -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """All that is stored of this, by person."""

    groups: dict[int, dict[str, frozenset[int]]]
    offs: dict[int, dict[str, tuple[Span, ...]]]
    caps: dict[int, dict[int, Cap]]
    digests: dict[int, dict[str, Digest]]
    digested: list[Digested]  # of those who have chosen a digest themselves


def load(conn: Connection) -> Stored:
    """Give everything; most people have chosen nothing."""
    stored = Stored({}, {}, {}, {}, [])
    for who, name, author in conn.execute(select(*member.c)):
        groups = stored.groups.setdefault(who, {})
        groups[name] = groups.get(name, frozenset()) | {author}
    columns = (off.c.person, off.c.subject, off.c.since, off.c.until)
    for who, subject, since, until in conn.execute(select(*columns).order_by(off.c.since)):
        offs = stored.offs.setdefault(who, {})
        offs[subject] = (*offs.get(subject, ()), Span(since, until))
    for who, author, count, daily in conn.execute(select(*cap.c)):
        stored.caps.setdefault(who, {})[author] = Cap(count, daily)
    for who, subject, each in _digests(conn.execute(_DIGEST)):
        stored.digests.setdefault(who, {})[subject] = each
    chosen = and_(digest.c.person == digested.c.person, digest.c.subject == digested.c.subject)
    asked = select(*digested.c).join_from(digested, digest, chosen)
    stored.digested.extend(Digested(*row) for row in conn.execute(asked))
    return stored


# --- what digests are made of --------------------------------------------------------------------


def had_of(conn: Connection, person: int, subjects: Collection[str]) -> dict[str, int]:
    """Give up to where somebody has had digests of these subjects; none for one never sent."""
    asked = select(digested.c.subject, digested.c.number).where(
        digested.c.person == person, digested.c.subject.in_(subjects)
    )
    return {row.subject: row.number for row in conn.execute(asked)}


def had_by(conn: Connection, subject: str) -> dict[int, int]:
    """Give up to where each has had digests of this subject."""
    asked = select(digested.c.person, digested.c.number).where(digested.c.subject == subject)
    return {row.person: row.number for row in conn.execute(asked)}


def newest_of_authors(
    conn: Connection,
    authors: Collection[int],
    after: int,
    upto: int,
    limit: int,
    *,
    surplus: bool = False,
) -> list[Post]:
    """Give the newest `limit` posts and boosts of these authors with numbers in a span, ascending.

    `after` is not in the span, `upto` is. With `surplus` only what is surplus.
    """
    asked = (
        select(*POST)
        .where(post.c.author.in_(authors), post.c.number > after, post.c.number <= upto)
        .where(post.c.kind.not_in(_NOT_SHOWN), post.c.deleted.is_(False))
        .order_by(post.c.number.desc())
        .limit(limit)
    )
    if surplus:
        asked = asked.where(post.c.surplus.is_(True))
    return posts_of(conn, conn.execute(asked))[::-1]


_NOT_SHOWN: Final = [kind.value for kind in (*CHANGES, Kind.DIRECT)]


# --- how much is posted --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pace:
    """How much an author has posted lately."""

    author: int
    posts: int


def paces_since(conn: Connection, moment: datetime) -> list[Pace]:
    """Give how much each author has posted since a time; nobody who has posted nothing."""
    asked = (
        select(post.c.author, func.count())
        .where(post.c.number >= first_since(conn, moment), post.c.created >= moment)
        .where(post.c.kind.not_in(_NOT_SHOWN))
        .group_by(post.c.author)
    )
    return [Pace(*row) for row in conn.execute(asked)]


def surplus_authors(conn: Connection) -> set[int]:
    """Give the authors of whom something is surplus."""
    return set(conn.scalars(select(post.c.author).where(post.c.surplus.is_(True)).distinct()))


def first_since(conn: Connection, moment: datetime) -> int:
    """Give about the first number from a time on.

    Numbers ascend with time, as long as nobody sets the clock; so it is found in some twenty steps,
    without an index over the times of all posts.
    """
    low: int = conn.scalar(select(func.min(post.c.number))) or 0
    high: int = (conn.scalar(select(func.max(post.c.number))) or 0) + 1
    while low < high:
        middle = (low + high) // 2
        asked = select(post.c.number, post.c.created).where(post.c.number >= middle)
        found = conn.execute(asked.order_by(post.c.number).limit(1)).first()
        if found is None or found.created >= moment:
            high = middle
        else:
            low = found.number + 1
    return low


def load_tiers(conn: Connection) -> dict[int, str]:
    """Give the tiers that the operator has pinned, by author."""
    asked = select(setting.c.person, setting.c.value).where(setting.c.name == TIER)
    return {row.person: row.value for row in conn.execute(asked)}


TIER: Final = "tier"
"""The setting that pins an author's tier (S10.2)."""


@dataclass(frozen=True, slots=True)
class PinRow:
    """The operator says what an author's tier is."""

    handle: str  # lower case
    tier: str | None  # None: it is measured again


@operation(grows=False)
def pin_tier(tx: Transaction, rows: Sequence[PinRow]) -> list[int]:
    """Pin tiers, or measure them again, with a line in the audit; gives the authors.

    UnknownHandle: nobody has that handle.
    """
    return [_pin_tier(tx, row) for row in rows]


def _pin_tier(tx: Transaction, row: PinRow) -> int:
    who = tx.conn.scalar(select(handle.c.person).where(handle.c.handle == row.handle))
    if who is None:
        raise UnknownHandle(f"There is no @{row.handle} here: `xmpprelay people list` shows all.")
    set_setting(tx, [SettingRow(who, TIER, row.tier)])
    add_audit(tx, [AuditRow(COMMAND_LINE, "people tier", f"@{row.handle} {row.tier or 'auto'}")])
    return int(who)
