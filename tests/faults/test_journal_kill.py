"""kill -9 of a process that writes: a receipt means disk, and what is sent again is one post."""

import random
from pathlib import Path

from tests.chaos import journal_kills

KILLS = 8


async def test_what_had_a_receipt_survives_kill_9(tmp_path: Path) -> None:
    first = random.randrange(1 << 32)
    figures = await journal_kills.run(tmp_path, first, KILLS)
    assert not figures.bad, f"from kill {first} on"
    assert (figures.lost, figures.doubled) == (0, 0)
    assert figures.posts > KILLS
