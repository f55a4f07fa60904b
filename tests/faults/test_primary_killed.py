"""kill -9 of the relay and of the primary, under load: the small form of what `make chaos` does.

The kills, and what is counted, are in `tests/chaos/primary_kills.py`.
"""

import random
from pathlib import Path

from tests.chaos import primary_kills
from tests.servers.towns import Town

KILLS = 3  # of both, of the relay, of the primary; in any order


async def test_what_is_posted_is_at_the_primary_once_whatever_is_killed(
    session_town: Town, short_path: Path
) -> None:
    first = random.randrange(1 << 20)
    figures = await primary_kills.run(session_town, short_path, first, KILLS)
    assert not figures.bad, f"from kill {first} on"
    assert figures.inserted == figures.posts > KILLS * primary_kills.AUTHORS
