"""Counters of minutes in the database, and how they become fewer with age (core/activity.py)."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Connection, delete, func, select, type_coerce

from xmpprelay.core.activity import (
    MINUTE,
    Away,
    Series,
    Span,
    Tally,
    Thinning,
    floor,
    merged,
    outdated,
    series,
    thinnings,
)
from xmpprelay.store.dialect import upsert
from xmpprelay.store.outages import outages_since
from xmpprelay.store.schema import MICROSECOND, Moment, activity
from xmpprelay.store.writer import Transaction, operation

_COLUMNS: Final = (
    activity.c.minute,
    activity.c.minutes,
    activity.c.watched,
    activity.c.posts,
    activity.c.bot_posts,
    activity.c.deliveries,
    activity.c.people,
    activity.c.backlog,
)


@operation(grows=False)
def count(tx: Transaction, rows: Sequence[Tally]) -> list[None]:
    """Write down what was counted; to what is there already for that time it is added."""
    for row in rows:
        asked = select(*_COLUMNS).where(activity.c.minute == row.begins)
        there = [Tally(*found) for found in tx.conn.execute(asked)]
        minutes = max(each.minutes for each in (*there, row))
        _put(tx.conn, merged((*there, row), row.begins, minutes))
    return [None] * len(rows)


@operation(grows=False)
def thin(tx: Transaction, rows: Sequence[datetime]) -> list[bool]:
    """Make one new row of old ones in each step, and drop the oldest if it is outdated.

    Each row given is the time; gives whether there was anything to do.
    """
    return [_thin(tx.conn, now) for now in rows]


def _thin(conn: Connection, now: datetime) -> bool:
    oldest = conn.scalar(select(activity.c.minute).order_by(activity.c.minute).limit(1))
    drops = oldest is not None and oldest < outdated(now)
    if drops:
        conn.execute(delete(activity).where(activity.c.minute == oldest))
    return any([drops, *(_merge(conn, step) for step in thinnings(now))])


def _merge(conn: Connection, step: Thinning) -> bool:
    fine = select(activity.c.minute).where(
        activity.c.minute < step.before, activity.c.minutes < step.minutes
    )
    first = conn.scalar(fine.order_by(activity.c.minute).limit(1))
    if first is None:
        return False
    begins = floor(first, step.minutes)
    within = (activity.c.minute >= begins) & (activity.c.minute < begins + step.minutes * MINUTE)
    tallies = [Tally(*row) for row in conn.execute(select(*_COLUMNS).where(within))]
    conn.execute(delete(activity).where(within))
    # Where the clock was set back, a longer row may begin here as well; it stays as long.
    minutes = max(step.minutes, *(each.minutes for each in tallies))
    _put(conn, merged(tallies, begins, minutes))
    return True


def _put(conn: Connection, tally: Tally) -> None:
    values = asdict(tally)
    upsert(conn, activity, [{"minute": values.pop("begins"), **values}])


def load_activity(conn: Connection, since: datetime, until: datetime, minutes: int) -> list[Tally]:
    """What was counted from one time to another, ascending, in rows of so many minutes.

    They are added up by the database: of a week there are more than a thousand.
    """
    length = minutes * MINUTE // MICROSECOND
    row = type_coerce(activity.c.minute, BigInteger) // length
    asked = select(
        type_coerce(row * length, Moment),
        func.sum(activity.c.watched),
        func.sum(activity.c.posts),
        func.sum(activity.c.bot_posts),
        func.sum(activity.c.deliveries),
        func.sum(activity.c.people),
        func.max(activity.c.backlog),
    )
    asked = asked.where(activity.c.minute >= since, activity.c.minute < until)
    found = conn.execute(asked.group_by(row).order_by(row))
    return [Tally(begins, minutes, *counts) for begins, *counts in found]


def load_series(
    conn: Connection, span: Span, now: datetime, unwritten: Iterable[Tally] = ()
) -> Series:
    """A span of time up to now; what is counted and not written yet is added to what is here."""
    first = span.first(now)
    rows = load_activity(conn, first, now, span.point_minutes)
    away = [Away(each.began, each.ended) for each in outages_since(conn, first)]
    return series([*rows, *unwritten], away, span, now)
