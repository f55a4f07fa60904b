"""kill -9 of a process that writes: a receipt means disk, and what is sent again is one post.

The ledger is what the child wrote on its standard output. L, receipted but missing, and D, twice,
must be 0; and the fan-out of every post is open, since nobody has delivered anything.
"""

import asyncio
import random
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from tests.faults.journal_child import POSTERS
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.schema import post

ROUNDS = 8
REPOSITORY = Path(__file__).parents[2]


async def test_what_had_a_receipt_survives_kill_9(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/relay.db"
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    ledger: dict[int, int] = {}
    for _ in range(ROUNDS):
        # Tokens that have no receipt yet are sent again, and some that have one as well.
        first = max(0, max(ledger, default=0) - 2 * POSTERS)
        receipts = await post_until_killed(url, first, chance.randrange(1, 400))
        for token, number in receipts:
            assert ledger.setdefault(token, number) == number, f"twice (seed {seed})"
        await check(url, ledger, seed)
    assert len(set(ledger.values())) == len(ledger)


async def post_until_killed(url: str, first: int, enough: int) -> list[tuple[int, int]]:
    """The receipts of a child that was killed after so many of them."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.journal_child", url, str(first)),
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert child.stdout is not None
    lines = []
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


async def check(url: str, ledger: dict[int, int], seed: int) -> None:
    asked = select(post.c.text, post.c.number)
    db = await Database.open(url, now=lambda: datetime.now(UTC))
    rows = await db.read(lambda conn: conn.execute(asked).all())
    cursors = await db.read(queries.open_fanouts)
    next_number = db.next_number
    await db.close()
    found = {int(text.split()[0]): number for text, number in rows}
    lost = {token for token, number in ledger.items() if found.get(token) != number}
    assert not lost, f"L={len(lost)} (seed {seed})"
    assert len(found) == len(rows), f"D={len(rows) - len(found)} (seed {seed})"
    assert sorted(found.values()) == list(range(1, next_number))
    assert [each.number for each in cursors] == sorted(found.values())
    assert len(found) <= len(ledger) + POSTERS, "at most what was in flight has no receipt"
