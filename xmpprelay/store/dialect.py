"""What has to be said to SQLite in its own words; everything else is SQLAlchemy Core.

Another database gets its own words for these two functions, and nothing else changes.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Integer, Table, Text, bindparam, func
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
