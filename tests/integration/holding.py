"""Ways to keep the database from doing what it is asked, from outside of the relay."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from xmpprelay.store.writer import Transaction, operation


@contextmanager
def held(database: Path) -> Iterator[None]:
    """Hold the right to write, as the sqlite3 shell can: for as long, no commit of the relay ends.

    The relay waits for five seconds, then gives up; the test has to be through by then.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@operation(grows=False)
def limit_pages(tx: Transaction, rows: Sequence[int]) -> list[None]:
    """Let the file grow by so many pages and no more: a full disk, without root."""
    for more in rows:
        now = tx.conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        tx.conn.exec_driver_sql(f"PRAGMA max_page_count={now + more}")
    return [None] * len(rows)
