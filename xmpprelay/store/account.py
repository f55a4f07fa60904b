"""Changes of a person's account: a new handle, leaving, many settings at once; and all his data.

A handle that nobody has any more stays in the table as a tombstone, so that nobody inherits it:
`successor` says whose it was, as long as he is here (S12.2).
"""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, delete, insert, or_, select, update

from xmpprelay.core.model import Kind, Person, Queued
from xmpprelay.core.text import message_id
from xmpprelay.errors import HandleTaken, Refused
from xmpprelay.store.dialect import upsert
from xmpprelay.store.identity import read_epoch
from xmpprelay.store.insertion import forget_posts
from xmpprelay.store.operations import SettingRow, forget_retired, set_setting
from xmpprelay.store.rows import PERSON, WITH_HANDLE, AnyRow, ids_text, people_of
from xmpprelay.store.schema import (
    addressed,
    block,
    cap,
    digest,
    digested,
    feed_token,
    follow,
    handle,
    liking,
    link,
    member,
    mute,
    off,
    person,
    picture,
    post,
    profile,
    request,
    setting,
    sourced,
)
from xmpprelay.store.writer import Transaction, operation

RENAME_EVERY: Final = timedelta(days=30)
"""One may change one's handle so often (S12.2)."""

RENAMED: Final = "renamed"
"""The setting that keeps when somebody did so last."""

# --- settings ------------------------------------------------------------------------------------


@operation(grows=False)
def set_settings(tx: Transaction, rows: Sequence[Sequence[SettingRow]]) -> list[None]:
    """Keep several choices of one person, all of them or none."""
    set_setting(tx, [each for row in rows for each in row])
    return [None] * len(rows)


# --- handles -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RenameRow:
    """Another handle for somebody who has one."""

    person: int
    handle: str  # lower case, well-formed
    skeleton: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """What became of it."""

    person: Person  # with his new handle
    before: str  # his old one
    at: datetime


@operation(grows=True)
def rename(tx: Transaction, rows: Sequence[RenameRow]) -> list[Renamed]:
    """Give people other handles; the old ones become tombstones.

    Since when somebody posts here stays as it was. His own tombstones he may take back. Raises
    HandleTaken as `take_handle` does, and Refused: he has none, or changed it too lately.
    """
    forget_retired(tx)
    return [_rename(tx, row) for row in rows]


def _rename(tx: Transaction, row: RenameRow) -> Renamed:
    old = tx.conn.execute(select(handle).where(handle.c.person == row.person)).one_or_none()
    if old is None:
        raise Refused("You have no handle yet: `join NAME` gives you one.")
    _refuse_too_often(tx, row.person)
    like = or_(handle.c.handle == row.handle, handle.c.skeleton == row.skeleton)
    for other in tx.conn.execute(select(handle).where(like)):
        if row.person in (other.person, other.successor):
            continue
        if other.handle == row.handle:
            raise HandleTaken(f"@{row.handle} is taken: choose another handle.")
        raise HandleTaken(f"@{row.handle} looks too much like another one: choose another handle.")
    tx.conn.execute(delete(handle).where(like, handle.c.successor == row.person))
    if old.skeleton == row.skeleton:  # nobody else can take the old spelling: no tombstone
        tx.conn.execute(
            update(handle).where(handle.c.person == row.person).values(handle=row.handle)
        )
    else:
        retired = {"person": None, "retired": tx.now, "successor": row.person}
        tx.conn.execute(update(handle).where(handle.c.person == row.person).values(retired))
        new = {"handle": row.handle, "skeleton": row.skeleton, "person": row.person}
        tx.conn.execute(insert(handle).values(new | {"since": old.since}))
    when = {"person": row.person, "name": RENAMED, "value": tx.now.isoformat()}
    upsert(tx.conn, setting, [when])
    asked = select(*PERSON).select_from(WITH_HANDLE).where(person.c.id == row.person)
    return Renamed(next(people_of(tx.conn.execute(asked))), old.handle, tx.now)


def _refuse_too_often(tx: Transaction, who: int) -> None:
    mine = (setting.c.person == who, setting.c.name == RENAMED)
    last = tx.conn.scalar(select(setting.c.value).where(*mine))
    again = None if last is None else datetime.fromisoformat(last) + RENAME_EVERY
    if again is not None and tx.now < again:
        raise Refused(
            f"A handle can be changed once in {RENAME_EVERY.days} days: yours again from "
            f"{again:%Y-%m-%d} on."
        )


# --- leaving -------------------------------------------------------------------------------------

AT_ONCE: Final = 2000
"""Posts that are blanked in one row of the queue."""


@dataclass(frozen=True, slots=True)
class BlankRow:
    """Posts of somebody who leaves."""

    author: int
    after: int  # numbers up to this one are done


@dataclass(frozen=True, slots=True)
class Blanked:
    """What was taken out."""

    numbers: tuple[int, ...]  # of posts; none: there are no more
    queued: tuple[Queued, ...] = ()  # what has changed in the queue for the primary


@operation(grows=False)
def blank_posts(tx: Transaction, rows: Sequence[BlankRow]) -> list[Blanked]:
    """Take the next posts of an author out of the journal.

    Of each remain its number, its time and that it is deleted. It is addressed to nobody any more,
    so that what still waits somewhere, even a retraction, is for nobody. What was not inserted into
    the primary yet is not inserted.
    """
    return [_blank(tx, row) for row in rows]


def _blank(tx: Transaction, row: BlankRow) -> Blanked:
    asked = (
        select(post.c.number)
        .where(post.c.author == row.author, post.c.number > row.after)
        .order_by(post.c.number)
        .limit(AT_ONCE)
    )
    numbers = tuple(tx.conn.scalars(asked))
    gone = dict.fromkeys(("lang", "origin", "weak", "stanza", "item"))
    nothing = {"text": "", "deleted": True, "targets": ids_text(()), "mentions": ids_text(())}
    tx.conn.execute(update(post).where(post.c.number.in_(numbers)).values(nothing | gone))
    return Blanked(numbers, forget_posts(tx, numbers))


@operation(grows=False)
def leave(tx: Transaction, rows: Sequence[int]) -> list[None]:
    """Forget what these people have chosen and whom they follow, and retire their handles.

    What remains: the person's row and standing, his blanked posts, what others wrote to him, and
    that others block his address.
    """
    for who in rows:
        for table, mine in _owned(who):
            tx.conn.execute(delete(table).where(mine))
        tx.conn.execute(update(handle).where(handle.c.successor == who).values(successor=None))
        retired = {"person": None, "retired": tx.now}
        tx.conn.execute(update(handle).where(handle.c.person == who).values(retired))
    return [None] * len(rows)


def _owned(who: int) -> Iterator[tuple[Table, ColumnElement[bool]]]:
    """Give each table in which somebody has rows, with what tells them."""
    for table in (mute, off, digest, digested, liking, link, setting, addressed, profile, picture):
        yield table, table.c.person == who
    for table in (sourced, feed_token):
        yield table, table.c.person == who
    yield block, block.c.owner == who
    for table in (cap, member):
        yield table, or_(table.c.person == who, table.c.author == who)
    for table in (follow, request):
        yield table, or_(table.c.follower == who, table.c.author == who)


# --- all that is held of somebody ----------------------------------------------------------------


def data_of(conn: Connection, jid: str) -> Iterator[dict[str, Any]]:
    """Give all that is held of the person with this JID, as objects for JSON; none: unknown.

    Other people are named by address, or by handle if they have one.
    """
    who = conn.execute(select(person).where(person.c.jid == jid)).one_or_none()
    if who is None:
        return
    names = _Names(conn)
    yield {"type": "person", "jid": who.jid, "created": _time(who.created)}
    yield from _handles(conn, who.id)
    yield from _shown(conn, who.id)
    for row in conn.execute(select(setting).where(setting.c.person == who.id)):
        yield {"type": "setting", "name": row.name, "value": row.value}
    for row in conn.execute(select(link).where(link.c.person == who.id)):
        yield {"type": "link", "account": row.name, "site": row.site, "since": _time(row.created)}
    for row in conn.execute(select(feed_token).where(feed_token.c.person == who.id)):
        yield {"type": "secret feeds", "since": _time(row.created)}
    for row in conn.execute(select(follow).where(follow.c.follower == who.id)):
        yield {"type": "follows", "who": names.of(row.author), "mode": row.mode}
    for row in conn.execute(select(follow).where(follow.c.author == who.id)):
        yield {"type": "follower", "who": names.of(row.follower)}
    yield from _kept_out(conn, who.id, names)
    yield from _less(conn, who.id, names)
    epoch = read_epoch(conn) or ""
    for row in conn.execute(select(liking).where(liking.c.person == who.id)):
        yield {"type": "like", "of": message_id(row.number, epoch), "at": _time(row.created)}
    for row in conn.execute(select(sourced).where(sourced.c.person == who.id)):
        name = None if row.number is None else message_id(row.number, epoch)
        yield {"type": "entry", "item": row.item, "post": name}
    yield from _written(conn, who.id, names, epoch)


class _Names:
    """How people are named in somebody's data."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._known: dict[int, str] = {}

    def of(self, who: int) -> str:
        if who not in self._known:
            asked = select(*PERSON).select_from(WITH_HANDLE).where(person.c.id == who)
            found = next(people_of(self._conn.execute(asked)), None)
            self._known[who] = "" if found is None else f"@{found.handle}"
            if found is not None and found.handle is None:
                self._known[who] = found.jid
        return self._known[who]


def _handles(conn: Connection, who: int) -> Iterator[dict[str, Any]]:
    mine = or_(handle.c.person == who, handle.c.successor == who)
    for row in conn.execute(select(handle).where(mine).order_by(handle.c.since)):
        ended = None if row.retired is None else _time(row.retired)
        yield {"type": "handle", "handle": row.handle, "since": _time(row.since), "until": ended}


def _shown(conn: Connection, who: int) -> Iterator[dict[str, Any]]:
    """Give what others see of him."""
    for row in conn.execute(select(profile).where(profile.c.person == who)):
        texts = {"name": row.name, "about": row.about, "url": row.url}
        yield {"type": "profile", "picture_elsewhere": row.source} | texts
    for row in conn.execute(select(picture).where(picture.c.person == who)):
        data = base64.b64encode(row.data).decode()
        yield {"type": "picture", "media_type": "image/png", "base64": data}


def _kept_out(conn: Connection, who: int, names: _Names) -> Iterator[dict[str, Any]]:
    for row in conn.execute(select(block).where(block.c.owner == who)):
        yield {"type": "block", "target": row.target, "since": _time(row.created)}
    for row in conn.execute(select(mute).where(mute.c.person == who)):
        value = names.of(int(row.value)) if row.sort == "person" else row.value
        entry = {"type": "mute", "sort": row.sort, "value": value, "scope": row.scope}
        yield entry | _span(row)
    for row in conn.execute(select(request).where(request.c.follower == who)):
        yield {"type": "asked to follow", "who": names.of(row.author), "at": _time(row.created)}


def _less(conn: Connection, who: int, names: _Names) -> Iterator[dict[str, Any]]:
    for row in conn.execute(select(member).where(member.c.person == who)):
        yield {"type": "group", "name": row.name, "member": names.of(row.author)}
    for row in conn.execute(select(off).where(off.c.person == who)):
        yield {"type": "off", "subject": _subject(row.subject, names)} | _span(row)
    for row in conn.execute(select(cap).where(cap.c.person == who)):
        per = "day" if row.daily else "hour"
        yield {"type": "max", "who": names.of(row.author), "count": row.count, "per": per}
    for row in conn.execute(select(digest).where(digest.c.person == who)):
        subject = _subject(row.subject, names)
        yield {"type": "digest", "subject": subject, "every_s": row.every, "at": row.at}


def _written(conn: Connection, who: int, names: _Names, epoch: str) -> Iterator[dict[str, Any]]:
    """Give what he wrote, and what was written to him alone, in order."""
    received = select(addressed.c.number).where(addressed.c.person == who)
    letters = post.c.number.in_(received) & (post.c.kind == Kind.DIRECT.value)
    asked = select(post).where(or_(post.c.author == who, letters)).order_by(post.c.number)
    for row in conn.execute(asked.execution_options(yield_per=1000)):
        entry = {
            "type": row.kind,
            "id": message_id(row.number, epoch),
            "from": names.of(row.author),
            "text": row.text,
            "lang": row.lang,
            "published": _time(row.created),
            "to": [names.of(each) for each in json.loads(row.targets)],
            "deleted": row.deleted,
        }
        for name in ("parent", "original"):
            number = getattr(row, name)
            entry[name] = None if number is None else message_id(number, epoch)
        yield entry


def _subject(subject: str, names: _Names) -> str:
    return names.of(int(subject)) if subject.isdigit() else subject.removeprefix("*")


def _span(row: AnyRow) -> dict[str, str | None]:
    return {"since": _time(row.since), "until": None if row.until is None else _time(row.until)}


def _time(time: datetime) -> str:
    return time.isoformat()
