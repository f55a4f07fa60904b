"""What has to be said to SQLite in its own words; everything else is SQLAlchemy Core.

Another database gets its own words for these functions, and nothing else changes.
"""

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, Connection, Integer, Table, Text, bindparam, cast, func
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.selectable import TableValuedAlias


class _Statement(NamedTuple):
    """A statement for the driver, and how a row becomes its parameters."""

    sql: str
    names: Sequence[str]  # of the columns, in the order of the parameters
    stored: Sequence[tuple[int, Callable[[Any], Any]]]
    # what makes of a value the stored one, and its place in that order; only where there is such


def upsert(conn: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows by their primary key: a new one is inserted, one that is there is changed.

    Only the columns given are changed; all rows must have the same ones.
    """
    if rows:
        _execute(conn, _upserting(table, frozenset(rows[0])), rows)


def insert_rows(conn: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows, all with the same columns, as `conn.execute(insert(table), rows)` does."""
    if rows:
        _execute(conn, _inserting(table, frozenset(rows[0])), rows)


def _execute(conn: Connection, statement: _Statement, rows: Sequence[dict[str, Any]]) -> None:
    """Execute it for each row.

    SQLAlchemy finds out for each row what is the same for all. Without that a transaction of one
    row takes 0.2 ms of the processor instead of 0.45, and a row of a post costs half as much.
    """
    values = [[row[name] for name in statement.names] for row in rows]
    for at, as_stored in statement.stored:
        for each in values:
            each[at] = as_stored(each[at])
    conn.exec_driver_sql(statement.sql, [tuple(each) for each in values])


@functools.cache
def _upserting(table: Table, columns: frozenset[str]) -> _Statement:
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    new = {name: statement.excluded[name] for name in sorted(columns) if name not in keys}
    return _compiled(table, statement.on_conflict_do_update(index_elements=keys, set_=new), columns)


@functools.cache
def _inserting(table: Table, columns: frozenset[str]) -> _Statement:
    return _compiled(table, insert(table), columns)


def _compiled(table: Table, statement: Insert, columns: frozenset[str]) -> _Statement:
    compiled = statement.compile(dialect=_SQLITE, column_keys=sorted(columns))
    names = compiled.positiontup or []
    stored = [table.c[name].type.dialect_impl(_SQLITE).bind_processor(_SQLITE) for name in names]
    made = [(at, each) for at, each in enumerate(stored) if each is not None]
    return _Statement(str(compiled), names, made)


_SQLITE: Final = sqlite.dialect()


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
