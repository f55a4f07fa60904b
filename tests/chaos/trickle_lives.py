"""The lives of the trickle by their seeds, hundreds of times, on all processors.

A life, and all that may happen in it, is that of `tests/properties/trickle/life.py`.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.properties.trickle.life import Books, Plan, live


@dataclass
class Lives:
    """What became of them."""

    runs: int = 0
    posts: int = 0
    inserted: int = 0
    requests: int = 0
    faults: int = 0
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    bad: list[str] = field(default_factory=list)

    def add(self, seed: int, books: Books) -> None:
        """Count one more."""
        self.runs += 1
        self.posts += books.posts
        self.inserted += books.inserted
        self.requests += books.requests
        self.faults += books.faults.total()
        self.kills += books.kills
        self.lost += len(books.lost)
        self.doubled += len(books.doubled)
        if books.bad:
            self.bad.append(f"seed {seed}: {books.bad[0]}")


def _live(seed: int, posts: int, looks: bool) -> tuple[int, Books]:
    return seed, live(Plan(seed, posts, looks=looks))


async def run(
    first: int, seeds: int, posts: int, told: Callable[[], None], *, looks: bool = True
) -> Lives:
    """Live through these seeds, of so many posts each; `told` is called after each.

    Without `looks` what is unclear is sent again at once, which must double.
    """
    lives = Lives()
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        begun = [
            loop.run_in_executor(processes, _live, seed, posts, looks)
            for seed in range(first, first + seeds)
        ]
        for life in asyncio.as_completed(begun):
            lives.add(*await life)
            told()
    lives.bad.sort()
    return lives
