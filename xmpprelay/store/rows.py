"""Rows of the tables as objects of `core/model.py`, and back.

The only place that knows how a standing's lists are written down. No query lives here.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

from sqlalchemy import Row

from xmpprelay.core.model import Cursor, Follow, Grant, Mode, Person, Post, Rest, Standing
from xmpprelay.store.schema import follow, person, post, standing
from xmpprelay.store.schema import handle as handle_table

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
"""A row of whatever columns were asked for."""

PERSON: Final = (person.c.id, person.c.jid, handle_table.c.handle)
"""Columns of a `Person`; to be joined by `WITH_HANDLE`."""
WITH_HANDLE: Final = person.outerjoin(handle_table, handle_table.c.person == person.c.id)
"""Everybody, with the live handle if he has one."""
POST: Final = (post.c.number, post.c.author, post.c.text, post.c.lang, post.c.created)
"""Columns of a `Post`."""
FOLLOW: Final = (follow.c.follower, follow.c.author, follow.c.mode, follow.c.since)
"""Columns of a `Follow`."""
STANDING: Final = tuple(standing.c)
"""Columns of a `Standing`."""

_MODES: Final = {str(mode): mode for mode in Mode}  # four times as fast as Mode(text)


def posts_of(rows: Iterable[AnyRow]) -> list[Post]:
    """Give the posts of rows with the columns `POST`, in the same order."""
    return [Post(*row) for row in rows]


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
        missed=() if missed == "[]" else tuple(json.loads(missed)),
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
        "missed": missed_text(value.missed),
        "rest": None if value.rest is None else _rest_text(value.rest),
        "permission": value.grant.value,
        "day": value.day,
        "used": value.used,
    }


def missed_text(numbers: Iterable[int]) -> str:
    """Give the list of missed numbers as it is stored."""
    return json.dumps(list(numbers), separators=(",", ":"))


def _rest_text(rest: Rest) -> str:
    return json.dumps([rest.first, rest.last, rest.taken], separators=(",", ":"))


def _rest_of(text: str) -> Rest:
    first, last, taken = json.loads(text)
    return Rest(first, last, tuple((author, number) for author, number in taken))
