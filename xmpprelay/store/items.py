"""Posts as items of nodes, as the database gives them: an author's own, and what answers a post.

Plain functions over a connection, run by `Database.read`. Each looks at a bounded number of rows,
from where it is told on; whether somebody may have what is found is for the routing to say.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, select

from xmpprelay.core.model import Kind, Post
from xmpprelay.store.rows import POST, posts_of
from xmpprelay.store.schema import post

_SHOWN: Final = (Kind.POST.value, Kind.BOOST.value)


def items_below(conn: Connection, author: int, number: int, limit: int) -> list[Post]:
    """Give an author's posts and boosts with lower numbers, at most `limit`, newest first."""
    return _newest(conn, _of(author), number, limit)


def items_above(conn: Connection, author: int, number: int, limit: int) -> list[Post]:
    """Give an author's posts and boosts with higher numbers, at most `limit`, oldest first."""
    return _oldest(conn, _of(author), number, limit)


def answers_below(conn: Connection, parent: int, number: int, limit: int) -> list[Post]:
    """Give the answers to a post with lower numbers, at most `limit`, newest first."""
    return _newest(conn, _to(parent), number, limit)


def answers_above(conn: Connection, parent: int, number: int, limit: int) -> list[Post]:
    """Give the answers to a post with higher numbers, at most `limit`, oldest first."""
    return _oldest(conn, _to(parent), number, limit)


def _of(author: int) -> tuple[ColumnElement[bool], ...]:
    return post.c.author == author, post.c.kind.in_(_SHOWN), post.c.deleted.is_(False)


def _to(parent: int) -> tuple[ColumnElement[bool], ...]:
    return post.c.parent == parent, post.c.kind == Kind.POST.value, post.c.deleted.is_(False)


def _newest(
    conn: Connection, which: tuple[ColumnElement[bool], ...], number: int, limit: int
) -> list[Post]:
    asked = select(*POST).where(*which, post.c.number < number)
    return posts_of(conn, conn.execute(asked.order_by(post.c.number.desc()).limit(limit)))


def _oldest(
    conn: Connection, which: tuple[ColumnElement[bool], ...], number: int, limit: int
) -> list[Post]:
    asked = select(*POST).where(*which, post.c.number > number)
    return posts_of(conn, conn.execute(asked.order_by(post.c.number).limit(limit)))


def items_called(conn: Connection, author: int, names: Sequence[str]) -> dict[str, Post]:
    """Give the posts that an author called so as items, deleted ones as well, by these names."""
    asked = select(*POST).where(post.c.author == author, post.c.item.in_(names))
    found = posts_of(conn, conn.execute(asked))
    return {each.item: each for each in found if each.item is not None}


def last_authors(conn: Connection, above: int) -> list[int]:
    """Give the authors of the posts with higher numbers, whoever has posted last first."""
    asked = (
        select(post.c.author)
        .where(post.c.number > above, post.c.kind == Kind.POST.value, post.c.deleted.is_(False))
        .group_by(post.c.author)
        .order_by(func.max(post.c.number).desc())
    )
    return list(conn.execute(asked).scalars())


def last_edits(conn: Connection, numbers: Sequence[int]) -> dict[int, datetime]:
    """Give the times at which these posts were edited last; one that never was is left out."""
    if not numbers:
        return {}
    asked = (
        select(post.c.original, func.max(post.c.created, type_=post.c.created.type).label("at"))
        .where(post.c.original.in_(numbers), post.c.kind == Kind.EDIT.value)
        .group_by(post.c.original)
    )
    return {row.original: row.at for row in conn.execute(asked)}


__all__ = [
    "answers_above",
    "answers_below",
    "items_above",
    "items_below",
    "items_called",
    "last_authors",
    "last_edits",
]
