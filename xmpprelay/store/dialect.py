"""What has to be said to SQLite in its own words; everything else is SQLAlchemy Core.

Another database gets its own words for these functions, and nothing else changes.
"""

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Delete,
    Insert,
    Integer,
    Table,
    Text,
    Update,
    bindparam,
    cast,
    func,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import SelectBase, TableValuedAlias
from sqlalchemy.types import TypeEngine

_SQLITE: Final = sqlite.dialect()

_Values = list[tuple[int, Callable[[Any], Any]]]
# What makes of a value the stored one, or of a stored one the value, and its place in a row; only
# where there is such.


class Change:
    """A statement that changes rows, made once and executed by the driver.

    SQLAlchemy finds out for each row what is the same for all. Without that a transaction of one
    row takes 0.2 ms of the processor instead of 0.45, and a row of a post costs half as much.
    """

    def __init__(
        self, statement: Insert | Update | Delete, columns: Sequence[str] | None = None
    ) -> None:
        """Make it; an INSERT, or SET, is of these columns."""
        keys = None if columns is None else list(columns)
        compiled = _compiled(statement.compile(dialect=_SQLITE, column_keys=keys))
        self.sql = str(compiled)
        self._names = compiled.positiontup or []
        self._stored = _stored(compiled, self._names)

    def each(self, conn: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Execute it for each row; none does nothing."""
        values = [[row[name] for name in self._names] for row in rows]
        for at, as_stored in self._stored:
            for each in values:
                each[at] = as_stored(each[at])
        self.each_stored(conn, values)

    def each_stored(self, conn: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Do the same with values as they are stored, in the order of the parameters."""
        if rows:
            cursor = _cursor(conn)
            cursor.executemany(self.sql, rows)
            cursor.close()


class Question:
    """A question that is asked with every post, made once and asked by the driver.

    By SQLAlchemy each takes 0.1 ms of the processor before it is asked. It has no lists (`IN`).
    """

    def __init__(self, statement: SelectBase) -> None:
        compiled = _compiled(statement.compile(dialect=_SQLITE))
        self.sql = str(compiled)
        self._names = compiled.positiontup or []
        self._known = {name: compiled.params[name] for name in self._names}
        self._stored = _stored(compiled, self._names)
        self._read = _processors(
            (column.type for column in statement.selected_columns), _result_processor
        )

    def ask(self, conn: Connection, **values: Any) -> list[list[Any]]:
        """Give the rows that answer it, each as the list of its columns' values."""
        cursor = _cursor(conn)
        cursor.execute(self.sql, self.parameters(values))
        rows = [list(row) for row in cursor.fetchall()]
        cursor.close()
        for at, value in self._read:
            for row in rows:
                row[at] = value(row[at])
        return rows

    def parameters(self, values: dict[str, Any]) -> list[Any]:
        """Give the parameters of the statement, as they are stored."""
        known = self._known | values
        given = [known[name] for name in self._names]
        for at, as_stored in self._stored:
            given[at] = as_stored(given[at])
        return given


def _cursor(conn: Connection) -> Any:
    """A cursor of the driver, in a transaction of the connection, which is begun where it is not.

    What it raises is the driver's own error, which `engine.fault_of` knows as well.
    """
    if not conn.in_transaction():
        conn.begin()
    return conn.connection.cursor()


def _compiled(compiled: Any) -> SQLCompiler:
    assert isinstance(compiled, SQLCompiler)  # noqa: S101
    return compiled


def _stored(compiled: SQLCompiler, names: Sequence[str]) -> _Values:
    binds = compiled.binds
    types = (binds[name].type if name in binds else None for name in names)
    return _processors(types, lambda each: each.bind_processor(_SQLITE))


def _result_processor(type_: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    return type_.result_processor(_SQLITE, None)


def _processors(
    types: Iterable[TypeEngine[Any] | None],
    processor: Callable[[TypeEngine[Any]], Callable[[Any], Any] | None],
) -> _Values:
    found = (
        (at, processor(each.dialect_impl(_SQLITE)))
        for at, each in enumerate(types)
        if each is not None
    )
    return [(at, each) for at, each in found if each is not None]


def upsert(conn: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows by their primary key: a new one is inserted, one that is there is changed.

    Only the columns given are changed; all rows must have the same ones.
    """
    if rows:
        _upserting(table, frozenset(rows[0])).each(conn, rows)


def insertion(table: Table) -> Change:
    """Give an INSERT whose parameters are all columns, in their order."""
    return Change(insert(table))


@functools.cache
def _upserting(table: Table, columns: frozenset[str]) -> Change:
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    new = {name: statement.excluded[name] for name in sorted(columns) if name not in keys}
    changing = statement.on_conflict_do_update(index_elements=keys, set_=new)
    return Change(changing, sorted(columns))


def pairs(name: str) -> tuple[TableValuedAlias, ColumnElement[int], ColumnElement[str]]:
    """Give a table of (number, text) pairs to join with, and its two columns.

    The pairs are the value of the parameter `name`, made by `pairs_value`. A list of them in the
    statement (`IN`) would make SQLite read a whole index, and would be compiled for every length.
    """
    table = func.json_each(bindparam(name, type_=Text)).table_valued("value").alias(name)
    first = func.json_extract(table.c.value, "$[0]", type_=Integer)
    second = func.json_extract(table.c.value, "$[1]", type_=Text)
    return table, first, second


def pairs_value(values: Sequence[tuple[int, str]]) -> str:
    """Give the value of a parameter of `pairs`."""
    return json.dumps(values)


def numbers(name: str) -> tuple[TableValuedAlias, ColumnElement[int]]:
    """Give a table of numbers to join with, and its column; see `pairs`."""
    table = func.json_each(bindparam(name, type_=Text)).table_valued("value").alias(name)
    return table, cast(table.c.value, Integer)


def numbers_value(values: Iterable[int]) -> str:
    """Give the value of a parameter of `numbers`."""
    return json.dumps(list(values))


def least(*values: ColumnElement[int]) -> ColumnElement[int]:
    """Give the lowest of several values of a row, none of them NULL."""
    return func.min(*values, type_=BigInteger)


def greatest(*values: ColumnElement[int]) -> ColumnElement[int]:
    """Give the highest of several values of a row, none of them NULL."""
    return func.max(*values, type_=BigInteger)


def first_of(numbers: ColumnElement[str]) -> ColumnElement[int]:
    """Give the first number of a list that is stored as JSON; NULL: it is empty, or NULL."""
    return func.json_extract(numbers, "$[0]", type_=BigInteger)


def free_pages(conn: Connection, pages: int) -> bool:
    """Give the file system so many free pages back; True: there are more to be given back.

    A tenth of the file stays free. In a file that was made without it (`auto_vacuum`) all stay.
    """
    settings = ("auto_vacuum", "freelist_count", "page_count")
    mode, free, all_ = (conn.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in settings)
    if mode != _INCREMENTAL or free * 10 <= all_:
        return False
    cursor = conn.connection.cursor()  # SQLAlchemy sees no rows, and each page is a step of them
    cursor.execute(f"PRAGMA incremental_vacuum({pages})")
    cursor.fetchall()
    cursor.close()
    return True


_INCREMENTAL: Final = 2
