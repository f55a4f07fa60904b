"""What the store's tests share: a clock to be set, people, and operations that watch the writer."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import func, select

from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.operations import add_person
from xmpprelay.store.posts import PostRow, append_post
from xmpprelay.store.schema import post
from xmpprelay.store.writer import Operation, Transaction

Opened = Callable[..., AbstractAsyncContextManager[Database]]
"""Opens a database for an `async with`; see the fixture `opened`."""


class Clock:
    """The time, as the test says; wall clock and monotonic one move together unless told."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def pass_s(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def jump(self, by: timedelta) -> None:
        """Somebody sets the wall clock."""
        self._now += by


async def people(db: Database, *names: str) -> list[int]:
    """The ids of these people, who are made known."""
    return [(await db.write(add_person, f"{name}@example.org")).id for name in names]


def post_row(author: int, text: str = "hello", *, lanes: Sequence[str] = (), **ids: str) -> PostRow:
    return PostRow(author, text, "en", ids.get("origin"), ids.get("stanza_id"), lambda _: lanes)


async def texts(db: Database) -> list[str]:
    """All posts' texts, in the public order."""
    asked = select(post.c.text).order_by(post.c.number)
    return list(await db.read(lambda conn: conn.scalars(asked).all()))


async def settings(db: Database) -> dict[tuple[int, str], str]:
    """What people have chosen, by (person, name)."""
    rows = await db.read(lambda conn: list(queries.load_settings(conn)))
    return {(who, name): value for who, name, value in rows}


async def count_posts(db: Database) -> int:
    return await db.read(lambda conn: conn.scalar(select(func.count()).select_from(post))) or 0


async def fill(db: Database, count: int, text: str = "hello") -> None:
    """Lets alice post so many times."""
    [alice] = await people(db, "alice")
    rows = [post_row(alice, f"{text} {n}") for n in range(count)]
    await asyncio.gather(*(db.submit(append_post, row) for row in rows))


class Watch:
    """Two operations that write nothing and note what they are called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.red = Operation(self._red, grows=False)
        self.blue = Operation(self._blue, grows=False)

    def _red(self, _tx: Transaction, rows: Sequence[str]) -> list[str]:
        return self._note("red", rows)

    def _blue(self, _tx: Transaction, rows: Sequence[str]) -> list[str]:
        return self._note("blue", rows)

    def _note(self, name: str, rows: Sequence[str]) -> list[str]:
        self.calls.append((name, list(rows)))
        return [f"{name} {row}" for row in rows]


class Gate:
    """Where an operation, which runs in the writer's thread, waits until the test lets it go on."""

    def __init__(self) -> None:
        self._reached, self._open = threading.Event(), threading.Event()

    def waits_here(self) -> None:
        self._reached.set()
        assert self._open.wait(60.0), "nobody has opened the gate"

    async def reached(self) -> None:
        """Return when somebody waits there."""
        assert await asyncio.to_thread(self._reached.wait, 60.0)

    def opens(self) -> None:
        self._open.set()


# --- SQLite's files ------------------------------------------------------------------------------


def on(path: Path) -> str:
    return f"sqlite:///{quote(str(path))}"


def tables(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as conn:
        found = conn.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: " ".join(sql.split()) for name, sql in found}


def damage(path: Path) -> None:
    """Flip one byte: the kind of a page in the middle of the file."""
    with path.open("r+b") as file:
        middle = file.seek(0, os.SEEK_END) // 4096 // 2 * 4096
        file.seek(middle)
        kind = file.read(1)
        assert kind in b"\x02\x05\x0a\x0d", "a page of a tree"
        file.seek(middle)
        file.write(bytes([kind[0] ^ 0xFF]))
