"""What has to be said to SQLite in its own words; everything else is SQLAlchemy Core.

Another database gets its own words for these functions, and nothing else changes.
"""

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Integer, Table, Text, bindparam, cast, func
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.selectable import TableValuedAlias


def upsert(conn: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows by their primary key: a new one is inserted, one that is there is changed.

    Only the columns given are changed; all rows must have the same ones.
    """
    if not rows:
        return
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    new = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    conn.execute(statement.on_conflict_do_update(index_elements=keys, set_=new), rows)


def insert_rows(conn: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows, all with the same columns, as `conn.execute(insert(table), rows)` does.

    For a row with as many columns as a post that costs half as much: what is the same for all rows
    is found out once, and not for each.
    """
    if not rows:
        return
    statement, names, stored = _inserting(table, frozenset(rows[0]))
    values = [[row[name] for name in names] for row in rows]
    for at, as_stored in stored:
        for each in values:
            each[at] = as_stored(each[at])
    conn.exec_driver_sql(statement, [tuple(each) for each in values])


@functools.cache
def _inserting(
    table: Table, columns: frozenset[str]
) -> tuple[str, Sequence[str], Sequence[tuple[int, Callable[[Any], Any]]]]:
    """The statement for these columns, their order in it, and what makes of a value the stored one.

    The last is given with the place in that order, and only where there is something to be made.
    """
    compiled = insert(table).compile(dialect=_SQLITE, column_keys=sorted(columns))
    names = compiled.positiontup or []
    stored = [table.c[name].type.dialect_impl(_SQLITE).bind_processor(_SQLITE) for name in names]
    return str(compiled), names, [(at, each) for at, each in enumerate(stored) if each is not None]


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
