"""What people ask for themselves, of the database: one author's posts, a span of all posts.

Plain functions over a connection, run by `Database.read`. Each looks at a bounded number of rows,
newest first, so that nobody's question holds up anybody else's; whoever wants to look further asks
again, from where it ended. Whether somebody may have what is found is for the routing to say.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select

from xmpprelay.core.model import Kind, Post
from xmpprelay.store.rows import POST, posts_of
from xmpprelay.store.schema import handle, post

_SHOWN: Final = (Kind.POST.value, Kind.BOOST.value)


def newest_of(conn: Connection, author: int, before: int, limit: int) -> list[Post]:
    """Give an author's newest posts and boosts below a number, at most `limit`, newest first."""
    asked = (
        select(*POST)
        .where(post.c.author == author, post.c.number < before)
        .where(post.c.kind.in_(_SHOWN), post.c.deleted.is_(False))
        .order_by(post.c.number.desc())
        .limit(limit)
    )
    return posts_of(conn, conn.execute(asked))


def posts_between(conn: Connection, first: int, last: int) -> list[Post]:
    """Give everybody's posts from one number to another, newest first; no boosts, no changes."""
    asked = (
        select(*POST)
        .where(post.c.number.between(first, last))
        .where(post.c.kind == Kind.POST.value, post.c.deleted.is_(False))
        .order_by(post.c.number.desc())
    )
    return posts_of(conn, conn.execute(asked))


def handle_since(conn: Connection, person: int) -> datetime | None:
    """Give the time since when somebody has a handle; None: he has none."""
    return conn.scalar(select(handle.c.since).where(handle.c.person == person))


def last_time(conn: Connection, author: int) -> datetime | None:
    """Give the time of an author's newest post; None: there is none."""
    newest = next(iter(newest_of(conn, author, 2**62, 1)), None)
    return None if newest is None else newest.created
