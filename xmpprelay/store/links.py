"""Whose account is whose at the instances, and how each instance knows the relay.

Operations for the one writer, and what is read at the start. Tokens come and go encrypted
(`secretbox.py`); nothing here can read them. A token in a row says which login is meant: what was
learned of an older one changes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update

from xmpprelay.errors import Refused
from xmpprelay.store.dialect import upsert
from xmpprelay.store.rows import AnyRow
from xmpprelay.store.schema import client, link
from xmpprelay.store.writer import Transaction, operation

_LINK: Final = tuple(link.c)


@dataclass(frozen=True, slots=True)
class LinkRow:
    """Somebody has shown that an account is his."""

    person: int
    site: str  # base URL of the instance
    name: str  # alice@social.example
    remote_id: str
    token: str  # encrypted


@dataclass(frozen=True, slots=True)
class StoredLink:
    """A person's account at an instance."""

    person: int
    site: str
    name: str
    remote_id: str
    token: str  # encrypted
    created: datetime
    refused: datetime | None = None  # since when the credentials do not hold
    private: bool = False  # his posts go there although he is protected


@operation(grows=True)
def add_link(tx: Transaction, rows: Sequence[LinkRow]) -> list[StoredLink]:
    """Link accounts to people, in place of those they had.

    Linked again, an account keeps whether protected posts go there, and since when it is linked.
    Raises Refused if it is linked to somebody else.
    """
    return [_add(tx, row) for row in rows]


def _add(tx: Transaction, row: LinkRow) -> StoredLink:
    same = and_(link.c.site == row.site, link.c.remote_id == row.remote_id)
    asked = select(link.c.person, link.c.private, link.c.created).where(same)
    there = tx.conn.execute(asked).one_or_none()
    if there is not None and there.person != row.person:
        raise Refused(
            f"{row.name} is linked to somebody else here, so nothing was changed: whose it is must "
            "`unlink` first."
        )
    new = StoredLink(
        row.person,
        row.site,
        row.name,
        row.remote_id,
        row.token,
        tx.now if there is None else there.created,
        private=there is not None and there.private,
    )
    upsert(tx.conn, link, [{column.name: getattr(new, column.name) for column in _LINK}])
    return new


@operation(grows=False)
def remove_link(tx: Transaction, rows: Sequence[int]) -> list[bool]:
    """Forget people's accounts, and tell of each whether there was one."""
    return [
        tx.conn.execute(delete(link).where(link.c.person == person)).rowcount > 0 for person in rows
    ]


@dataclass(frozen=True, slots=True)
class MarkRow:
    """Whether the credentials of a login hold."""

    person: int
    token: str  # encrypted, as it is stored
    refused: bool


@operation(grows=False)
def mark_link(tx: Transaction, rows: Sequence[MarkRow]) -> list[StoredLink | None]:
    """Keep since when credentials do not hold, or that they do; None: there is no such login."""
    results = []
    for row in rows:
        since = tx.now if row.refused else None
        other = link.c.refused.is_(None) if row.refused else link.c.refused.is_not(None)
        this = _this_login(row.person, row.token)
        tx.conn.execute(update(link).where(this, other).values(refused=since))
        results.append(_found(tx, this))
    return results


@dataclass(frozen=True, slots=True)
class PrivateRow:
    """Whether a protected author wants his posts at the instance, for his followers there."""

    person: int
    private: bool


@operation(grows=False)
def set_private(tx: Transaction, rows: Sequence[PrivateRow]) -> list[StoredLink | None]:
    """Keep that choice; None: he has no link."""
    results = []
    for row in rows:
        this = link.c.person == row.person
        tx.conn.execute(update(link).where(this).values(private=row.private))
        results.append(_found(tx, this))
    return results


@dataclass(frozen=True, slots=True)
class SealRow:
    """The same token, encrypted with another key."""

    person: int
    before: str
    token: str


@operation(grows=False)
def seal_link(tx: Transaction, rows: Sequence[SealRow]) -> list[StoredLink | None]:
    """Put newly encrypted tokens in place of the old ones; None: there is no such login."""
    results = []
    for row in rows:
        this = _this_login(row.person, row.before)
        tx.conn.execute(update(link).where(this).values(token=row.token))
        results.append(_found(tx, _this_login(row.person, row.token)))
    return results


def _this_login(person: int, token: str) -> ColumnElement[bool]:
    return and_(link.c.person == person, link.c.token == token)


def _found(tx: Transaction, this: ColumnElement[bool]) -> StoredLink | None:
    row = tx.conn.execute(select(*_LINK).where(this)).one_or_none()
    return None if row is None else _link_of(row)


def load_links(conn: Connection) -> Iterator[StoredLink]:
    """Give all links, in the order of the people's ids."""
    for row in conn.execute(select(*_LINK).order_by(link.c.person)):
        yield _link_of(row)


def _link_of(row: AnyRow) -> StoredLink:
    values: dict[str, Any] = dict(row._mapping)
    return StoredLink(**values)


# --- the relay, as each instance knows it --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClientRow:
    """What an instance calls the relay, as an application."""

    site: str
    client_id: str
    client_secret: str  # encrypted


@operation(grows=True)
def set_client(tx: Transaction, rows: Sequence[ClientRow]) -> list[ClientRow]:
    """Keep how instances know the relay; the last word counts."""
    for row in rows:
        values = {"site": row.site, "client_id": row.client_id, "client_secret": row.client_secret}
        upsert(tx.conn, client, [values | {"created": tx.now}])
    return list(rows)


def load_clients(conn: Connection) -> Iterator[ClientRow]:
    """Give all of them."""
    asked = select(client.c.site, client.c.client_id, client.c.client_secret)
    for row in conn.execute(asked.order_by(client.c.site)):
        yield ClientRow(row.site, row.client_id, row.client_secret)
