"""What feeds need of the database: the hashes of secrets, and posts that no other question finds.

The questions are plain functions over a connection, run by `Database.read`. Each looks at a bounded
number of rows; whether somebody may have what is found is for the routing to say.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from xmpprelay.core.model import Kind, Post
from xmpprelay.store.rows import POST, posts_of
from xmpprelay.store.schema import addressed, feed_token, post
from xmpprelay.store.writer import Transaction, operation


@dataclass(frozen=True, slots=True)
class SecretRow:
    """A new secret of somebody."""

    person: int
    hash: bytes  # SHA-256 of it


@dataclass(frozen=True, slots=True)
class Secret:
    """What is kept of a secret."""

    person: int
    hash: bytes
    created: datetime


@operation(grows=True)
def set_secret(tx: Transaction, rows: Sequence[SecretRow]) -> list[Secret]:
    """Give people new secrets; those that they had are none any more."""
    made = [Secret(row.person, row.hash, tx.now) for row in rows]
    for each in made:
        tx.conn.execute(delete(feed_token).where(feed_token.c.person == each.person))
        values = {"person": each.person, "hash": each.hash, "created": each.created}
        tx.conn.execute(insert(feed_token).values(values))
    return made


def load_secrets(conn: Connection) -> Iterator[Secret]:
    """Give what is kept of all secrets."""
    for row in conn.execute(select(feed_token)):
        yield Secret(row.person, row.hash, row.created)


def tagged_between(conn: Connection, first: int, last: int) -> list[Post]:
    """Give posts that may have a hashtag, from one number to another, newest first."""
    asked = (
        select(*POST)
        .where(post.c.number.between(first, last), post.c.text.contains("#"))
        .where(post.c.kind == Kind.POST.value, post.c.deleted.is_(False))
        .order_by(post.c.number.desc())
    )
    return posts_of(conn, conn.execute(asked))


def naming_below(conn: Connection, person: int, number: int, limit: int) -> list[Post]:
    """Give posts that name somebody, with lower numbers, at most `limit`, newest first."""
    asked = (
        select(*POST)
        .join(addressed, addressed.c.number == post.c.number)
        .where(addressed.c.person == person, addressed.c.number < number)
        .where(post.c.kind == Kind.POST.value, post.c.deleted.is_(False))
        .order_by(addressed.c.number.desc())
        .limit(limit)
    )
    return posts_of(conn, conn.execute(asked))


def boosters_of_post(conn: Connection, number: int) -> list[int]:
    """Give everybody who has boosted a post, ascending."""
    boosts = post.c.kind == Kind.BOOST.value, post.c.deleted.is_(False)
    asked = select(post.c.author).where(post.c.original == number, *boosts)
    return sorted(set(conn.scalars(asked)))


def boosters_of_author(conn: Connection, author: int) -> list[int]:
    """Give everybody who has boosted a post of an author, ascending."""
    his = select(post.c.number).where(post.c.author == author, post.c.kind == Kind.POST.value)
    boosts = post.c.kind == Kind.BOOST.value, post.c.deleted.is_(False)
    asked = select(post.c.author).where(post.c.original.in_(his), *boosts)
    return sorted(set(conn.scalars(asked)))
