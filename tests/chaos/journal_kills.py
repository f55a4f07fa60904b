"""kill -9 of a process that writes the journal: a receipt means disk, a resend is one post.

The ledger is what the child wrote on its standard output (`tests/faults/journal_child.py`). L,
receipted but missing, and D, twice, must be 0; and the fan-out of every post is open, since nobody
has delivered anything.
"""

import asyncio
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import select

from tests.faults.journal_child import POSTERS
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.schema import post

REPOSITORY: Final = Path(__file__).parents[2]
ROUND: Final = 20
"""Kills on one database: after each, all of it is looked at."""


@dataclass
class Figures:
    """What came of some kills."""

    kills: int = 0
    posts: int = 0
    lost: int = 0
    doubled: int = 0
    bad: list[str] = field(default_factory=list)


async def run(
    folder: Path, first: int, kills: int, told: Callable[[], None] = lambda: None
) -> Figures:
    """Kill a writer so many times; `told` is called after each."""
    figures = Figures()
    for begin in range(first, first + kills, ROUND):
        url = f"sqlite:///{folder}/journal-{begin}.db"
        ledger: dict[int, int] = {}
        for number in range(begin, min(begin + ROUND, first + kills)):
            enough = random.Random(number).randrange(1, 400)
            # Tokens that have no receipt yet are sent again, and some that have one as well.
            again = max(0, max(ledger, default=0) - 2 * POSTERS)
            for token, given in await _post_until_killed(url, again, enough):
                if ledger.setdefault(token, given) != given:
                    figures.doubled += 1
                    figures.bad.append(f"kill {number}: {token} has two receipts")
            await _check(url, ledger, figures, number)
            figures.kills += 1
            told()
        figures.posts += len(ledger)
        figures.doubled += len(ledger) - len(set(ledger.values()))
        _remove(folder, f"journal-{begin}.db*")
    return figures


def _remove(folder: Path, files: str) -> None:
    for path in folder.glob(files):
        path.unlink()


async def _post_until_killed(url: str, first: int, enough: int) -> list[tuple[int, int]]:
    """The receipts of a child that was killed after so many of them."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.journal_child", url, str(first)),
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert child.stdout is not None
    lines: list[bytes] = []
    try:
        while len(lines) < enough:
            line = await child.stdout.readline()
            assert line, "the child ended by itself"
            lines.append(line)
    finally:
        child.send_signal(signal.SIGKILL)
    lines += (await child.stdout.read()).splitlines()  # written before the end
    assert await child.wait() == -signal.SIGKILL
    return [(int(token), int(number)) for token, number in (line.split() for line in lines)]


async def _check(url: str, ledger: dict[int, int], figures: Figures, kill: int) -> None:
    asked = select(post.c.text, post.c.number)
    db = await Database.open(url, now=lambda: datetime.now(UTC))
    rows = await db.read(lambda conn: conn.execute(asked).all())
    cursors = await db.read(queries.open_fanouts)
    next_number = db.next_number
    await db.close()
    found = {int(text.split()[0]): number for text, number in rows}
    numbers = sorted(found.values())
    lost = sum(found.get(token) != number for token, number in ledger.items())
    doubled = len(rows) - len(found)
    figures.lost += lost
    figures.doubled += doubled
    wrong = {
        f"{lost} lost": lost,
        f"{doubled} twice": doubled,
        "the numbers have gaps": numbers != list(range(1, next_number)),
        "a fan-out is not open": [each.number for each in cursors] != numbers,
        "more than what was in flight has no receipt": len(found) > len(ledger) + POSTERS,
    }
    figures.bad += [f"kill {kill}: {what}" for what, so in wrong.items() if so]
