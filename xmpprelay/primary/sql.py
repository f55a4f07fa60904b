"""A table of the operator as primary service: SQLite or PostgreSQL, one row for each post.

    CREATE TABLE post (
        id TEXT PRIMARY KEY,        -- k3f.ab12cd; there is only ever one of it
        author TEXT, handle TEXT,   -- alice@example.org, alice
        text TEXT, language TEXT,
        in_reply_to TEXT,           -- the id of another row
        visibility TEXT,
        published TEXT, updated TEXT, deleted TEXT  -- RFC 3339, in UTC
    )

The table is made where there is none. One that the operator has made may have more columns, and
must be unique in `id`: that is what makes each post one row, however often it is sent. A deleted
post keeps its row, without its text, so that it cannot come back.

Each request is one statement and its commit. What its errors mean is in `sql_faults.py`.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Executable,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, NoSuchTableError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateTable

from xmpprelay.core.atom import rfc3339
from xmpprelay.core.primary import (
    Absent,
    Account,
    Attempt,
    Candidate,
    Caps,
    Dedupe,
    File,
    Found,
    Look,
    LookFailed,
    Outcome,
    Probe,
    Reach,
    Result,
    Status,
)
from xmpprelay.errors import ConfigError
from xmpprelay.primary.sql_faults import later, no_privilege, not_unique, read_only, result_of

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import ReflectedIndex

WITHIN_S: Final = 10.0
"""A database that takes longer for one row is not well; a guess."""

_ERRORS: Final = (SQLAlchemyError, sqlite3.Error, OSError, UnicodeError)
"""What goes wrong with a database; TimeoutError is an OSError."""

CONNECTIONS: Final = 4
"""A table takes rows faster than the relay gives them to it; a guess."""


class SqlPrimary:
    """A table in an SQLite file (`sqlite:////path`) or a PostgreSQL database (`postgresql://…`).

    A PostgreSQL URL is one of libpq, with its options. Nothing is opened yet. ConfigError: the URL
    is of no use, or the driver for it is not installed.
    """

    def __init__(
        self,
        url: str,
        table: str = "post",
        *,
        within_s: float = WITHIN_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._now = now
        self._file: Path | None = None
        self._within_s: float | None
        self._errors: tuple[type[Exception], ...] = _ERRORS
        if url.startswith("sqlite:////"):
            self._software = "sqlite"
            # SQLite itself ends a wait; what its thread has begun cannot be called off.
            self._within_s = None
            self._file = Path(url.removeprefix("sqlite:///"))
            self._engine = _sqlite_engine(self._file, within_s)
        elif url.startswith(("postgresql://", "postgres://")):
            self._software = "postgresql"
            self._within_s = within_s
            self._engine, errors = _postgresql_engine(url, within_s)
            self._errors += errors
        else:
            raise ConfigError(
                "The primary's database is neither sqlite:// with an absolute path "
                "(sqlite:////var/lib/posts.db) nor postgresql://…: correct its URL."
            )
        self._table = _table(table)
        self._ready = False  # the table was there, or was made, when it was used last

    async def probe(self, account: Account | None = None) -> Probe:
        """Whether the table could take a row now; nothing is written, the table is not made."""
        try:
            async with asyncio.timeout(self._within_s):
                if self._file is None or self._file.exists():
                    async with self._engine.connect() as conn:
                        problem = await conn.run_sync(self._look_over)
                else:
                    problem = _no_folder(self._file)
        except self._errors as error:
            problem = result_of(error, committing=False)
        if problem is not None:
            reach = Reach.AUTH if problem.outcome is Outcome.AUTH else Reach.DOWN
            return Probe(reach, reason=problem.reason, detail=problem.detail)
        return Probe(Reach.UP, Caps(self._software, dedupe=Dedupe.NATURAL, backdate=True))

    async def insert(self, account: Account, status: Status, key: str) -> Result:
        """Insert a row; DUPLICATE if the id is there, deleted or not. No key is needed."""
        row = {
            "id": status.id,
            "author": status.author,
            "handle": status.handle,
            "text": status.text,
            "language": status.language,
            "in_reply_to": status.in_reply_to,
            "visibility": status.visibility.value,
            "published": rfc3339(status.published),
            "updated": None if status.updated is None else rfc3339(status.updated),
        }
        dialect = sqlite if self._software == "sqlite" else postgresql
        statement = dialect.insert(self._table).values(row)
        done = await self._write(statement.on_conflict_do_nothing(index_elements=["id"]))
        if isinstance(done, Result):
            return done
        outcome = Outcome.INSERTED if done else Outcome.DUPLICATE
        return Result(outcome, status.id, remote_time=status.published)

    async def edit(self, account: Account, remote_id: str, status: Status, key: str) -> Result:
        """Change the row's text; REJECTED if it is not there, or was deleted."""
        post = self._table.c
        change = self._table.update().where(post.id == remote_id, post.deleted.is_(None))
        done = await self._write(
            change.values(
                text=status.text,
                language=status.language,
                visibility=status.visibility.value,
                updated=rfc3339(status.updated or self._now()),
            )
        )
        if isinstance(done, Result):
            return done
        if not done:
            return Result(
                Outcome.REJECTED, reason="not_found", detail="There is no such row to be changed."
            )
        return Result(Outcome.INSERTED, remote_id)

    async def delete(self, account: Account, remote_id: str) -> Result:
        """Mark the row as deleted, and empty its text."""
        post = self._table.c
        change = self._table.update().where(post.id == remote_id, post.deleted.is_(None))
        done = await self._write(change.values(text="", deleted=rfc3339(self._now())))
        return done if isinstance(done, Result) else Result(Outcome.INSERTED, remote_id)

    async def upload(self, account: Account, file: File) -> Result:
        """A table takes no attachments: they stay links (see `Caps.max_media`)."""
        return Result(
            Outcome.REJECTED, reason="no_media", detail="The table takes text without attachments."
        )

    async def reconcile(self, account: Account, attempt: Attempt) -> Look:
        """Look for the row of that id, deleted or not."""
        post = self._table.c
        row_of_it = select(post.published).where(post.id == attempt.status.id)
        try:
            async with asyncio.timeout(self._within_s):
                await self._make_table()
                async with self._engine.connect() as conn:
                    row = (await conn.execute(row_of_it)).first()
        except self._errors as error:
            self._ready = False
            return LookFailed(result_of(error, committing=False))
        if row is None:
            return Absent()
        return Found((Candidate(attempt.status.id, remote_time=_moment(row.published)),))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._engine.dispose()

    async def _write(self, statement: Executable) -> int | Result:
        """Carry out a statement and commit it; how many rows it was about, or what went wrong."""
        committing = False
        try:
            async with asyncio.timeout(self._within_s):
                await self._make_table()
                async with self._engine.connect() as conn:
                    rows = (await conn.execute(statement)).rowcount
                    committing = True
                    await conn.commit()
                    return int(rows)
        except self._errors as error:
            self._ready = False  # it may have been taken away meanwhile
            return result_of(error, committing=committing)

    async def _make_table(self) -> None:
        """Make the table unless it is there: to make it may be forbidden even where it is."""
        if self._ready:
            return
        async with self._engine.connect() as conn:
            if not await self._is_there(conn):
                try:
                    await conn.execute(CreateTable(self._table, if_not_exists=True))
                    await conn.commit()
                except DBAPIError:
                    await conn.rollback()
                    if not await self._is_there(conn):  # made by somebody else at the same moment
                        raise
        self._ready = True

    async def _is_there(self, conn: AsyncConnection) -> bool:
        return await conn.run_sync(lambda sync: inspect(sync).has_table(self._table.name))

    # What a probe looks at. Each gives the first problem, or None.

    def _look_over(self, conn: Connection) -> Result | None:
        if conn.dialect.name == "sqlite":
            conn.exec_driver_sql("BEGIN IMMEDIATE")  # takes the right to write, and nothing else
        try:
            look = inspect(conn)
            columns = {each["name"]: each["type"] for each in look.get_columns(self._table.name)}
        except NoSuchTableError:
            return None  # the first post makes it
        wanted = [column.name for column in self._table.columns]
        strange = [name for name in wanted if not isinstance(columns.get(name), String)]
        if strange:
            return later(
                "schema",
                f"The table {self._table.name} lacks text columns ({', '.join(strange)}): add "
                "them, or name another table.",
            )
        keys: list[list[str | None]] = [
            [*look.get_pk_constraint(self._table.name)["constrained_columns"]]
        ]
        keys += [[*each["column_names"]] for each in look.get_unique_constraints(self._table.name)]
        keys += [
            each["column_names"] for each in look.get_indexes(self._table.name) if _whole(each)
        ]
        if ["id"] not in keys:
            return not_unique()
        return self._may_write(conn) if conn.dialect.name == "postgresql" else None

    def _may_write(self, conn: Connection) -> Result | None:
        """What PostgreSQL says of the table and of itself."""
        name = conn.dialect.identifier_preparer.format_table(self._table)
        row = conn.execute(
            text(
                "SELECT has_table_privilege(:name, 'SELECT') AND has_table_privilege(:name,"
                " 'INSERT') AND has_table_privilege(:name, 'UPDATE') AS allowed,"
                " current_setting('transaction_read_only') = 'on' AS fixed"
            ),
            {"name": name},
        ).one()
        if not row.allowed:
            return no_privilege()
        if row.fixed:
            return read_only()
        return None


def _table(name: str) -> Table:
    return Table(
        name,
        MetaData(),
        Column("id", Text, primary_key=True),
        Column("author", Text, nullable=False),
        Column("handle", Text, nullable=False),
        Column("text", Text, nullable=False),
        Column("language", Text),
        Column("in_reply_to", Text),
        Column("visibility", Text, nullable=False),
        Column("published", Text, nullable=False),
        Column("updated", Text),
        Column("deleted", Text),
    )


def _sqlite_engine(file: Path, within_s: float) -> AsyncEngine:
    # The file may be another program's too: its journal mode is left as it is.
    return create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(file)),
        connect_args={"timeout": within_s},
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=within_s,
    )


def _postgresql_engine(
    url: str, within_s: float
) -> tuple[AsyncEngine, tuple[type[Exception], ...]]:
    """The engine, and what asyncpg raises beside SQLAlchemy's errors while it connects."""
    try:
        import asyncpg  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError(
            "The primary's database is PostgreSQL, and the package for it is not installed: "
            "pip install 'xmpprelay[postgresql]'"
        ) from error

    async def connect(**_options: Any) -> Any:
        return await asyncpg.connect(url, timeout=within_s)

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=within_s,
        pool_pre_ping=True,  # a restarted server is no failure
    )
    return engine, (asyncpg.PostgresError, asyncpg.InterfaceError)


def _whole(index: "ReflectedIndex") -> bool:
    """Whether it is unique for all rows of the table."""
    options = index.get("dialect_options", {})
    return bool(index["unique"]) and not any(key.endswith("_where") for key in options)


def _no_folder(file: Path) -> Result | None:
    if file.parent.is_dir():
        return None  # the first post makes the file
    return later("no_file", f"There is no folder {file.parent}: make it.")


def _moment(value: str) -> datetime | None:
    """The time in a row, which somebody else may have changed."""
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return None if time.tzinfo is None else time.astimezone(UTC)
