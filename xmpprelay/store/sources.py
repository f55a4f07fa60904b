"""Entries of authors' own nodes in the database: which are known, and which post each is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, or_, select, update

from xmpprelay.core.model import Kind, Post, Standing
from xmpprelay.core.sourced import Known
from xmpprelay.store.dialect import upsert
from xmpprelay.store.operations import SettingRow, set_setting, standings_for
from xmpprelay.store.rows import POST, posts_of
from xmpprelay.store.schema import post, sourced
from xmpprelay.store.writer import Transaction, operation

SOURCE: Final = "source"
"""The setting that keeps since when somebody's posts are taken from his own node."""

ENTRIES_KEPT: Final = 1_000
"""Entries of one author that are known; above it the oldest go.

A look at a node shows twenty. What was a post is not made twice even then: its origin tells.
"""

ORIGIN: Final = "pep "
"""Begins the origin of a post that is such an entry; no <origin-id/> of a client's does."""

LOOKED_AT: Final = 50
"""Posts of the last minutes among which one of the same text is looked for; a guess."""


@dataclass(frozen=True, slots=True)
class EntryRow:
    """What is known of one entry from now on."""

    person: int
    item: str
    number: int | None  # of the post that it is; None: it is none
    digest: str | None  # of its text; None: it is never looked at again


@operation(grows=False)
def remember(tx: Transaction, rows: Sequence[EntryRow]) -> list[None]:
    """Write down entries. Of two rows for the same one the later one counts."""
    _remember(tx, rows)
    return [None] * len(rows)


def _remember(tx: Transaction, rows: Sequence[EntryRow]) -> None:
    entries = {(row.person, row.item): row for row in rows}
    values = [
        {
            "person": row.person,
            "item": row.item,
            "number": row.number,
            "digest": row.digest,
            "seen": tx.now,
        }
        for row in entries.values()
    ]
    upsert(tx.conn, sourced, values)
    for person in {row.person for row in rows}:
        _let_go(tx, person)


def _let_go(tx: Transaction, person: int) -> None:
    surplus = (
        select(sourced.c.item)
        .where(sourced.c.person == person)
        .order_by(sourced.c.seen.desc(), sourced.c.item)
        .offset(ENTRIES_KEPT)
    )
    gone = list(tx.conn.scalars(surplus))
    if gone:
        this = (sourced.c.person == person, sourced.c.item.in_(gone))
        tx.conn.execute(delete(sourced).where(*this))


@dataclass(frozen=True, slots=True)
class SourceRow:
    """Somebody's posts are taken from his own node from now on, or not any more."""

    person: int
    since: datetime | None  # aware; None: they are not
    history: tuple[str, ...] = ()  # ids of what is there already


@operation(grows=False)
def set_source(tx: Transaction, rows: Sequence[SourceRow]) -> list[Standing | None]:
    """Keep since when, and what is history; whoever is so served has a standing from now on."""
    result: list[Standing | None] = []
    for row in rows:
        value = None if row.since is None else row.since.isoformat()
        set_setting(tx, [SettingRow(row.person, SOURCE, value)])
        known = known_entries(tx.conn, row.person, row.history)
        _remember(
            tx,
            [EntryRow(row.person, item, None, None) for item in row.history if item not in known],
        )
        on = row.since is not None
        result.append(standings_for(tx, [row.person])[row.person] if on else None)
    return result


def known_entries(conn: Connection, person: int, items: Sequence[str]) -> dict[str, Known]:
    """Give what is written down of an author's entries; those that are not known are left out."""
    asked = select(sourced).where(sourced.c.person == person, sourced.c.item.in_(list(items)))
    return {row.item: Known(row.number, row.digest) for row in conn.execute(asked)}


def posted_lately(
    conn: Connection, author: int, since: datetime, *, as_entry: bool, name: str | None = None
) -> list[Post]:
    """Give what somebody has posted since a time by one way alone, the newest first.

    With `as_entry` that is what came from his own node and was not typed as well, but for what was
    by the message of that name: it comes first. Else it is what is no entry of his node.
    """
    entries = select(sourced.c.number).where(sourced.c.person == author)
    asked = (
        select(*POST, post.c.origin, post.c.stanza)
        .where(post.c.author == author, post.c.created >= since)
        .where(post.c.kind == Kind.POST.value, post.c.deleted.is_(False))
        .order_by(post.c.number.desc())
        .limit(LOOKED_AT)
    )
    if as_entry:
        asked = asked.where(or_(post.c.stanza.is_(None), post.c.stanza == name))
    else:
        asked = asked.where(post.c.number.not_in(entries.where(sourced.c.number.is_not(None))))
    rows = list(conn.execute(asked))
    came = [row for row in rows if (row.origin or "").startswith(ORIGIN) is as_entry]
    if as_entry:
        came.sort(key=lambda row: row.stanza is None)
    return posts_of(conn, came)


@dataclass(frozen=True, slots=True)
class TypedRow:
    """A post that came from its author's own node was typed by him as well."""

    number: int
    name: str | None  # his client's, of the message; None: it has none


@operation(grows=False)
def also_typed(tx: Transaction, rows: Sequence[TypedRow]) -> list[None]:
    """Write down that posts were typed as well: a resend and a correction find them by the name."""
    for row in rows:
        name = row.name or ORIGIN
        tx.conn.execute(update(post).where(post.c.number == row.number).values(stanza=name))
    return [None] * len(rows)
