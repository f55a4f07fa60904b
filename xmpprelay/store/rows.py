"""Rows of the tables as objects of `core/model.py`, and back.

The only place that knows how a standing's lists are written down. No query lives here.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Row, select

from xmpprelay.core.model import Cursor, Follow, Grant, Kind, Mode, Person, Post, Rest, Standing
from xmpprelay.store.schema import EPOCH_START, MICROSECOND, follow, person, post, standing
from xmpprelay.store.schema import handle as handle_table

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
"""A row of whatever columns were asked for."""

PERSON: Final = (person.c.id, person.c.jid, handle_table.c.handle)
"""Columns of a `Person`; to be joined by `WITH_HANDLE`."""
WITH_HANDLE: Final = person.outerjoin(handle_table, handle_table.c.person == person.c.id)
"""Everybody, with the live handle if he has one."""
POST: Final = (
    post.c.number,
    post.c.author,
    post.c.text,
    post.c.lang,
    post.c.created,
    post.c.kind,
    post.c.targets,
    post.c.mentions,
    post.c.parent,
    post.c.original,
    post.c.boosted_before,
    post.c.edits,
    post.c.deleted,
    post.c.relay_only,
    post.c.new_author,
    post.c.nth_hour,
    post.c.nth_day,
    post.c.surplus,
    post.c.root,
    post.c.attachments,
    post.c.atom_id,
    post.c.item,
)
"""Columns of a `Post`."""
_ORIGINAL: Final = 9  # the place of `original` among them
FOLLOW: Final = (follow.c.follower, follow.c.author, follow.c.mode, follow.c.since)
"""Columns of a `Follow`."""
STANDING: Final = tuple(standing.c)
"""Columns of a `Standing`."""

_AT_ONCE: Final = 5000  # numbers in one question
_KINDS: Final = {str(kind): kind for kind in Kind}
_MODES: Final = {str(mode): mode for mode in Mode}  # four times as fast as Mode(text)


def post_of(row: Sequence[Any], originals: Mapping[int, Post]) -> Post:
    """Give the post of a row that begins with the columns `POST`."""
    number, author, text, lang, created, kind, targets, mentions, parent, original = row[:10]
    return Post(
        number,
        author,
        text,
        lang,
        created,
        _KINDS[kind],
        _ids(targets),
        _ids(mentions),
        parent,
        None if original is None else originals.get(original),
        _ids(row[10]),
        edits=row[11],
        deleted=row[12],
        relay_only=row[13],
        new_author=row[14],
        nth_hour=row[15],
        nth_day=row[16],
        surplus=row[17],
        root=row[18],
        attachments=_texts(row[19]),
        atom_id=row[20],
        item=row[21],
    )


def posts_of(conn: Connection, rows: Iterable[Sequence[Any]]) -> list[Post]:
    """Give the posts of rows that begin with the columns `POST`, in the same order.

    What they show or change is read, too.
    """
    found = list(rows)
    wanted = sorted({row[_ORIGINAL] for row in found if row[_ORIGINAL] is not None})
    originals: dict[int, Post] = {}
    for first in range(0, len(wanted), _AT_ONCE):
        some = post.c.number.in_(wanted[first : first + _AT_ONCE])
        for each in posts_of(conn, conn.execute(select(*POST).where(some))):  # a boost's, too
            originals[each.number] = each
    return [post_of(row, originals) for row in found]


def stored_post(
    new: Post, origin: str | None, weak: str | None, stanza: str | None
) -> tuple[Any, ...]:
    """Give all columns of a post in their order, as they are stored.

    Not by the types of the columns: these are two dozen calls, for a row that is nearly all empty.
    """
    return (
        new.number,
        new.author,
        new.text,
        new.lang,
        (new.created - EPOCH_START) // MICROSECOND,
        origin,
        weak,
        stanza,
        new.kind.value,
        ids_text(new.targets) if new.targets else "[]",
        ids_text(new.mentions) if new.mentions else "[]",
        new.parent,
        None if new.original is None else new.original.number,
        ids_text(new.boosted_before) if new.boosted_before else "[]",
        new.edits,
        1 if new.deleted else 0,  # what is an int alone goes to the driver as it is
        1 if new.relay_only else 0,
        1 if new.new_author else 0,
        new.nth_hour,
        new.nth_day,
        1 if new.surplus else 0,
        new.root,
        _list_text(new.attachments) if new.attachments else "[]",
        new.atom_id,
        new.item,
    )


def _ids(text: str) -> tuple[int, ...]:
    return () if text == "[]" else tuple(json.loads(text))


def _texts(text: str) -> tuple[str, ...]:
    return () if text == "[]" else tuple(json.loads(text))


def follow_of(row: AnyRow) -> Follow:
    """Give the follow of a row with the columns `FOLLOW`."""
    follower, author, mode, since = row
    return Follow(follower, author, _MODES[mode], since)


def people_of(rows: Iterable[AnyRow]) -> Iterator[Person]:
    """Give the people of rows with the columns `PERSON`, in the same order."""
    return (Person(*row) for row in rows)


def cursors_of(rows: Iterable[AnyRow]) -> list[Cursor]:
    """Give the cursors of rows of the table `fanout`, in the same order."""
    return [Cursor(*row) for row in rows]


def standing_of(row: AnyRow) -> Standing:
    """Give the standing of a row with the columns `STANDING`."""
    who, away_from, away_at, missed, rest, permission, day, used = row
    return Standing(
        person=who,
        away_from=away_from,
        away_at=away_at,
        missed=_ids(missed),
        rest=None if rest is None else _rest_of(rest),
        grant=Grant(permission),
        day=day,
        used=used,
    )


def standing_row(value: Standing) -> dict[str, Any]:
    """Give the row of a standing."""
    return {
        "person": value.person,
        "away_from": value.away_from,
        "away_at": value.away_at,
        "missed": ids_text(value.missed),
        "rest": None if value.rest is None else _rest_text(value.rest),
        "permission": value.grant.value,
        "day": value.day,
        "used": value.used,
    }


def ids_text(numbers: Iterable[int]) -> str:
    """Give a list of numbers or ids as it is stored."""
    return _list_text(numbers)


def _list_text(values: Iterable[int | str]) -> str:
    kept = list(values)  # nearly always empty, and there are four of them in a post
    return json.dumps(kept, separators=(",", ":")) if kept else "[]"


def _rest_text(rest: Rest) -> str:
    return json.dumps(astuple(rest), separators=(",", ":"))


def _rest_of(text: str) -> Rest:
    first, last, taken, *more = json.loads(text)
    whole_from, listed, to_come = more or (0, (), ())  # in a database of before there are three
    by_author = tuple((author, number) for author, number in taken)
    return Rest(first, last, by_author, whole_from, tuple(listed), tuple(to_come))
