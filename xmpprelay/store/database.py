"""One open database: read from it, write to it, close it.

Reads run on connections of their own, side by side with the writer, and each sees one state of the
database from its first statement to its last. Writes go through the writer (`writer.py`), in order.

Opening for writing takes the lock, checks the file, migrates it and finds out which database it is
(`identity.py`). A database that is opened read-only is looked at and not touched: no lock, no
migration, and another process may be writing to it.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from xmpprelay.errors import StoreError
from xmpprelay.store import migrations
from xmpprelay.store.connection import WritingConnection
from xmpprelay.store.engine import Fault, fault_of, reading_engine, store_error, told
from xmpprelay.store.files import Lock, check_folder, database_path, existing_database, open_private
from xmpprelay.store.identity import (
    Identity,
    check_revision,
    highest_number,
    older,
    prepare,
    read_epoch,
)
from xmpprelay.store.writer import Operation, Writer

T = TypeVar("T")
Row = TypeVar("Row")
Result = TypeVar("Result")

_READERS = 2  # a long question of the command line does not hold up a short one of the relay


class Database:
    """An open database. Made by `Database.open`, ended by `close`."""

    def __init__(
        self,
        path: Path,
        identity: Identity,
        readers: AsyncEngine,
        writer: Writer | None,
        opened: AsyncExitStack,
    ) -> None:
        """Take over what `open` has opened."""
        self.path = path
        self.epoch = identity.epoch
        self.failed = asyncio.Event() if writer is None else writer.failed
        self._highest = identity.highest
        self._readers = readers
        self._reading = asyncio.Semaphore(_READERS)  # the pool's own waiting ends after a while
        self._writer = writer
        self._opened = opened
        self._closed = False

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        now: Callable[[], datetime],
        readonly: bool = False,
        upgrade: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
        retry_s: float = 1.0,
    ) -> "Database":
        """Open the database that a `sqlite:///` URL names; for writing it is made if missing.

        `now` gives the time that is stored, `monotonic` the one that `retry_s` is measured with:
        how often a full disk is looked at again. `upgrade=False` refuses an older database, which
        `readonly` always does.

        Raises StoreError with what to do: StoreLocked, StoreCorrupt, SchemaTooNew, CopiedBack, or
        itself. Then nothing is left open, and no row has been changed.
        """
        path = existing_database(url) if readonly else database_path(url)
        async with AsyncExitStack() as opening:
            writer = None
            if readonly:
                readers, identity = await _open_readonly(opening, path)
            else:
                conn = await open_for_writing(opening, path)
                with told(path):
                    identity = await conn.in_transaction(
                        lambda c: prepare(c, path, upgrade=upgrade)
                    )
                readers = reading_engine(path, _READERS)
                opening.push_async_callback(readers.dispose)
                writer = Writer(
                    conn,
                    path,
                    next_number=identity.highest + 1,
                    now=now,
                    monotonic=monotonic,
                    retry_s=retry_s,
                )
                writer.start()
            return cls(path, identity, readers, writer, opening.pop_all())

    @property
    def next_number(self) -> int:
        """The number that the next post will get; for a read-only database, as of its opening."""
        return self._highest + 1 if self._writer is None else self._writer.next_number

    @property
    def full(self) -> bool:
        """True: the disk has no room, and operations that grow are refused."""
        return self._writer is not None and self._writer.full

    @property
    def failure(self) -> StoreError | None:
        """Why `failed` is set; None: it is not, and all is well."""
        return None if self._writer is None else self._writer.failure

    @property
    def commits(self) -> int:
        """Transactions committed by the writer since the opening."""
        return 0 if self._writer is None else self._writer.commits

    @property
    def waiting(self) -> int:
        """Rows that wait for the writer's next transaction."""
        return 0 if self._writer is None else self._writer.waiting

    def timed(self, took: Callable[[float], None]) -> None:
        """Tell `took` from now on how many seconds each transaction took until it was safe."""
        if self._writer is not None:
            self._writer.took = took

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Give what `fn` finds out; it sees the last commit, and no later one while it runs.

        `fn` runs in the event loop's thread and waits for the database without holding up the
        loop; it must not keep the connection. Raises StoreError when the database cannot be read;
        what `fn` itself raises passes through.
        """
        if self._closed:
            raise StoreError(f"The database {self.path} is closed: open it again.")
        try:
            async with self._reading, self._readers.connect() as conn:
                return await conn.run_sync(fn)
        except (DBAPIError, sqlite3.Error) as error:
            fault = fault_of(error)
            if fault is Fault.ROW:  # a question that makes no sense: a fault of ours, to be seen
                raise
            if fault is Fault.BROKEN and self._writer is not None:
                self._writer.stop(error)
            raise store_error(error, self.path) from error

    def submit(
        self,
        op: Operation[Row, Result],
        row: Row,
        *,
        committed: Callable[[Result], None] | None = None,
    ) -> asyncio.Future[Result]:
        """Queue a row now, and give the future of its result.

        The place in the queue is that of the call. The result is there when the row is safe on the
        disk; `committed` is called with it just before, in the order of the queue, and also when
        the future was cancelled, which changes nothing else. It must not raise nor block.

        Raises, or puts into the future, what the operation raises for this row; JournalFull when
        the disk has no room (nothing was stored); StoreError when the database is closed, busy or
        broken. After an error of the operation or a JournalFull the row is certainly not stored;
        after another StoreError it may be.
        """
        if self._writer is None:
            raise StoreError(f"The database {self.path} is open for reading only.")
        return self._writer.submit(op, row, committed)

    async def write(
        self,
        op: Operation[Row, Result],
        row: Row,
        *,
        committed: Callable[[Result], None] | None = None,
    ) -> Result:
        """Write a row and give the operation's result once it is safe on the disk; see `submit`."""
        return await self.submit(op, row, committed=committed)

    async def close(self) -> None:
        """Write what is queued, fold SQLite's log into the file, and let go of the lock.

        `.lock` and `.number` stay beside the database. Closing twice does nothing.
        """
        if self._writer is not None:
            await self._writer.close()
        self._closed = True
        with told(self.path):
            await self._opened.aclose()


async def open_for_writing(opening: AsyncExitStack, path: Path) -> WritingConnection:
    """Lock the database and give a connection that may write; `opening` undoes both.

    The file is made, empty, if it is missing. Its content is not looked at.
    """
    check_folder(path.parent)
    lock = Lock(path)
    opening.callback(lock.release)
    os.close(open_private(path, os.O_RDWR))
    with told(path):
        conn = await WritingConnection.open(path)
    opening.push_async_callback(conn.close)
    return conn


async def _open_readonly(opening: AsyncExitStack, path: Path) -> tuple[AsyncEngine, Identity]:
    def look(conn: Connection) -> Identity:
        revision = check_revision(conn, path)
        if revision != migrations.newest():
            raise older(path)
        return Identity(read_epoch(conn) or "", highest_number(conn), revision)

    readers = reading_engine(path, _READERS)
    opening.push_async_callback(readers.dispose)
    with told(path):
        async with readers.connect() as conn:
            return readers, await conn.run_sync(look)
