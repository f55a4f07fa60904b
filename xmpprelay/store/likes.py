"""Likes in the database: one a person and post, whatever and however often he reacts (S8.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from xmpprelay.store.schema import liking
from xmpprelay.store.writer import Transaction, operation


@dataclass(frozen=True, slots=True)
class LikeRow:
    """Somebody likes a post, or does not any more."""

    person: int
    number: int  # the post; never a boost


@operation(grows=True)
def like(tx: Transaction, rows: Sequence[LikeRow]) -> list[bool]:
    """Keep likes, and tell of each whether it is new."""
    return [_like(tx, row) for row in rows]


def _like(tx: Transaction, row: LikeRow) -> bool:
    there = select(liking.c.number).where(
        liking.c.number == row.number, liking.c.person == row.person
    )
    if tx.conn.scalar(there) is not None:
        return False
    values = {"number": row.number, "person": row.person, "created": tx.now}
    tx.conn.execute(insert(liking).values(values))
    return True


@operation(grows=False)
def unlike(tx: Transaction, rows: Sequence[LikeRow]) -> list[bool]:
    """Forget likes, and tell of each whether there was one."""
    return [
        tx.conn.execute(
            delete(liking).where(liking.c.number == row.number, liking.c.person == row.person)
        ).rowcount
        > 0
        for row in rows
    ]


def count_likes(conn: Connection, number: int) -> int:
    """Count who likes a post."""
    asked = select(func.count()).select_from(liking).where(liking.c.number == number)
    return conn.scalar(asked) or 0
