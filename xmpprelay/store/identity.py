"""Which database this is: its revision, its epoch, and how far its post numbers have come.

A post is known outside as `<number>.<epoch>`, to clients, feeds and the primary service. So a
number must never mean two posts. The epoch is made with the database, and made anew by a restore;
an older file that was put in the database's place by hand is noticed, and refused.

These functions run on a connection, inside the caller's transaction; they open nothing.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, select

from xmpprelay.errors import CopiedBack, SchemaTooNew, StoreError
from xmpprelay.store import migrations
from xmpprelay.store.dialect import upsert
from xmpprelay.store.engine import corrupt, quick_check
from xmpprelay.store.files import HighWater
from xmpprelay.store.schema import META_EPOCH, META_NUMBER_FLOOR, meta, post

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32, as in post ids
_EPOCH_LENGTH: Final = 6


@dataclass(frozen=True, slots=True)
class Identity:
    """What `prepare` found, and made."""

    epoch: str
    highest: int  # the highest post number that is used up; 0: none
    before: str | None  # the revision that was found; None: the database was new


def prepare(conn: Connection, path: Path, *, upgrade: bool) -> Identity:
    """Check a database that is to be written to, and bring its tables up to date.

    Raises StoreCorrupt, SchemaTooNew, CopiedBack, or StoreError where the file is another
    program's, or where it is older and `upgrade` is false. Then nothing has been changed.
    """
    wrong = quick_check(conn)
    if wrong is not None:
        raise corrupt(path, wrong)
    before = None if migrations.is_empty(conn) else check_revision(conn, path)
    if before not in (None, migrations.newest()) and not upgrade:
        raise older(path)
    highest = 0 if before is None else highest_number(conn)
    _check_high_water(path, highest, missing=before is None)
    if before != migrations.newest():
        migrations.upgrade(conn)
    return Identity(read_epoch(conn) or write_epoch(conn), highest, before)


def check_revision(conn: Connection, path: Path) -> str:
    """Give the database's revision; raises SchemaTooNew, or StoreError if it is not the relay's."""
    revision = migrations.current(conn)
    if revision is None:
        raise StoreError(f"{path} is another program's database: correct the store's url.")
    if not migrations.known(revision):
        raise SchemaTooNew(
            f"The database {path} was made by a later version of xmpprelay: install that one."
        )
    return revision


def older(path: Path) -> StoreError:
    """Give the error for a database that has to be migrated first."""
    return StoreError(
        f"The database {path} was made by an earlier version: run `xmpprelay migrate` first."
    )


def highest_number(conn: Connection) -> int:
    """Give the highest post number that is used up; 0 if none is."""
    newest = conn.scalar(select(func.max(post.c.number))) or 0
    floor = conn.scalar(select(meta.c.value).where(meta.c.key == META_NUMBER_FLOOR)) or 0
    return max(newest, int(floor))


def read_epoch(conn: Connection) -> str | None:
    """Give the database's epoch; None if it has none yet."""
    return conn.scalar(select(meta.c.value).where(meta.c.key == META_EPOCH))


def write_epoch(conn: Connection) -> str:
    """Give the database a new epoch, and give that."""
    epoch = "".join(secrets.choice(_ALPHABET) for _ in range(_EPOCH_LENGTH))
    upsert(conn, meta, [{"key": META_EPOCH, "value": epoch}])
    return epoch


def write_number_floor(conn: Connection, number: int) -> None:
    """Declare all numbers up to this one used up."""
    upsert(conn, meta, [{"key": META_NUMBER_FLOOR, "value": str(number)}])


def _check_high_water(path: Path, highest: int, *, missing: bool) -> None:
    high_water = HighWater(path)
    noted = high_water.read()
    if noted <= highest:
        return
    if missing:
        raise CopiedBack(
            f"There is no database at {path}, but one was there and had {noted} posts: run"
            f" `xmpprelay restore FILE` with a backup, or remove {high_water.path} to begin anew."
        )
    raise CopiedBack(
        f"The database {path} ends at post {highest}, but {noted} were made: it was copied back."
        " Run `xmpprelay restore FILE`, so that no number means two posts."
    )
