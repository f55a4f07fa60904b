"""kill -9 of a process that removes old posts: what is needed is there, and the rest goes later."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from tests.faults.retention_child import room_of
from xmpprelay.core.model import DeliveryRows, Kind, Mode, Standing
from xmpprelay.store.database import Database
from xmpprelay.store.operations import FollowRow, add_follow, add_person, store_delivery
from xmpprelay.store.posts import PostRow, append_post

POSTS: Final = 5000
KILLS: Final = 8
LONG_AGO: Final = datetime.now(UTC) - timedelta(days=500)


async def test_what_is_needed_survives_kill_9_and_the_rest_goes_later(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    needed = await _fill(f"sqlite:///{path}")
    left = set(range(1, POSTS + 1))
    for kill in range(1, KILLS + 1):
        await _killed_after(f"sqlite:///{path}", steps=kill)
        before, left = left, _numbers(path)
        assert needed <= left < before, "each time some have gone"
    db = await Database.open(f"sqlite:///{path}", now=lambda: datetime.now(UTC))
    room = room_of(db)
    await room.round()
    await room.round()
    made = await db.write(append_post, PostRow(1, "the next"))
    await db.close()
    assert made.post.number == POSTS + 1
    assert _numbers(path) == needed | {made.post.number}


async def _fill(url: str) -> set[int]:
    """Old posts by alice, every tenth of them for bob, who is away; the numbers of those."""
    db = await Database.open(url, now=lambda: LONG_AGO)
    alice, bob, carol = [
        (await db.write(add_person, f"{name}@example.org")).id for name in ("alice", "bob", "carol")
    ]
    await db.write(add_follow, FollowRow(carol, alice, Mode.HOME))
    await db.write(store_delivery, DeliveryRows((), (Standing(carol, None, None),)))
    rows = [
        PostRow(alice, f"{n}", kind=Kind.DIRECT, targets=(bob,))
        if n % 10 == 0
        else PostRow(alice, f"{n}", mentions=(carol,))
        for n in range(1, POSTS + 1)
    ]
    await asyncio.gather(*(db.submit(append_post, row) for row in rows))
    await db.close()
    return set(range(10, POSTS + 1, 10))


async def _killed_after(url: str, steps: int) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.retention_child", url),
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    for _ in range(steps):
        assert await child.stdout.readline() == b"step\n"
    child.kill()
    await child.wait()


def _numbers(path: Path) -> set[int]:
    """The numbers of all posts, in a database that is whole."""
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert conn.execute("PRAGMA foreign_key_check").fetchall() == []
        return {number for (number,) in conn.execute("SELECT number FROM post")}
