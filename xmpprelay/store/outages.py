"""When a primary was away, and what is remembered of it: the history, its abilities, the flag."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from xmpprelay.core.health import Flag
from xmpprelay.core.pacing import Rate
from xmpprelay.core.primary import Caps, Dedupe, Visibility
from xmpprelay.store.dialect import upsert
from xmpprelay.store.schema import link, meta, outage
from xmpprelay.store.writer import Transaction, operation

_CAPS: Final = "caps:"
_FLAG: Final = "flag:"


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which a primary was on standby."""

    site: str
    began: datetime
    ended: datetime | None  # None: it lasts
    reason: str
    carried: int  # posts that waited at its end


@operation(grows=True)
def begin_outage(tx: Transaction, rows: Sequence[Outage]) -> list[None]:
    """Note that a primary is away, unless that is noted already."""
    for row in rows:
        lasts = select(outage.c.id).where(outage.c.site == row.site, outage.c.ended.is_(None))
        if tx.conn.scalar(lasts) is None:
            tx.conn.execute(insert(outage).values(asdict(row)))
    return [None] * len(rows)


@dataclass(frozen=True, slots=True)
class EndRow:
    """A primary is back."""

    site: str
    ended: datetime
    carried: int


@operation(grows=False)
def end_outage(tx: Transaction, rows: Sequence[EndRow]) -> list[None]:
    """Note that a primary is back."""
    for row in rows:
        lasts = update(outage).where(outage.c.site == row.site, outage.c.ended.is_(None))
        tx.conn.execute(lasts.values(ended=row.ended, carried=row.carried))
    return [None] * len(rows)


_OUTAGE: Final = (
    outage.c.site,
    outage.c.began,
    outage.c.ended,
    outage.c.reason,
    outage.c.carried,
)

MOST_SHOWN: Final = 500
"""Of a primary that comes and goes, so many of the last outages are shown."""


def list_outages(conn: Connection, limit: int) -> list[Outage]:
    """Give the last outages, newest first."""
    asked = select(*_OUTAGE).order_by(outage.c.began.desc(), outage.c.id.desc()).limit(limit)
    return [Outage(*row) for row in conn.execute(asked)]


def outages_since(conn: Connection, since: datetime) -> list[Outage]:
    """Give the last outages that were not over before a time, newest first."""
    asked = select(*_OUTAGE).where(outage.c.ended.is_(None) | (outage.c.ended > since))
    asked = asked.order_by(outage.c.began.desc(), outage.c.id.desc()).limit(MOST_SHOWN)
    return [Outage(*row) for row in conn.execute(asked)]


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a primary from an earlier run."""

    caps: Caps | None = None
    flag: Flag = Flag.AUTO
    away_since: datetime | None = None  # an outage that was not over
    reason: str = ""


@operation(grows=True)
def remember_caps(tx: Transaction, rows: Sequence[tuple[str, Caps]]) -> list[None]:
    """Remember what primaries can do, for the time in which they are away."""
    _set(tx, {f"{_CAPS}{site}": _text_of(caps) for site, caps in rows})
    return [None] * len(rows)


@operation(grows=False)
def set_flag(tx: Transaction, rows: Sequence[tuple[str, Flag]]) -> list[None]:
    """Remember what the operator has decided."""
    for site, flag in rows:
        if flag is Flag.AUTO:
            tx.conn.execute(delete(meta).where(meta.c.key == f"{_FLAG}{site}"))
        else:
            _set(tx, {f"{_FLAG}{site}": flag.value})
    return [None] * len(rows)


def forget_all(conn: Connection, now: datetime) -> None:
    """Forget what other primaries could do, and end the times in which they were away.

    What the operator has decided stays.
    """
    conn.execute(delete(meta).where(meta.c.key.startswith(_CAPS)))
    conn.execute(update(outage).where(outage.c.ended.is_(None)).values(ended=now))


def stand_by_everywhere(conn: Connection) -> None:
    """Put every primary on standby, as an operator would, until he ends it."""
    sites = {"", *conn.scalars(select(link.c.site))}
    rows = [{"key": f"{_FLAG}{site}", "value": Flag.ON.value} for site in sorted(sites)]
    upsert(conn, meta, rows)


def _set(tx: Transaction, values: Mapping[str, str]) -> None:
    upsert(tx.conn, meta, [{"key": key, "value": value} for key, value in values.items()])


def remembered(conn: Connection, site: str) -> Remembered:
    """What an earlier run has left of a primary."""
    keys = (f"{_CAPS}{site}", f"{_FLAG}{site}")
    asked = select(meta.c.key, meta.c.value).where(meta.c.key.in_(keys))
    values = {row.key: row.value for row in conn.execute(asked)}
    lasts = select(outage.c.began, outage.c.reason)
    lasts = lasts.where(outage.c.site == site, outage.c.ended.is_(None))
    found = conn.execute(lasts.order_by(outage.c.began).limit(1)).first()
    return Remembered(
        caps=None if keys[0] not in values else _caps_of(values[keys[0]]),
        flag=Flag(values.get(keys[1], Flag.AUTO.value)),
        away_since=None if found is None else found.began,
        reason="" if found is None else found.reason,
    )


def _text_of(caps: Caps) -> str:
    return json.dumps(asdict(caps), default=sorted)


def _caps_of(text: str) -> Caps | None:
    """None: another version of the relay has written it."""
    try:
        values: dict[str, Any] = json.loads(text)
        for name in ("edits", "shows"):
            values[name] = frozenset(Visibility(each) for each in values[name])
        values["media_types"] = frozenset(values["media_types"])
        values["dedupe"] = Dedupe(values["dedupe"])
        for name in ("account_rate", "site_rate"):
            values[name] = None if values[name] is None else Rate(**values[name])
        return Caps(**values)
    except (ValueError, TypeError, KeyError):
        return None
