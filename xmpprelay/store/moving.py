"""Which service the relay inserts into, and what follows in the queue when it is another one.

Each row says where it was sent (`insertion.Where`); what that means for it is decided in its turn.
Here is what a turn cannot do: whose queue a row is in, when it is looked at again, and how many
rows are concerned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, literal, or_, select, update

from xmpprelay.core.insertion import Act, State
from xmpprelay.core.primary import EVERYBODY
from xmpprelay.store.dialect import upsert
from xmpprelay.store.outages import forget_all
from xmpprelay.store.schema import META_PRIMARY, insertion, link, meta, post
from xmpprelay.store.writer import Transaction, operation


@dataclass(frozen=True, slots=True)
class PrimaryRow:
    """What the relay has as its primary now."""

    name: str  # tells it from any other
    services: Mapping[str, str]  # by the site of the accounts; one without a name: by nothing
    one_account: bool = False  # for all authors


@dataclass(frozen=True, slots=True)
class Moved:
    """What a change of the primary concerns."""

    before: str
    inserted: int  # posts, and parts of some, that are at another service
    unclear: int  # that may be: nobody looks for them any more
    waiting: int  # that go to the new one


@operation(grows=False)
def have_primary(tx: Transaction, rows: Sequence[PrimaryRow]) -> list[Moved | None]:
    """Note what the primary is, and prepare the queue for it; None: it is the one that it was."""
    return [_have(tx, row) for row in rows]


def _have(tx: Transaction, row: PrimaryRow) -> Moved | None:
    before = tx.conn.scalar(select(meta.c.value).where(meta.c.key == META_PRIMARY))
    if before == row.name:
        return None
    upsert(tx.conn, meta, [{"key": META_PRIMARY, "value": row.name}])
    if before is None:
        _adopt(tx.conn, row)
        return None
    _hand_over(tx.conn, row, tx.now)
    forget_all(tx.conn, tx.now)
    inserts = insertion.c.act == Act.INSERT.value
    elsewhere = insertion.c.service.not_in(row.services.values())
    unclear = _is_in(State.SENDING, State.UNKNOWN)
    return Moved(
        before,
        inserted=_count(tx.conn, inserts, elsewhere, _is_in(State.INSERTED)),
        unclear=_count(tx.conn, inserts, elsewhere, unclear),
        waiting=_count(tx.conn, inserts, _is_in(State.QUEUED)),
    )


def _adopt(conn: Connection, row: PrimaryRow) -> None:
    """What was sent before it was kept where: to the primary that there is, as far as one knows."""
    sent = or_(insertion.c.last_sent.is_not(None), insertion.c.media != "{}")
    theirs = update(insertion).where(insertion.c.service.is_(None), sent)
    for site, service in row.services.items():
        if not site:
            conn.execute(theirs.values(service=service))
            continue
        since = insertion.c.last_sent >= link.c.created
        linked = (link.c.person == insertion.c.account, link.c.site == site)
        whose = select(link.c.remote_id).where(*linked).scalar_subquery()
        there = select(link.c.person).where(*linked, since).exists()
        conn.execute(theirs.where(there).values(service=service, service_account=whose))
    conn.execute(theirs.values(service=""))  # at an account that its author had before


def _hand_over(conn: Connection, row: PrimaryRow, now: datetime) -> None:
    """Each row goes into the queue of who has it inserted now, and waits for nothing any more."""
    author = select(post.c.author).where(post.c.number == insertion.c.post).scalar_subquery()
    account = literal(EVERYBODY) if row.one_account else author
    conn.execute(update(insertion).where(insertion.c.account != account).values(account=account))
    waits = _is_in(State.QUEUED, State.HELD)
    conn.execute(update(insertion).where(insertion.c.due > now, waits).values(due=now))


def _is_in(*states: State) -> ColumnElement[bool]:
    return insertion.c.state.in_([state.value for state in states])


def _count(conn: Connection, *which: ColumnElement[bool]) -> int:
    return conn.scalar(select(func.count()).select_from(insertion).where(*which)) or 0
