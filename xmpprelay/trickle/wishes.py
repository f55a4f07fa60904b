"""What people do with what waits of them, and what they are told of it (S14)."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

from xmpprelay.core.graph import Graph
from xmpprelay.core.insertion import (
    CANNOT_TELL,
    DROPPED,
    ELSEWHERE,
    EXPIRED,
    PARENT,
    RESENDABLE,
    TOO_OLD,
    Act,
    Head,
    Insertion,
    State,
    ended,
    resent,
)
from xmpprelay.core.model import Person
from xmpprelay.core.notices import Notices
from xmpprelay.core.text import short_id
from xmpprelay.errors import Refused, StoreError, TryLater, UnknownPost
from xmpprelay.store.database import Database
from xmpprelay.store.insertion import (
    EXPIRE,
    ChooseRow,
    Listed,
    before_it,
    choose,
    pending_of,
    rows_of_post,
)
from xmpprelay.store.operations import SettingRow, set_setting
from xmpprelay.trickle.engine import Engine
from xmpprelay.trickle.telling import Kind, Telling, lines_of, telling, why_stopped

T = TypeVar("T")

TELL_EVERY_S: Final = 600.0
"""Of what does not go as it was meant an author is told at once, and then at most so often."""

MOST: Final = 10_000
"""Pending posts of one author that are looked at."""

BEGINS_CHARS: Final = 50
"""So much of a post is shown in a list."""

_DROPPABLE: Final = frozenset({State.QUEUED, State.HELD, State.PARKED, State.REFUSED})


@dataclass(slots=True)
class _Kept:
    """What an author is yet to be told of."""

    told: dict[tuple[int, Kind], Telling] = field(default_factory=dict)  # by post and kind


class Wishes:
    """`say` says something that nobody has asked for to a bare JID.

    `first_time` says whether a person has never been told of something; from then on he has.
    """

    def __init__(
        self,
        db: Database,
        graph: Graph,
        engine: Engine,
        say: Callable[[str, str], None],
        first_time: Callable[[int, str], bool],
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._db = db
        self._graph = graph
        self._engine = engine
        self._say = say
        self._first_time = first_time
        self._now = now
        self._monotonic = monotonic
        self._kept: Notices[_Kept] = Notices(TELL_EVERY_S, _Kept)
        engine.news = self._news

    # What he asks for

    async def pending(self, person: Person) -> Sequence[Listed]:
        """What waits of somebody's posts, or is parked; oldest first. Raises TryLater."""
        return await _sure(lambda: self._db.read(lambda conn: pending_of(conn, person.id, MOST)))

    async def before(self, number: int) -> int:
        """How many wait before a post. Raises TryLater."""
        return await _sure(lambda: self._db.read(lambda conn: before_it(conn, number)))

    async def drop(self, person: Person, number: int | None) -> int:
        """Take posts out of the queue; None: all of somebody's. How many there were.

        What is under way is not among them. Raises UnknownPost (none of his is called so), Refused
        (it is there already, or on its way), TryLater.
        """

        def becomes(row: Insertion, now: datetime) -> Insertion | None:
            if row.act is Act.INSERT and row.state in _DROPPABLE and not _may_be_there(row):
                return ended(row, State.CANCELLED, DROPPED, now)
            return None

        dropped = await self._choose(ChooseRow(becomes, author=person.id, number=number))
        if number is not None and not dropped:
            raise await self._why_not(person, number, "dropped")
        return len({row.post for row in dropped})

    async def expire(self, person: Person, after: timedelta) -> int:
        """Take out what has waited for longer, now and from now on; how many there were now.

        A span of nothing ends it. Raises TryLater.
        """
        value = str(int(after.total_seconds())) if after else None
        await _sure(lambda: self._db.write(set_setting, SettingRow(person.id, EXPIRE, value)))
        if not after:
            return 0
        oldest = self._now() - after

        def becomes(row: Insertion, now: datetime) -> Insertion | None:
            old = row.created < oldest and row.act is Act.INSERT
            old = old and row.part < 2  # of what has begun, the rest comes
            if old and row.state in _DROPPABLE and not _may_be_there(row):
                return ended(row, State.CANCELLED, EXPIRED, now)
            return None

        return len({row.post for row in await self._choose(ChooseRow(becomes, person.id))})

    async def resend(self, person: Person, number: int) -> int:
        """Send again what was held, parked or refused; how many rows there were.

        Raises UnknownPost, Refused (nothing is wrong with it), TryLater.
        """

        def becomes(row: Insertion, now: datetime) -> Insertion | None:
            return resent(row, now) if row.state in RESENDABLE else None

        again = await self._choose(ChooseRow(becomes, author=person.id, number=number))
        if not again:
            raise await self._why_not(person, number, "sent again")
        return len(again)

    async def _choose(self, row: ChooseRow) -> Sequence[Insertion]:
        """Change rows, and let the engine know; what it counts is the difference."""
        changes = await _sure(lambda: self._db.write(choose, row))
        self._engine.chosen(changes)
        return [after for _, after in changes]

    async def _why_not(self, person: Person, number: int, what: str) -> UnknownPost | Refused:
        rows = await _sure(
            lambda: self._db.read(lambda conn: rows_of_post(conn, number, person.id))
        )
        post = f"#{short_id(number)}"
        if not rows:
            return UnknownPost(f"No post of yours called {post} waits: `pending` lists them.")
        if any(row.state is State.INSERTED for row in rows):
            return Refused(f"{post} is inserted already; `del {post}` takes it back everywhere.")
        if any(row.state in (State.SENDING, State.UNKNOWN) for row in rows):
            return Refused(
                f"{post} is on its way, and cannot be {what} now; `del {post}` takes it back."
            )
        return Refused(f"{post} waits for its turn, or was dropped: `pending` lists what waits.")

    # What he is told

    def _news(self, head: Head, before: Insertion, row: Insertion) -> None:
        author = head.post.author
        kept = self._kept.kept_for(author)
        if kept is not None:  # it waits no more
            kept.told.pop((row.post, Kind.WAITS), None)
        for each in telling(head, before, row, self._engine.rules):
            if not each.once or self._first_time(author, each.once):
                self._keep(author, row.post, each)

    def parked(self, rows: Sequence[Insertion]) -> None:
        """Rows of linked accounts, each its author's, were parked without a turn."""
        for row in rows:
            self._keep(row.account, row.post, why_stopped(row))

    def _keep(self, author: int, number: int, told: Telling) -> None:
        self._kept.of(author).told[number, told.kind] = told
        kept = self._kept.take(author, self._monotonic())
        if kept is not None:
            self._tell(author, kept)

    def tick(self) -> None:
        """A minute has passed."""
        for author, kept in self._kept.due(self._monotonic()):
            self._tell(author, kept)

    def forget(self, person: int) -> None:
        """Somebody has left."""
        self._kept.forget(person)

    def _tell(self, author: int, kept: _Kept) -> None:
        if not kept.told:
            self._kept.not_told(author)
            return
        told = [(number, each) for (number, _), each in kept.told.items()]
        self._say(self._graph.person(author).jid, "\n".join(lines_of(told)))


async def _sure(step: Callable[[], Awaitable[T]]) -> T:
    """What a step of the store gives; TryLater where it cannot do it."""
    try:
        return await step()
    except StoreError as error:
        raise TryLater(
            "The relay cannot look that up at the moment; nothing was changed. Try later."
        ) from error


def _may_be_there(row: Insertion) -> bool:
    """It was sent, and looking has not found it yet: a drop would leave it there for ever."""
    return row.unclear and row.state is State.QUEUED


def line_of(listed: Listed) -> str:
    """One line for a row: what it is called, how it stands and why, how it begins."""
    row, words = listed.row, " ".join(listed.post.text.split())
    begins = words if len(words) <= BEGINS_CHARS else f"{words[: BEGINS_CHARS - 1].rstrip()}…"
    why = ""
    if row.state in _NOT_BY_ITSELF or (row.state is State.QUEUED and row.reason == PARENT):
        why = _WHY.get(row.reason) or row.detail or row.reason
    stands = f"{_WHAT[row.act]}{_STANDS[row.state]}" + (f" ({why})" if why else "")
    return f"#{short_id(listed.post.number)} {stands}: {begins}"


_NOT_BY_ITSELF: Final = frozenset({State.HELD, State.PARKED, State.REFUSED})
_WHY: Final = {
    CANNOT_TELL: "nobody can see whether it is there",
    "cannot_delete": "it has to be done there",
    "cannot_edit": "the old one stays",
    "crash": "the relay fails on it",
    ELSEWHERE: "it went where your posts do not go any more",
    PARENT: "for what it answers",
    "parent_refused": "what it answers is not there",
    "too_long": "it is too long",
    TOO_OLD: "it has waited for too long",
}
_WHAT: Final = {Act.INSERT: "", Act.EDIT: "(its new text) ", Act.DELETE: "(its deletion) "}
_STANDS: Final = {
    State.QUEUED: "waits",
    State.SENDING: "is being sent",
    State.UNKNOWN: "is being looked for",
    State.HELD: "is held",
    State.PARKED: "is parked",
    State.INSERTED: "is inserted",
    State.REFUSED: "was refused",
    State.CANCELLED: "was dropped",
}
