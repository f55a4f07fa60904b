"""Connections to SQLite, and what its errors mean.

A connection that writes is in WAL mode with synchronous=FULL: a commit has reached the disk when it
returns, and readers are never held up. SQLite's driver begins transactions by rules of its own;
here SQLAlchemy begins them (its recipe for SQLite), so that savepoints nest and a reader sees one
state of the database from the first statement to the last.

`fault_of` says whether an error belongs to a row, to the disk, or to the database. Nothing here
knows the tables.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from xmpprelay.errors import JournalFull, StoreCorrupt, StoreError

BUSY_TIMEOUT_S: Final = 5.0  # somebody may be looking at the file with the sqlite3 shell
_CACHE_KIB: Final = 16_384  # keeps the indexes' upper pages for a million posts; a guess
_LOG_PAGES: Final = 1000
"""Then the log is folded into the file, at the cost of two more syncs: as SQLite does of itself. A
hundred posts of as many authors are 200 pages in a journal of a million, so with 256 nearly each
transaction had to. On a full disk so much has to be free before anything can be written again; that
is what the reserve is for (`files.py`)."""
_LOG_BYTES: Final = 16 << 20  # a long reader makes the log grow; this is what is kept of it after

_CONNECT: Final = {"isolation_level": None, "timeout": BUSY_TIMEOUT_S}
_PRAGMAS: Final = (
    "foreign_keys=ON",
    f"cache_size=-{_CACHE_KIB}",
    "temp_store=MEMORY",  # a full disk, or a lack of descriptors, must not stop a rollback
)
_WRITING_PRAGMAS: Final = (
    "auto_vacuum=INCREMENTAL",  # of a new file: what old posts took can be given back, in steps
    "journal_mode=WAL",
    "synchronous=FULL",
    f"wal_autocheckpoint={_LOG_PAGES}",
    f"journal_size_limit={_LOG_BYTES}",
)


def reading_engine(path: Path, connections: int) -> AsyncEngine:
    """Give an engine that only reads, with at most so many connections; nothing is opened yet."""
    engine = create_async_engine(
        _url("sqlite+aiosqlite", path, mode="ro"),
        connect_args=_CONNECT,
        pool_size=connections,
        max_overflow=0,
    )
    _prepare(engine.sync_engine, _PRAGMAS, "BEGIN")
    return engine


def writing_engine(path: Path) -> Engine:
    """Give an engine with one connection, which may write; nothing is opened yet.

    The file must exist; it is set to WAL mode. A transaction takes the right to write as it begins.
    """
    engine = create_engine(
        _url("sqlite+pysqlite", path, mode="rw"), connect_args=_CONNECT, pool_size=1, max_overflow=0
    )
    _prepare(engine, _PRAGMAS + _WRITING_PRAGMAS, "BEGIN IMMEDIATE")
    return engine


def _url(driver: str, path: Path, mode: str) -> URL:
    query = {"mode": mode, "uri": "true"}
    return URL.create(driver, database=f"file:{quote(str(path))}", query=query)


def _prepare(engine: Engine, pragmas: Sequence[str], begins: str) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        try:
            for pragma in pragmas:
                cursor.execute(f"PRAGMA {pragma}")
        finally:
            cursor.close()

    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        cursor = conn.connection.cursor()
        cursor.execute(begins)
        cursor.close()


def quick_check(conn: Connection) -> str | None:
    """Give the first thing that is wrong with the file; None if nothing is."""
    verdict = conn.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    return None if verdict == "ok" else str(verdict)


class Fault(Enum):
    """Whose fault an error of the database is."""

    ROW = auto()  # what was to be written cannot be written; everything else can
    LATER = auto()  # another program holds the file, or the process lacks memory or descriptors
    FULL = auto()  # no room on the disk
    BROKEN = auto()  # the disk or the file: nothing more can be promised


# https://www.sqlite.org/rescode.html
_FULL: Final = 13
_IOERR_SHMSIZE: Final = 10 | (19 << 8)  # the full disk, met while the log's index grows
_CANTOPEN: Final = 14
_LATER: Final = (5, 6, 7, _CANTOPEN, 15)  # BUSY, LOCKED, NOMEM, CANTOPEN, PROTOCOL
_CORRUPT: Final = (11, 26)  # CORRUPT, NOTADB
_BROKEN: Final = (3, 8, 10, *_CORRUPT, 23)  # PERM, READONLY, IOERR, …, AUTH


def fault_of(error: Exception) -> Fault:
    """Say whose fault an error is that was raised while the database was used."""
    code = _code(error)
    out_of_room = isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT)
    if out_of_room or code in (_FULL, _IOERR_SHMSIZE):
        return Fault.FULL
    if code & 0xFF in _LATER:
        return Fault.LATER
    if code & 0xFF in _BROKEN:
        return Fault.BROKEN
    return Fault.ROW


def store_error(error: Exception, path: Path) -> StoreError:
    """Give the error that is told to people, with a sentence that says what to do."""
    fault, cause = fault_of(error), _cause(error)
    if fault is Fault.FULL:
        return journal_full(path)
    if isinstance(error, OSError):
        fault, cause = Fault.BROKEN, str(error.strerror)
    if _code(error) & 0xFF in _CORRUPT:
        return corrupt(path, cause)
    if _code(error) & 0xFF == _CANTOPEN:
        return StoreError(
            f"{path} cannot be opened: correct its owner and permissions, or raise `ulimit -n`."
        )
    if fault is Fault.LATER:
        return StoreError(f"{path} cannot be used now ({cause}): close what else uses it.")
    if fault is Fault.BROKEN:
        return StoreError(
            f"{path} cannot be read or written ({cause}): check the disk and the permissions,"
            " then start again."
        )
    return StoreError(f"{path} cannot be used ({cause}): this is a fault of xmpprelay; report it.")


def row_error(error: Exception) -> Exception:
    """Give the error that the waiter of a row gets which could not be written."""
    if not isinstance(error, DBAPIError | sqlite3.Error):
        return error
    refused = StoreError(f"The database refused what was to be written ({_cause(error)}).")
    refused.__cause__ = error
    return refused


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn the errors of the database and of the file system into those that are told to people."""
    try:
        yield
    except (DBAPIError, sqlite3.Error, OSError) as error:
        raise store_error(error, path) from error


def journal_full(path: Path) -> JournalFull:
    """Give the error for a disk without room."""
    return JournalFull(
        f"The disk of {path} is full, and nothing was stored: make room, then try again."
    )


def corrupt(path: Path, what: str) -> StoreCorrupt:
    """Give the error for a file that does not pass its check."""
    return StoreCorrupt(
        f"The database {path} is damaged ({what}): run `xmpprelay restore FILE` with a backup."
    )


def _cause(error: Exception) -> str:
    """Give the database's words; of any other error only the kind, for it may quote a post."""
    orig = error.orig if isinstance(error, DBAPIError) else error
    return str(orig) if isinstance(orig, sqlite3.Error) else type(orig).__name__


def _code(error: Exception) -> int:
    """Give SQLite's extended result code; 0 if the error did not come from SQLite."""
    orig = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(orig, "sqlite_errorcode", None)
    return code if isinstance(code, int) else 0
