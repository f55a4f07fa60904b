"""What can be asked of the database, as plain functions over a connection.

They are run by `Database.read`, which gives them one state of the database, and they change
nothing. What the relay needs for each post it has in memory: these are for the start, for somebody
who comes back, and for the operator's questions.

The `load_*` functions give iterators that fetch in portions, so that a million follows never lie in
memory twice; use them up before the connection is given back.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, func, select

from xmpprelay.core.model import Cursor, Follow, Kind, Person, Post, Standing
from xmpprelay.store.rows import (
    FOLLOW,
    PERSON,
    POST,
    STANDING,
    WITH_HANDLE,
    AnyRow,
    cursors_of,
    follow_of,
    people_of,
    posts_of,
    standing_of,
)
from xmpprelay.store.schema import (
    addressed,
    fanout,
    follow,
    handle,
    person,
    post,
    setting,
    standing,
)

PORTION: Final = 5000  # rows fetched at a time: some milliseconds of the loop's time


@dataclass(frozen=True, slots=True)
class Handle:
    """A handle, live or retired."""

    handle: str
    skeleton: str  # what it looks like; no two handles share one
    person: int | None  # None: retired, nobody can take it
    since: datetime
    retired: datetime | None
    successor: int | None = None  # of a retired one: the person who has another now (S12.2)


@dataclass(frozen=True, slots=True)
class ListedPost:
    """A post with its author's names, for the operator."""

    post: Post
    jid: str
    handle: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is."""

    people: int
    handles: int  # live ones
    follows: int
    posts: int
    open_fanouts: int  # posts in lanes
    away: int  # people who are not live


@dataclass(frozen=True, slots=True)
class Trace:
    """What is known of one post's way."""

    post: Post
    author: Person
    cursors: tuple[Cursor, ...]  # lanes that are not done with it
    waiting: int  # followers for whose return it waits


# --- for the start -------------------------------------------------------------------------------


def load_people(conn: Connection) -> Iterator[Person]:
    """Give everybody, in ascending id."""
    asked = select(*PERSON).select_from(WITH_HANDLE).order_by(person.c.id)
    return people_of(_in_portions(conn, asked))


def load_handles(conn: Connection) -> Iterator[Handle]:
    """Give all handles, retired ones as well, in alphabetical order."""
    for row in _in_portions(conn, select(*handle.c).order_by(handle.c.handle)):
        yield Handle(*row)


def load_follows(conn: Connection) -> Iterator[Follow]:
    """Give all follows, by follower, then author."""
    asked = select(*FOLLOW).order_by(follow.c.follower, follow.c.author)
    return map(follow_of, _in_portions(conn, asked))


def load_standings(conn: Connection) -> Iterator[Standing]:
    """Give all standings, in ascending person id."""
    asked = select(*STANDING).order_by(standing.c.person)
    return map(standing_of, _in_portions(conn, asked))


def load_settings(conn: Connection) -> Iterator[tuple[int, str, str]]:
    """Give all choices that differ from the default, as (person, name, value)."""
    asked = select(*setting.c).order_by(setting.c.person, setting.c.name)
    for row in _in_portions(conn, asked):
        yield row.person, row.name, row.value


def open_fanouts(conn: Connection) -> list[Cursor]:
    """Give the cursors of all fan-outs that are not done, in ascending number, then lane."""
    asked = select(*fanout.c).order_by(fanout.c.number, fanout.c.lane)
    return cursors_of(conn.execute(asked))


# --- posts ---------------------------------------------------------------------------------------


def recent_posts(conn: Connection, limit: int) -> list[Post]:
    """Give the newest posts, at most `limit`, in ascending order."""
    asked = select(*POST).order_by(post.c.number.desc()).limit(limit)
    return posts_of(conn, conn.execute(asked))[::-1]


def posts(conn: Connection, numbers: Iterable[int]) -> list[Post]:
    """Give the posts with these numbers, in ascending order; what is not there is left out."""
    wanted = sorted(set(numbers))
    found = []
    for first in range(0, len(wanted), PORTION):
        some = post.c.number.in_(wanted[first : first + PORTION])
        found += posts_of(conn, conn.execute(select(*POST).where(some).order_by(post.c.number)))
    return found


def post_by_number(conn: Connection, number: int) -> Post | None:
    """Give the post with this number; None if there is none."""
    return next(iter(posts(conn, [number])), None)


def candidates_for(
    conn: Connection,
    follower: int,
    from_number: int,
    upto: int,
    limit: int,
    *,
    newest: bool = False,
) -> list[Post]:
    """Give the posts from `from_number` to `upto` that may concern a person, ascending.

    What came since he follows each author, and what is addressed to him. At most `limit`: the
    oldest of them, or with `newest` the newest. Whether he may have each of them is for the routing
    to say.
    """
    order = post.c.number.desc() if newest else post.c.number
    span = post.c.number.between(from_number, upto)
    followed = (
        select(post.c.number)
        .join_from(
            follow, post, and_(post.c.author == follow.c.author, post.c.number >= follow.c.since)
        )
        .where(follow.c.follower == follower, span, post.c.kind != Kind.DIRECT.value)
        .order_by(order)
        .limit(limit)
    )
    named = (
        select(addressed.c.number)
        .where(addressed.c.person == follower, addressed.c.number.between(from_number, upto))
        .order_by(addressed.c.number.desc() if newest else addressed.c.number)
        .limit(limit)
    )
    numbers = set(conn.scalars(followed)).union(conn.scalars(named))
    chosen = sorted(numbers)[-limit:] if newest else sorted(numbers)[:limit]
    return posts(conn, chosen)


# --- for the operator ----------------------------------------------------------------------------


def find_person(conn: Connection, jid: str) -> Person | None:
    """Give the person with this bare JID; None if the relay does not know him."""
    asked = select(*PERSON).select_from(WITH_HANDLE).where(person.c.jid == jid)
    return next(people_of(conn.execute(asked)), None)


def list_posts(conn: Connection, *, limit: int, before: int | None = None) -> list[ListedPost]:
    """Give the newest posts, at most `limit`, newest first; with `before` only lower numbers."""
    asked = (
        select(*POST, person.c.jid, handle.c.handle)
        .join_from(post, person, person.c.id == post.c.author)
        .outerjoin(handle, handle.c.person == person.c.id)
        .order_by(post.c.number.desc())
        .limit(limit)
    )
    if before is not None:
        asked = asked.where(post.c.number < before)
    rows = list(conn.execute(asked))
    found = posts_of(conn, rows)
    return [ListedPost(each, row.jid, row.handle) for each, row in zip(found, rows, strict=True)]


def counts(conn: Connection) -> Counts:
    """Give how much there is of everything; reads whole indexes."""

    def count(asked: Select[Any]) -> int:
        return conn.scalar(asked) or 0

    everything = func.count()
    return Counts(
        people=count(select(everything).select_from(person)),
        handles=count(select(everything).where(handle.c.person.is_not(None))),
        follows=count(select(everything).select_from(follow)),
        posts=count(select(everything).select_from(post)),
        open_fanouts=count(select(everything).select_from(fanout)),
        away=count(select(everything).where(standing.c.away_from.is_not(None))),
    )


def trace(conn: Connection, number: int) -> Trace | None:
    """Give what is known of a post's way; None if there is no such post."""
    found = post_by_number(conn, number)
    if found is None:
        return None
    asked = select(*PERSON).select_from(WITH_HANDLE).where(person.c.id == found.author)
    lanes = select(*fanout.c).where(fanout.c.number == number).order_by(fanout.c.lane)
    return Trace(
        post=found,
        author=next(people_of(conn.execute(asked))),
        cursors=tuple(cursors_of(conn.execute(lanes))),
        waiting=_waiting(conn, found),
    )


def _waiting(conn: Connection, of: Post) -> int:
    """Count the followers who are away and have not had the post."""
    asked = (
        select(*STANDING)
        .join_from(follow, standing, standing.c.person == follow.c.follower)
        .where(
            follow.c.author == of.author,
            follow.c.since <= of.number,
            (standing.c.away_from <= of.number) | (standing.c.missed != "[]"),
        )
    )
    standings = map(standing_of, conn.execute(asked))
    return sum(
        of.number in each.missed or (each.away_from is not None and each.away_from <= of.number)
        for each in standings
    )


def _in_portions(conn: Connection, asked: Select[Any]) -> Iterator[AnyRow]:
    for portion in conn.execute(asked.execution_options(yield_per=PORTION)).partitions():
        yield from portion
