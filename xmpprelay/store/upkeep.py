"""What an operator does to a database: copy it, put a copy in its place, bring it up to date.

`backup` runs beside a relay that is writing. `restore` and `migrate` take the lock, and so refuse
while a relay runs. None of them ever removes a database: what `restore` replaces is kept beside it.
"""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiosqlite
from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import DBAPIError

from xmpprelay.errors import StoreCorrupt, StoreError
from xmpprelay.log import get_logger
from xmpprelay.store import migrations
from xmpprelay.store.connection import WritingConnection
from xmpprelay.store.database import open_for_writing
from xmpprelay.store.engine import (
    Fault,
    corrupt,
    fault_of,
    quick_check,
    reading_engine,
    store_error,
    told,
)
from xmpprelay.store.files import (
    HighWater,
    Lock,
    beside,
    check_folder,
    database_path,
    existing_database,
    open_private,
    sync_to_disk,
)
from xmpprelay.store.identity import (
    check_revision,
    highest_number,
    prepare,
    write_epoch,
    write_number_floor,
)
from xmpprelay.store.keeping_out import COMMAND_LINE
from xmpprelay.store.outages import stand_by_everywhere
from xmpprelay.store.schema import audit, insertion, person, post

log = get_logger("store")

_FILES: Final = ("", "-wal", "-shm")  # of which SQLite makes a database

NUMBER_JUMP: Final = 1000
"""How far a restore goes beyond the highest number known: the noted one may be a little behind."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has put in place."""

    posts: int
    people: int
    epoch: str  # the new one
    next_number: int  # the number of the next post
    kept: Path | None  # the database that was replaced; None: there was none
    waiting: int = 0  # what waited for the primary; more than none: it is on standby now


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration has done; both the same: nothing was to be done."""

    before: str | None  # the revision that was found; None: the file was empty
    after: str


async def backup(url: str, target: Path) -> None:
    """Write a consistent copy of the database to `target`, which must not exist; made 0600.

    The relay may go on writing meanwhile; the copy holds all that was committed when it began. It
    is on the disk, whole, before it gets its name. Raises StoreError with what to do.
    """
    path, target = existing_database(url), _free(target)
    partial = beside(target, ".partial")
    with told(target):
        try:
            await _copy(path, partial, inherit=False)
            partial.rename(target)
        finally:
            _remove(partial)
        sync_to_disk(target)


async def restore(url: str, source: Path, now: datetime) -> Restored:
    """Put a copy of the backup `source` in the database's place, and say what is there now.

    It gets a new epoch, and its numbers go on beyond all that were ever handed out: else clients,
    feeds and primaries would take a new post for an old one. The replaced database is kept beside
    it as `<file>.replaced-<time>`. `source` is not changed.

    Raises StoreError with what to do: StoreLocked while a relay runs, StoreCorrupt or SchemaTooNew
    for a source that cannot be used. Then the database is as it was.
    """
    path = database_path(url)
    check_folder(path.parent)
    source = _usable(source, path)
    incoming = beside(path, ".incoming")
    lock = Lock(path)
    try:
        await _check_source(source)
        with told(path):
            await _copy(source, incoming, inherit=True)
            used = max(await _close_properly(path), HighWater(path).read())
            done = {"at": now, "who": COMMAND_LINE, "action": "restore", "subject": str(source)}
            restored = await _renew(incoming, used, done)
            kept = _put_in_place(incoming, path, now)
            high_water = HighWater(path)
            high_water.write(restored.next_number - 1)
            high_water.close()
    finally:
        _remove(incoming)
        lock.release()
    return replace(restored, kept=kept)


async def migrate(url: str) -> Migrated:
    """Bring the database's tables to this version's revision, whole or not at all.

    Raises StoreError with what to do, as `Database.open` does.
    """
    path = existing_database(url)
    async with AsyncExitStack() as opening:
        conn = await open_for_writing(opening, path)
        with told(path):
            identity = await conn.in_transaction(lambda c: prepare(c, path, upgrade=True))
    return Migrated(identity.before, migrations.newest())


def _free(target: Path) -> Path:
    target = target.absolute()
    if os.path.lexists(target):
        raise StoreError(f"{target} exists: choose another name for the backup, or remove it.")
    check_folder(target.parent)
    return target


def _usable(source: Path, database: Path) -> Path:
    source = source.absolute()
    if not os.path.isfile(source):
        raise StoreError(f"There is no backup at {source}: correct the name.")
    if source.resolve() == database:
        raise StoreError(f"{source} is the database itself: move it away first, then restore it.")
    return source


def _remove(database: Path) -> None:
    for suffix in _FILES:
        beside(database, suffix).unlink(missing_ok=True)


async def _copy(source: Path, target: Path, *, inherit: bool) -> None:
    """Write all that is committed in `source` to `target`, and wait for the disk."""
    _remove(target)  # of a copy that was cut short
    # SQLite takes an empty file over. A backup in somebody's folder is not for him: no inheriting.
    os.close(open_private(target, os.O_RDWR | os.O_EXCL, inherit=inherit))
    try:
        async with aiosqlite.connect(
            f"file:{quote(str(source))}?mode=ro", uri=True, isolation_level=None
        ) as conn:
            await conn.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as error:
        where = target if fault_of(error) is Fault.FULL else source
        raise store_error(error, where) from error
    sync_to_disk(target)


async def _check_source(source: Path) -> None:
    def check(conn: Connection) -> None:
        wrong = quick_check(conn)
        if wrong is not None:
            raise corrupt(source, wrong)
        check_revision(conn, source)

    engine = reading_engine(source, 1)
    try:
        with told(source):
            async with engine.connect() as conn:
                await conn.run_sync(check)
    except StoreCorrupt as error:
        raise StoreCorrupt(
            f"{source} cannot be restored, it is damaged or no database: choose another backup."
        ) from error
    finally:
        await engine.dispose()


async def _close_properly(path: Path) -> int:
    """Fold SQLite's log into the old database, as far as it can be read.

    Gives the highest number used up in it; 0 if it is missing or broken.
    """
    try:
        conn = await WritingConnection.open(path)
        try:
            return await conn.run(highest_number)
        finally:
            await conn.close()  # closing the last connection empties the log
    except DBAPIError as error:
        log.warning("store.replaced_unreadable", path=str(path), reason=str(error.orig))
        return 0


async def _renew(incoming: Path, used: int, done: Mapping[str, Any]) -> Restored:
    """Make the copy a database of its own: newest tables, a new epoch, numbers never used.

    `done` is what the audit in it says of that.
    """

    def renew(conn: Connection) -> Restored:
        prepare(conn, incoming, upgrade=True)
        floor = max(highest_number(conn), used) + NUMBER_JUMP
        write_number_floor(conn, floor)
        conn.execute(insert(audit), dict(done))
        waits = select(func.count()).where(insertion.c.due.is_not(None))
        waiting = conn.scalar(waits) or 0
        if waiting:  # some of it may have been inserted since, under ids that are not known here
            stand_by_everywhere(conn)
        return Restored(
            posts=conn.scalar(select(func.count()).select_from(post)) or 0,
            people=conn.scalar(select(func.count()).select_from(person)) or 0,
            epoch=write_epoch(conn),
            next_number=floor + 1,
            kept=None,
            waiting=waiting,
        )

    with told(incoming):
        conn = await WritingConnection.open(incoming)
        try:
            return await conn.in_transaction(renew)
        finally:
            await conn.close()


def _put_in_place(incoming: Path, path: Path, now: datetime) -> Path | None:
    """Let the copy take the database's name, and give the name that the old one has now.

    There is a database under the name at every moment, where the file system has hard links.
    """
    kept = _free_name(path, now)
    replaced = path.exists()
    if replaced:
        try:
            os.link(path, kept)
        except OSError:
            path.rename(kept)
    for suffix in _FILES[1:]:
        # What could not be folded in belongs to the old file, and would spoil the new one.
        with suppress(FileNotFoundError):
            beside(path, suffix).rename(beside(kept, suffix))
    incoming.replace(path)
    sync_to_disk(path)
    return kept if replaced else None


def _free_name(path: Path, now: datetime) -> Path:
    stem = f".replaced-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    names = (beside(path, stem if n == 1 else f"{stem}-{n}") for n in count(1))
    return next(name for name in names if not name.exists())
