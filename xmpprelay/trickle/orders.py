"""What the operator orders for posts in the queue: send again, hold back, drop.

An order is carried out post by post, in portions, so that an order for a hundred thousand posts
holds up nobody: the trickle and the people have their turn between. Each post is looked at inside
the transaction that changes it, so that whatever the trickle did meanwhile counts.

The running relay carries orders out, and the command line itself where none runs.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeAlias

from xmpprelay.core.insertion import (
    DROPPED,
    RESENDABLE,
    Act,
    Insertion,
    State,
    ended,
    resent,
)
from xmpprelay.core.text import short_id
from xmpprelay.errors import Refused, UnknownPost
from xmpprelay.store.database import Database
from xmpprelay.store.insertion import ChooseRow, choose, rows_of_post
from xmpprelay.store.queue import posts_in

HELD_BACK: Final = "operator"
"""The reason of what the operator holds back."""

_PORTION: Final = 200
"""Posts that are changed together: some milliseconds of the writer's time."""

_WAITS: Final = frozenset({State.QUEUED, State.HELD, State.PARKED})
_DROPPABLE: Final = _WAITS | {State.REFUSED}

Change: TypeAlias = tuple[Insertion, Insertion]
"""A row as it was and as it is now."""


class Verb(StrEnum):
    """What is to be done."""

    RETRY = "retry"
    HOLD = "hold"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Order:
    """One order: for one post, or for all that are in some states or older than a span."""

    verb: Verb
    number: int | None = None
    states: frozenset[State] = _WAITS  # where no post is named
    older: timedelta | None = None

    def becomes(self, row: Insertion, now: datetime) -> Insertion | None:
        """What a row of such a post becomes; None: it stays as it is."""
        if self.number is None and row.state not in self.states:
            return None
        if self.older is not None and row.created > now - self.older:
            return None
        match self.verb:
            case Verb.RETRY:
                return resent(row, now) if row.state in RESENDABLE else None
            case Verb.HOLD:
                # Parked, not HELD: a row that is held holds up all that its author posts after it.
                waits = row.state is State.QUEUED
                return ended(row, State.PARKED, HELD_BACK, now) if waits else None
            case Verb.DROP:
                drops = row.act is Act.INSERT and row.state in _DROPPABLE and not _may_be_there(row)
                return ended(row, State.CANCELLED, DROPPED, now) if drops else None


def _may_be_there(row: Insertion) -> bool:
    """It was sent, and looking has not found it yet: a drop would leave it there for ever."""
    return row.unclear and row.state is State.QUEUED


async def carry_out(
    db: Database,
    order: Order,
    now: datetime,
    *,
    progress: Callable[[int, int], None],
    chosen: Callable[[Sequence[Change]], None] = lambda _: None,
) -> int:
    """Do what is ordered; how many posts it has changed.

    `chosen` is told of the changed rows of each portion, `progress` how many posts are through.
    Raises UnknownPost or Refused with the reason where a post is named and nothing was changed;
    StoreError.
    """
    numbers = [order.number] if order.number is not None else await _numbers(db, order, now)
    changed = 0
    for first in range(0, len(numbers), _PORTION):
        portion = numbers[first : first + _PORTION]
        results = await asyncio.gather(
            *(db.submit(choose, ChooseRow(order.becomes, number=each)) for each in portion)
        )
        chosen([change for changes in results for change in changes])
        changed += sum(bool(changes) for changes in results)
        progress(first + len(portion), len(numbers))
    if order.number is not None and not changed:
        number = order.number
        raise _why_not(number, order.verb, await db.read(lambda conn: rows_of_post(conn, number)))
    return changed


def order_of(arguments: Mapping[str, Any]) -> Order:
    """The order that the arguments of a request describe."""
    older_s = arguments["older_s"]
    return Order(
        Verb(arguments["verb"]),
        arguments["number"],
        frozenset(State(each) for each in arguments["states"]),
        None if older_s is None else timedelta(seconds=older_s),
    )


def noted(order: Order, posts: int) -> tuple[str, str]:
    """What the audit says of an order that was carried out: the action, and its subject."""
    action = f"journal {order.verb.value}"
    if order.number is not None:
        return action, f"#{short_id(order.number)}"
    which = ", ".join(sorted(state.value for state in order.states))
    return action, f"{posts} posts ({which})"


async def _numbers(db: Database, order: Order, now: datetime) -> list[int]:
    before = None if order.older is None else now - order.older
    return await db.read(lambda conn: posts_in(conn, order.states, before))


def _why_not(number: int, verb: Verb, rows: Iterable[Insertion]) -> UnknownPost | Refused:
    name = f"#{short_id(number)}"
    states = {row.state for row in rows}
    trace = f"`xmpprelay journal trace {short_id(number)}` tells more."
    if not states:
        return UnknownPost(f"{name} is not for the primary, or there is no such post: {trace}")
    if states & {State.SENDING, State.UNKNOWN}:
        return Refused(f"{name} is on its way, or it is being looked for: try again in a minute.")
    if State.INSERTED in states:
        return Refused(f"{name} is inserted already: {trace}")
    what = {
        Verb.RETRY: "waits for its turn, or was dropped",
        Verb.HOLD: "does not wait",
        Verb.DROP: "was dropped before, or it has to be looked for first",
    }[verb]
    return Refused(f"{name} {what}: {trace}")
