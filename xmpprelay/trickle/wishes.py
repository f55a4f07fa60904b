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
    RESENDABLE,
    Act,
    Insertion,
    State,
    ended,
    resent,
)
from xmpprelay.core.model import Person, Post
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

T = TypeVar("T")

TELL_EVERY_S: Final = 600.0
"""Of what was not inserted an author is told at once, and then at most so often."""

MOST: Final = 10_000
"""Pending posts of one author that are looked at."""

BEGINS_CHARS: Final = 50
"""So much of a post is shown in a list."""

_NAMED: Final = 5

_DROPPABLE: Final = frozenset({State.QUEUED, State.HELD, State.PARKED, State.REFUSED})


@dataclass(slots=True)
class _Stopped:
    """What an author is yet to be told of."""

    numbers: dict[int, str] = field(default_factory=dict)  # post -> the sentence


class Wishes:
    """`say` says something that nobody has asked for to a bare JID."""

    def __init__(
        self,
        db: Database,
        graph: Graph,
        engine: Engine,
        say: Callable[[str, str], None],
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._db = db
        self._graph = graph
        self._engine = engine
        self._say = say
        self._now = now
        self._monotonic = monotonic
        self._stopped: Notices[_Stopped] = Notices(TELL_EVERY_S, _Stopped)
        engine.stopped = self._has_stopped

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

    def _has_stopped(self, row: Insertion, post: Post) -> None:
        sentence = told(row, post)
        if sentence is None:
            return
        self._stopped.of(post.author).numbers[post.number] = sentence
        kept = self._stopped.take(post.author, self._monotonic())
        if kept is not None:
            self._tell(post.author, kept)

    def tick(self) -> None:
        """A minute has passed."""
        for author, kept in self._stopped.due(self._monotonic()):
            self._tell(author, kept)

    def forget(self, person: int) -> None:
        """Somebody has left."""
        self._stopped.forget(person)

    def _tell(self, author: int, kept: _Stopped) -> None:
        numbers = list(kept.numbers)
        if len(numbers) == 1:
            text = kept.numbers[numbers[0]]
        else:
            names = ", ".join(f"#{short_id(number)}" for number in numbers[:_NAMED])
            left = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
            text = (
                f"{len(numbers)} posts of yours were not inserted ({names}{left}): `pending` says "
                "why; `resend #ID` or `drop #ID`."
            )
        self._say(self._graph.person(author).jid, text)


def told(row: Insertion, post: Post) -> str | None:
    """What an author is told of a row that does not come by itself; None: nothing."""
    name = f"#{short_id(post.number)}"
    detail = f" ({row.detail})" if row.detail else ""
    again = f"`resend {name}` tries again, `drop {name}` ends it."
    match row.state, row.act:
        case State.HELD, _ if row.reason == CANNOT_TELL:
            return (
                f"Nobody can see whether {name} was inserted{detail}. Look for it there; then "
                f"`resend {name}`, or `drop {name}`."
            )
        case State.HELD, _ if row.reason == ELSEWHERE:
            return (
                f"{name} may have been inserted where your posts went before, and nobody looks "
                f"there any more. Look for it there; then `resend {name}` to insert it where they "
                f"go now, or `drop {name}`."
            )
        case State.HELD, _:
            return f"{name} answers a post that is not there. {again}"
        case State.PARKED, _ if row.reason == ELSEWHERE:
            return f"The rest of {name} is not inserted: it begins where your posts went before."
        case State.PARKED, _:
            why = "has waited for too long" if row.reason == "too_old" else "fails each time"
            return f"{name} {why}, and is not inserted{detail}. {again}"
        case State.REFUSED, Act.EDIT if row.reason == ELSEWHERE:
            return f"{name} is where your posts went before, and keeps its old text there."
        case State.REFUSED, Act.DELETE if row.reason == ELSEWHERE:
            return f"{name} is where your posts went before, until you delete it there."
        case State.REFUSED, Act.EDIT:
            return f"{SERVICE} cannot edit: {name} keeps its old text there."
        case State.REFUSED, Act.DELETE:
            return f"{SERVICE} cannot delete: {name} stays there until you delete it there."
        case State.REFUSED, _ if row.reason == "too_long":
            return f"{name} is too long for the service behind this relay, and is not inserted."
        case State.REFUSED, _:
            return f"{SERVICE} did not take {name}{detail}. {again}"
    return None


SERVICE: Final = "The service behind this relay"


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
    if row.state in _NOT_BY_ITSELF:
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
    "parent_refused": "what it answers is not there",
    "too_long": "it is too long",
    "too_old": "it has waited for too long",
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
