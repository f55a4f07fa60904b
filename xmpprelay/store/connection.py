"""The connection that writes, on a thread of its own.

A transaction is one trip to that thread and back, however many statements it has. By aiosqlite each
statement is four trips, and between two of them the event loop does whatever else is to be done: in
a flood of stanzas a post that was there at once was on the disk after 300 ms. Reading, where nobody
waits behind another, goes by aiosqlite (`engine.py`).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine

from xmpprelay.store.engine import writing_engine

T = TypeVar("T")


class WritingConnection:
    """One connection that may write. Made by `open`, ended by `close`.

    What runs on it runs in its thread, one thing after the other, and must touch nothing that the
    event loop may change meanwhile.
    """

    def __init__(self, thread: ThreadPoolExecutor, engine: Engine, conn: Connection) -> None:
        self._thread = thread
        self._engine = engine
        self._conn = conn

    @classmethod
    async def open(cls, path: Path) -> "WritingConnection":
        """Open the file, which must exist, in WAL mode. Raises DBAPIError."""
        engine = writing_engine(path)
        with ExitStack() as failing:
            thread = ThreadPoolExecutor(1, thread_name_prefix="store")
            failing.callback(thread.shutdown, wait=False)
            conn = await asyncio.get_running_loop().run_in_executor(thread, engine.connect)
            failing.pop_all()
        return cls(thread, engine, conn)

    async def run(self, fn: Callable[[Connection], T]) -> T:
        """Give what `fn` gives; what it raises passes through."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, fn, self._conn)

    async def in_transaction(self, fn: Callable[[Connection], T]) -> T:
        """Give what `fn` gives, and keep what it wrote, unless it raises."""

        def transact(conn: Connection) -> T:
            with conn.begin():
                return fn(conn)

        return await self.run(transact)

    async def close(self) -> None:
        """Close it; if it is the last one to the file, SQLite's log is folded into that."""

        def close(conn: Connection) -> None:
            conn.close()
            self._engine.dispose()

        try:
            await self.run(close)
        finally:
            self._thread.shutdown(wait=False)
