"""What waits for the primary, in the database: the queue itself, which is never in memory.

A row is made in the transaction of the entry that asks for it (`queue_post`, `queue_change`), so
that nothing is in the journal and not in the queue. From then on only `claim`, `settle` and the
people's and the operator's own operations change it; what the change is, `core/insertion.py` says.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from xmpprelay.core.insertion import (
    OPEN,
    Act,
    Head,
    Insertion,
    State,
    Where,
    ended,
    is_elsewhere,
)
from xmpprelay.core.model import Kind, Post, Queued
from xmpprelay.core.primary import Candidate, Status, Visibility
from xmpprelay.store.dialect import Change, Question
from xmpprelay.store.gate import PROTECT
from xmpprelay.store.rows import POST, AnyRow, posts_of
from xmpprelay.store.schema import insertion, link, post, setting
from xmpprelay.store.writer import Transaction, operation

_ROW: Final = (
    insertion.c.id,
    insertion.c.account,
    insertion.c.post,
    insertion.c.act,
    insertion.c.created,
    insertion.c.state,
    insertion.c.part,
    insertion.c.due,
    insertion.c.key,
    insertion.c.tries,
    insertion.c.alike,
    insertion.c.unclear,
    insertion.c.refused,
    insertion.c.first_sent,
    insertion.c.last_sent,
    insertion.c.high_water,
    insertion.c.remote_id,
    insertion.c.remote_url,
    insertion.c.visibility,
    insertion.c.status,
    insertion.c.media,
    insertion.c.reason,
    insertion.c.detail,
    insertion.c.service,
    insertion.c.service_account,
)
"""Columns of an `Insertion`, in the order of its fields; the last one is of two columns."""

EXPIRE: Final = "expire"
"""The setting of an author who wants old posts dropped; its value is a number of seconds."""

_IS_OPEN: Final = insertion.c.due.is_not(None)
# As the indexes have them: SQLite would not know that a parameter is the same.
_INSERTS: Final = insertion.c.act == literal_column("'insert'")
_IS_INSERTED: Final = insertion.c.state == literal_column("'inserted'")
_ORDER: Final = (insertion.c.post, insertion.c.part, insertion.c.id)
"""In which an account's rows are done."""


def insertion_of(row: Sequence[Any]) -> Insertion:
    """Give the insertion of a row with the columns of `_ROW`."""
    *values, service, account = row[: len(_ROW)]
    values[3], values[5] = Act(values[3]), State(values[5])
    values[18] = None if values[18] is None else Visibility(values[18])
    values[19] = None if values[19] is None else _status_of(values[19])
    values[20] = json.loads(values[20])
    values.append(None if service is None else Where(service, account))
    return Insertion(*values)


def _values(row: Insertion) -> dict[str, Any]:
    return {
        "account": row.account,
        "post": row.post,
        "act": row.act.value,
        "created": row.created,
        "state": row.state.value,
        "part": row.part,
        "due": row.due,
        "key": row.key,
        "tries": row.tries,
        "alike": row.alike,
        "unclear": row.unclear,
        "refused": row.refused,
        "first_sent": row.first_sent,
        "last_sent": row.last_sent,
        "high_water": row.high_water,
        "remote_id": row.remote_id,
        "remote_url": row.remote_url,
        "visibility": None if row.visibility is None else row.visibility.value,
        "status": None if row.status is None else _status_text(row.status),
        "media": json.dumps(dict(row.media), separators=(",", ":")),
        "reason": row.reason,
        "detail": row.detail,
        "service": None if row.where is None else row.where.service,
        "service_account": "" if row.where is None else row.where.account,
    }


def _status_text(status: Status) -> str:
    return json.dumps(asdict(status), default=datetime.isoformat)


def _status_of(text: str) -> Status:
    values = json.loads(text)
    for name in ("published", "updated"):
        values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
    values["visibility"] = Visibility(values["visibility"])
    for name in ("mentions", "media"):
        values[name] = tuple(values[name])
    return Status(**values)


# --- with the entry of the journal ---------------------------------------------------------------


def queue_posts(tx: Transaction, posts: Sequence[tuple[Post, int, Visibility]]) -> None:
    """Queue new posts, each for an account and for whom at most; in the making transaction."""
    if posts:
        rows = (
            Insertion(
                0, account, each.number, Act.INSERT, each.created, due=each.created, visibility=most
            )
            for each, account, most in posts
        )
        _QUEUEING.each(tx.conn, map(_values, rows))


def queue_change(tx: Transaction, entry: Post) -> tuple[Queued, ...]:
    """Queue an edit or a deletion of a post that is queued or inserted; what has changed.

    What was not sent yet, or was stopped, is cancelled by a deletion. It needs nothing for an edit:
    the text is read when it is sent. One edit that waits does for all, and a deletion does away
    with it.
    """
    original = entry.original
    if original is None or original.kind is not Kind.POST:
        return ()
    rows = [insertion_of(row) for row in tx.conn.execute(_of_post(original.number))]
    waiting = [row for row in rows if row.act is not Act.INSERT and row.due is not None]
    if entry.kind is Kind.EDIT:
        return _queue_edit(tx, rows, waiting)
    queued = []
    for row in rows:
        if row.act is not Act.INSERT:
            continue
        stopped = row.state in (State.HELD, State.PARKED, State.REFUSED) or _never_sent(row)
        gone = [row] if stopped else []
        edits = [each for each in waiting if each.part == row.part and each.state is State.QUEUED]
        for each in gone + edits:
            _store(tx, ended(each, State.CANCELLED, "deleted", tx.now))
        deletes = not gone and (row.due is not None or row.state is State.INSERTED)
        if deletes:
            _queue(tx, row, Act.DELETE)
        closed = sum(each.due is not None for each in gone + edits)
        queued.append(Queued(row.account, int(deletes), closed, row.post))
    return tuple(queued)


def forget_posts(tx: Transaction, numbers: Sequence[int]) -> tuple[Queued, ...]:
    """Cancel what is open of the posts of somebody who leaves; what has changed.

    Nothing that he has written stays in the rows, nor where it can be seen.
    """
    asked = select(*_ROW).where(insertion.c.post.in_(numbers)).order_by(*_ORDER)
    queued = []
    for row in map(insertion_of, tx.conn.execute(asked).all()):
        now = row
        if row.state not in (State.INSERTED, State.CANCELLED):
            now = ended(row, State.CANCELLED, "deleted", tx.now)
        _store(tx, replace(now, status=None, media={}, remote_url=None, detail=""))
        if row.due is not None:
            queued.append(Queued(row.account, 0, 1, row.post))
    return tuple(queued)


def _queue_edit(
    tx: Transaction, rows: Sequence[Insertion], waiting: Sequence[Insertion]
) -> tuple[Queued, ...]:
    """The whole post alone can be edited: `next_step` says so of its parts."""
    first = next((row for row in rows if row.act is Act.INSERT), None)
    if first is None or _never_sent(first) or any(row.state is State.QUEUED for row in waiting):
        return ()
    if first.due is None and first.state is not State.INSERTED:
        return ()
    _queue(tx, first, Act.EDIT)
    return (Queued(first.account, 1),)


def _never_sent(row: Insertion) -> bool:
    return row.state is State.QUEUED and not row.unclear


def _queue(tx: Transaction, row: Insertion, act: Act) -> None:
    change = Insertion(0, row.account, row.post, act, tx.now, part=row.part, due=tx.now)
    _QUEUEING.each(tx.conn, [_values(change)])


def _of_post(number: int) -> Select[Any]:
    return select(*_ROW).where(insertion.c.post == number).order_by(*_ORDER)


def _store(tx: Transaction, row: Insertion) -> None:
    _STORING.each(tx.conn, [_values(row) | {"this": row.id}])


_COLUMNS: Final = [each.name for each in insertion.c if each is not insertion.c.id]
_QUEUEING: Final = Change(insert(insertion), _COLUMNS)
_STORING: Final = Change(
    update(insertion).where(insertion.c.id == bindparam("this")), [*_COLUMNS, "this"]
)


# --- the trickle ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """An account's turn: `decide` says what becomes of its oldest open row, if anything.

    It is asked inside the transaction with all that there is to know, and gives the row as it is to
    be stored and, where a post turns out to be several, the rows of the further parts. None: the
    row stays as it is. A first part that becomes the whole post, or has other further parts from
    now on, loses those that it had.
    """

    account: int
    decide: Callable[[Head], "tuple[Insertion, Sequence[Insertion]] | None"]
    here: Where  # where it would be sent


@operation(grows=False, patient=True)
def claim(tx: Transaction, rows: Sequence[ClaimRow]) -> list[Insertion | None]:
    """Let each account's oldest open row become what is decided; None: nothing is open, or changed.

    What is stored is SENDING before the first byte leaves.
    """
    return [_claim(tx, row) for row in rows]


def _claim(tx: Transaction, row: ClaimRow) -> Insertion | None:
    head = head_of(tx.conn, row.account, row.here)
    decided = None if head is None else row.decide(head)
    if head is None or decided is None:
        return None
    new, further = decided
    if head.row.part == 1 and (new.part == 0 or further):
        tx.conn.execute(delete(insertion).where(*_rest_of(new.post)))
    _store(tx, new)
    _QUEUEING.each(tx.conn, map(_values, further))
    return new


@dataclass(frozen=True, slots=True)
class SettleRow:
    """What became of a row that was in that state when its turn began."""

    row: Insertion
    was: State


@operation(grows=False, patient=True)
def settle(tx: Transaction, rows: Sequence[SettleRow]) -> list[tuple[Insertion, Insertion]]:
    """Store what became of rows; gives each as it was on the disk and as it is there now.

    What somebody has done with a row meanwhile (dropped it, unlinked its account) stays, unless it
    turns out that it is inserted. A remote id that another row has got already is not this one's,
    whatever the primary says.
    """
    return [_settle(tx, row) for row in rows]


def _settle(tx: Transaction, settled: SettleRow) -> tuple[Insertion, Insertion]:
    row = settled.row
    [found] = _ROW_WITH_ID.ask(tx.conn, id=row.id)
    before = insertion_of(found)
    if before.state is not settled.was and row.state is not State.INSERTED:
        return before, before
    if row.act is Act.INSERT and row.remote_id is not None:
        service = None if row.where is None else row.where.service
        claims = _CLAIMS_OF.ask(
            tx.conn, account=row.account, remote_id=row.remote_id, service=service
        )
        if any(each != row.id for (each,) in claims):
            row = replace(row, remote_id=None, reason="claimed")
    _store(tx, row)
    return before, row


_ROW_WITH_ID: Final = Question(select(*_ROW).where(insertion.c.id == bindparam("id")))
_CLAIMS_OF: Final = Question(
    select(insertion.c.id).where(
        insertion.c.account == bindparam("account"),
        insertion.c.service.is_not_distinct_from(bindparam("service")),
        insertion.c.remote_id == bindparam("remote_id"),
        _INSERTS,
    )
)
"""The ids of rows that have got a remote id."""


@operation(grows=False)
def restart(
    tx: Transaction, rows: Sequence[Callable[[Insertion, datetime], Insertion]]
) -> list[int]:
    """Give every row that was SENDING when the relay ended another state; how many there were."""
    asked = select(*_ROW).where(_IS_OPEN, insertion.c.state == State.SENDING.value)
    found = [insertion_of(row) for row in tx.conn.execute(asked)]
    for became in rows:
        for each in found:
            _store(tx, became(each, tx.now))
    return [len(found)] * len(rows)


def head_of(conn: Connection, account: int, here: Where) -> Head | None:
    """An account's oldest open row with all that decides about it; None: it has none.

    `here` is where it would be sent now.
    """
    found = _OLDEST_OPEN.ask(conn, account=account)
    if not found:
        return None
    row = insertion_of(found[0])
    the_post = _post(conn, row.post)
    parent = None if the_post.parent is None else _post_or_none(conn, the_post.parent)
    moves = is_elsewhere(row, here)
    settings = dict(_SETTINGS.ask(conn, author=the_post.author))
    expire = settings.get(EXPIRE)
    return Head(
        row,
        the_post,
        parent=parent,
        parent_row=None if parent is None else _inserting(conn, parent.number, None),
        own_row=None if row.act is Act.INSERT else _inserting(conn, row.post, row.part),
        before=_inserting(conn, row.post, row.part - 1) if row.part > 1 else None,
        newest=newest_remote(conn, account, here) if moves or row.first_sent is None else None,
        protected=settings.get(PROTECT) == "on",
        private=any(private for (private,) in _PRIVATE.ask(conn, author=the_post.author)),
        expire=None if expire is None else timedelta(seconds=int(expire)),
        here=here,
        rest=_count(conn, *_rest_of(row.post)) if moves and row.part == 1 else 0,
    )


_OLDEST_OPEN: Final = Question(
    select(*_ROW)
    .where(insertion.c.account == bindparam("account"), _IS_OPEN)
    .order_by(*_ORDER)
    .limit(1)
)
_SETTINGS: Final = Question(
    select(setting.c.name, setting.c.value).where(
        setting.c.person == bindparam("author"),
        or_(setting.c.name == PROTECT, setting.c.name == EXPIRE),
    )
)
_PRIVATE: Final = Question(select(link.c.private).where(link.c.person == bindparam("author")))


def _post(conn: Connection, number: int) -> Post:
    found = _post_or_none(conn, number)
    assert found is not None, "an insertion refers to its post"  # noqa: S101
    return found


def _post_or_none(conn: Connection, number: int) -> Post | None:
    return next(iter(posts_of(conn, _POST.ask(conn, number=number))), None)


_POST: Final = Question(select(*POST).where(post.c.number == bindparam("number")))


def _inserting(conn: Connection, number: int, part: int | None) -> Insertion | None:
    """How a post, or a part of it, is inserted; None as part: its first part, or the whole."""
    for row in map(insertion_of, _INSERTING.ask(conn, number=number)):
        if part is None or row.part == part:
            return row
    return None


_INSERTING: Final = Question(
    select(*_ROW)
    .where(insertion.c.post == bindparam("number"), insertion.c.act == Act.INSERT.value)
    .order_by(insertion.c.part)
)


def _rest_of(number: int) -> tuple[ColumnElement[bool], ...]:
    """Which rows are of the further parts of a post, and wait for its first."""
    return (
        insertion.c.post == number,
        insertion.c.act == Act.INSERT.value,
        insertion.c.part > 1,
        insertion.c.state == State.QUEUED.value,
    )


def _count(conn: Connection, *which: ColumnElement[bool]) -> int:
    return conn.scalar(select(func.count()).select_from(insertion).where(*which)) or 0


def claimed(
    conn: Connection, account: int, service: str, candidates: Sequence[Candidate]
) -> frozenset[str]:
    """Which of these, all at a service, some row of the account has got already."""
    asked = select(insertion.c.remote_id).where(
        insertion.c.account == account,
        insertion.c.service == service,
        insertion.c.act == Act.INSERT.value,
        insertion.c.remote_id.in_([each.remote_id for each in candidates]),
    )
    return frozenset(conn.scalars(asked))


def newest_remote(conn: Connection, account: int, here: Where) -> str | None:
    """The remote id of what was inserted there last for an account: its high-water mark."""
    found = NEWEST_REMOTE.ask(conn, account=account, service=here.service, of=here.account)
    return next((name for (name,) in found), None)


NEWEST_REMOTE: Final = Question(
    select(insertion.c.remote_id)
    .where(
        insertion.c.account == bindparam("account"),
        _INSERTS,
        _IS_INSERTED,
        insertion.c.service == bindparam("service"),
        insertion.c.service_account == bindparam("of"),
    )
    .order_by(insertion.c.last_sent.desc())
    .limit(1)
)


# --- how much waits ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is open of one account."""

    account: int
    rows: int
    born: datetime  # of the oldest
    due: datetime  # of the oldest


def load_waiting(conn: Connection) -> Iterator[Waiting]:
    """What is open, by account. Reads the whole queue's index."""
    asked = select(insertion.c.account, func.count().label("rows"))
    for account, rows in conn.execute(asked.where(_IS_OPEN).group_by(insertion.c.account)).all():
        oldest = oldest_open(conn, account)
        if oldest is not None:
            yield replace(oldest, rows=rows)


def oldest_open(conn: Connection, account: int) -> Waiting | None:
    """An account's oldest open row; None: it has none. `rows` is 0: nothing was counted."""
    found = _OLDEST_WAITING.ask(conn, account=account)
    return next((Waiting(account, 0, created, due) for created, due in found), None)


_OLDEST_WAITING: Final = Question(
    select(insertion.c.created, insertion.c.due)
    .where(insertion.c.account == bindparam("account"), _IS_OPEN)
    .order_by(*_ORDER)
    .limit(1)
)


def oldest_waiting(conn: Connection) -> dict[int, datetime]:
    """When the oldest open row of each account was made."""
    asked = select(insertion.c.account, func.min(insertion.c.created).label("created"))
    found = conn.execute(asked.where(_IS_OPEN).group_by(insertion.c.account))
    return {row.account: row.created for row in found}


def before_it(conn: Connection, number: int) -> int:
    """How many open rows are of posts before that one."""
    asked = select(func.count()).select_from(insertion)
    return conn.scalar(asked.where(_IS_OPEN, insertion.c.post < number)) or 0


# --- for people and the operator -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listed:
    """A row with its post."""

    row: Insertion
    post: Post


def rows_of_post(conn: Connection, number: int, author: int | None = None) -> list[Insertion]:
    """All rows about a post, in order; none, where an author is given whose post it is not."""
    asked = _of_post(number)
    if author is not None:
        asked = asked.join_from(insertion, post, post.c.number == insertion.c.post)
        asked = asked.where(post.c.author == author)
    return [insertion_of(row) for row in conn.execute(asked)]


def pending_of(conn: Connection, author: int, limit: int) -> list[Listed]:
    """Give what is open, parked or refused of an author's posts, oldest first."""
    asked = (
        select(*_ROW)
        .join_from(insertion, post, post.c.number == insertion.c.post)
        .where(
            post.c.author == author,
            or_(_IS_OPEN, insertion.c.state.in_([State.PARKED.value, State.REFUSED.value])),
        )
        .order_by(*_ORDER)
        .limit(limit)
    )
    return _listed(conn, conn.execute(asked))


def list_open(
    conn: Connection, *, states: Iterable[State] = OPEN, limit: int | None = None
) -> list[Listed]:
    """Give rows in these states, oldest first."""
    asked = (
        select(*_ROW)
        .where(insertion.c.state.in_([state.value for state in states]))
        .order_by(insertion.c.created, insertion.c.id)
    )
    return _listed(conn, conn.execute(asked if limit is None else asked.limit(limit)))


def _listed(conn: Connection, found: Iterable[AnyRow]) -> list[Listed]:
    rows = [insertion_of(row) for row in found]
    posts: Mapping[int, Post] = {
        each.number: each
        for first in range(0, len(rows), 5000)
        for each in posts_of(
            conn,
            conn.execute(
                select(*POST).where(
                    post.c.number.in_({row.post for row in rows[first : first + 5000]})
                )
            ),
        )
    }
    return [Listed(row, posts[row.post]) for row in rows]


@dataclass(frozen=True, slots=True)
class ChooseRow:
    """Some rows are to become others: those of a post, an author or an account, or all.

    `becomes` is given each of them and the time, and gives what it becomes, or None: it stays.
    """

    becomes: Callable[[Insertion, datetime], Insertion | None]
    author: int | None = None
    number: int | None = None
    account: int | None = None


@operation(grows=False)
def choose(
    tx: Transaction, rows: Sequence[ChooseRow]
) -> list[tuple[tuple[Insertion, Insertion], ...]]:
    """Change rows as somebody wants it; gives those that were changed, as (before, after)."""
    return [_choose(tx, row) for row in rows]


def _choose(tx: Transaction, row: ChooseRow) -> tuple[tuple[Insertion, Insertion], ...]:
    asked = select(*_ROW).join_from(insertion, post, post.c.number == insertion.c.post)
    if row.number is not None:
        asked = asked.where(insertion.c.post == row.number)
    else:
        asked = asked.where(or_(_IS_OPEN, insertion.c.state == State.PARKED.value))
    if row.author is not None:
        asked = asked.where(post.c.author == row.author)
    if row.account is not None:
        asked = asked.where(insertion.c.account == row.account)
    changed = []
    for each in map(insertion_of, tx.conn.execute(asked.order_by(*_ORDER)).all()):
        new = row.becomes(each, tx.now)
        if new is not None:
            _store(tx, new)
            changed.append((each, new))
    return tuple(changed)


def counts_by_state(conn: Connection) -> dict[State, int]:
    """How many rows are in each state."""
    asked = select(insertion.c.state, func.count()).group_by(insertion.c.state)
    return {State(state): count for state, count in conn.execute(asked)}


def inserted_since(conn: Connection, since: datetime) -> int:
    """How many rows were done since a time."""
    asked = select(func.count()).where(
        and_(insertion.c.state == State.INSERTED.value, insertion.c.last_sent >= since)
    )
    return conn.scalar(asked) or 0
