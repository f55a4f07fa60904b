"""Who may not simply follow whom, as the database knows it inside a transaction (S5.2, S6.1).

The graph says the same, but a follow may be queued behind the block that forbids it. So the
operations that make follows ask here. A follow that has to wait becomes a request; between two
people who are cut off it is one that its author never sees, and that waits for ever.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, delete, func, select

from xmpprelay.core.blocks import Blocks
from xmpprelay.core.model import Mode, Person
from xmpprelay.errors import TooMany
from xmpprelay.store.dialect import upsert
from xmpprelay.store.schema import block, person, request, setting
from xmpprelay.store.writer import Transaction

REQUEST_LASTS: Final = timedelta(days=30)
"""After that there is no request any more, answered or not (S5.2)."""

REQUESTS_AT_MOST: Final = 500
"""That wait for one author."""

PROTECT: Final = "protect"
"""The setting of authors whose followers need their approval; its value is `on`."""


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody has asked to follow somebody."""

    author: int  # person id
    follower: int  # person id
    mode: Mode  # of the follow, if it comes to one
    created: datetime  # when it was asked first; asking again does not renew it
    denied: bool = False  # by the author, or because the two are cut off: he does not see it


class Gate:
    """What stands between these pairs of (follower, author)."""

    def __init__(self, tx: Transaction, pairs: Iterable[tuple[int, int]]) -> None:
        wanted = list(pairs)
        followers = {follower for follower, _ in wanted}
        authors = {author for _, author in wanted}
        self._tx = tx
        self._people: dict[int, Person] = {}
        self._blocks = _blocks_of(tx, followers | authors)
        if self._blocks is not None:
            asked = select(person.c.id, person.c.jid).where(person.c.id.in_(followers | authors))
            self._people = {who: Person(who, jid, None) for who, jid in tx.conn.execute(asked)}
        self._protected = _protected(tx, authors)
        self._requests = _requests(tx, followers)
        self._waiting = Counter(r.follower for r in self._requests.values())
        self._pending: dict[int, int] = {}

    def cut(self, follower: int, author: int) -> bool:
        """Whether one of two people blocks the other (S6.1)."""
        if self._blocks is None:
            return False
        return self._blocks.cut(self._people[follower], self._people[author])

    def closed(self, follower: int, author: int, *, approved: bool) -> bool:
        """Whether a follow has to wait."""
        return (author in self._protected and not approved) or self.cut(follower, author)

    def waiting(self, follower: int) -> int:
        """How many requests of a person wait; they count as follows do."""
        return self._waiting[follower]

    def ask(self, follower: int, author: int, mode: Mode | None) -> bool:
        """Keep a request; whether the author is to be told, which is the first time only.

        Raises TooMany where so many wait for the author that there must not be more.
        """
        before = self._requests.get((follower, author))
        if before is not None:
            changed = Request(author, follower, mode or before.mode, before.created, before.denied)
        else:
            self._check_room(author)
            cut = self.cut(follower, author)
            changed = Request(author, follower, mode or Mode.HOME, self._tx.now, cut)
            self._waiting[follower] += 1
            if not cut:
                self._pending[author] += 1
        if changed != before:
            self._requests[follower, author] = changed
            upsert(self._tx.conn, request, [_row(changed)])
        return before is None and not changed.denied

    def followed(self, follower: int, author: int) -> None:
        """There is a follow now: what was asked for it is done."""
        if self._requests.pop((follower, author), None) is not None:
            self._waiting[follower] -= 1
            forget_request(self._tx, follower, author)

    def _check_room(self, author: int) -> None:
        """The same for who is cut off as for everybody else."""
        if author not in self._pending:
            asked = select(func.count()).where(
                request.c.author == author, request.c.denied.is_(False), unexpired(self._tx.now)
            )
            self._pending[author] = self._tx.conn.scalar(asked) or 0
        if self._pending[author] >= REQUESTS_AT_MOST:
            raise TooMany(
                f"{REQUESTS_AT_MOST} people wait for an answer there already: try again in a week."
            )


def unexpired(now: datetime) -> Any:
    """The condition that a request is not too old."""
    return request.c.created > now - REQUEST_LASTS


def forget_request(tx: Transaction, follower: int, author: int, *, shown: bool = False) -> None:
    """Delete a request; with `shown` only if the author can see it."""
    this = and_(request.c.follower == follower, request.c.author == author)
    tx.conn.execute(
        delete(request).where(and_(this, request.c.denied.is_(False)) if shown else this)
    )


def _blocks_of(tx: Transaction, owners: set[int]) -> Blocks | None:
    """The blocks of these people; None: there are none."""
    found = tx.conn.execute(select(block.c.owner, block.c.target).where(block.c.owner.in_(owners)))
    rows = list(found)
    if not rows:
        return None
    blocks = Blocks()
    for owner, target in rows:
        blocks.add(owner, target)
    return blocks


def _protected(tx: Transaction, authors: set[int]) -> frozenset[int]:
    on = and_(setting.c.name == PROTECT, setting.c.value == "on")
    asked = select(setting.c.person).where(on, setting.c.person.in_(authors))
    return frozenset(tx.conn.scalars(asked))


def _requests(tx: Transaction, followers: set[int]) -> dict[tuple[int, int], Request]:
    """The requests of these people that are not too old, by (follower, author)."""
    asked = select(*request.c).where(request.c.follower.in_(followers), unexpired(tx.now))
    found = (
        Request(row.author, row.follower, Mode(row.mode), row.created, row.denied)
        for row in tx.conn.execute(asked)
    )
    return {(each.follower, each.author): each for each in found}


def _row(value: Request) -> dict[str, Any]:
    return {
        "author": value.author,
        "follower": value.follower,
        "mode": value.mode.value,
        "created": value.created,
        "denied": value.denied,
    }
