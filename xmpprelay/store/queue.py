"""What the operator asks about the queue for the primary: how deep it is, how old, and whose.

Questions only, over the rows that `store/insertion.py` makes and changes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, case, func, select

from xmpprelay.core.insertion import State
from xmpprelay.core.model import Person
from xmpprelay.store.rows import PERSON, WITH_HANDLE, people_of
from xmpprelay.store.schema import insertion, link, person

AGES: Final = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=20),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(days=1),
    timedelta(days=7),
)
"""The upper ends of the columns of a table by age; the last column is what is older."""

_IS_OPEN: Final = insertion.c.due.is_not(None)


@dataclass(frozen=True, slots=True)
class Depth:
    """How much there is of one account, but for what is done."""

    account: int
    waiting: int  # rows that are open, held ones as well
    oldest: datetime | None  # when the oldest of them was made
    kept: dict[State, int] = field(default_factory=dict)  # held, parked, refused


@dataclass(frozen=True, slots=True)
class Aged:
    """How many rows of one account are open, by age; one number more than there are `AGES`."""

    account: int
    counts: tuple[int, ...]


_KEPT: Final = (State.HELD, State.PARKED, State.REFUSED)


def depths(conn: Connection) -> list[Depth]:
    """How much there is of each account, in ascending id."""
    open_rows = select(
        insertion.c.account, func.count().label("rows"), func.min(insertion.c.created).label("born")
    )
    waiting = {
        row.account: (row.rows, row.born)
        for row in conn.execute(open_rows.where(_IS_OPEN).group_by(insertion.c.account))
    }
    states = select(insertion.c.account, insertion.c.state, func.count().label("rows"))
    states = states.where(insertion.c.state.in_([state.value for state in _KEPT]))
    kept: dict[int, dict[State, int]] = {}
    for row in conn.execute(states.group_by(insertion.c.account, insertion.c.state)):
        kept.setdefault(row.account, {})[State(row.state)] = row.rows
    return [
        Depth(account, *waiting.get(account, (0, None)), kept.get(account, {}))
        for account in sorted(waiting.keys() | kept.keys())
    ]


def by_age(conn: Connection, now: datetime) -> list[Aged]:
    """How old what waits is, the account with the most first."""
    counts = []
    younger = None
    for age in AGES:
        born = insertion.c.created > now - age
        within = born if younger is None else born & ~younger
        counts.append(func.sum(case((within, 1), else_=0)))
        younger = born
    counts.append(func.sum(case((insertion.c.created <= now - AGES[-1], 1), else_=0)))
    asked = select(insertion.c.account, *counts).where(_IS_OPEN).group_by(insertion.c.account)
    found = [Aged(row[0], tuple(row[1:])) for row in conn.execute(asked)]
    return sorted(found, key=lambda each: (-sum(each.counts), each.account))


def posts_in(
    conn: Connection, states: Collection[State], before: datetime | None = None
) -> list[int]:
    """The numbers of the posts that have rows in these states, ascending.

    With `before`, only rows that were made before that time.
    """
    asked = select(insertion.c.post).where(insertion.c.state.in_([s.value for s in states]))
    if before is not None:
        asked = asked.where(insertion.c.created < before)
    return list(conn.scalars(asked.distinct().order_by(insertion.c.post)))


def linked_sites(conn: Connection) -> dict[int, str]:
    """At which instance each person's account is."""
    return {row.person: row.site for row in conn.execute(select(link.c.person, link.c.site))}


def people_called(conn: Connection, ids: Sequence[int]) -> dict[int, Person]:
    """These people, by id."""
    found: dict[int, Person] = {}
    for first in range(0, len(ids), 5000):
        asked = select(*PERSON).select_from(WITH_HANDLE)
        some = asked.where(person.c.id.in_(ids[first : first + 5000]))
        found |= {each.id: each for each in people_of(conn.execute(some))}
    return found
