"""A process that removes old posts, to be killed: `python -m tests.faults.retention_child URL`.

Each step that is committed is written to standard output. It ends when nothing is left to be done.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta

from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.retention import Retention
from xmpprelay.store.database import Database


def _tells(_took_s: float) -> None:
    os.write(1, b"step\n")  # at once, unbuffered


def room_of(db: Database) -> Retention:
    """One that keeps posts for 400 days, and does not pause."""
    return Retention(
        db,
        Delivery(Graph(["example.org"])),
        timedelta(days=400),
        None,
        changed=lambda _: None,
        now=lambda: datetime.now(UTC),
        pause_s=0,
    )


async def run(url: str) -> None:
    db = await Database.open(url, now=lambda: datetime.now(UTC))
    room = room_of(db)
    await room.round()
    db.timed(_tells)
    await room.round()
    await db.close()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
