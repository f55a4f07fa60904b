"""The simulated world of the fan-out, thousands of times, on all processors.

The worlds, and what may happen in them, are those of `tests/properties/fanout_world.py`.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from tests.properties.fanout_world import Figures, Result
from tests.properties.fanout_world import run as live
from tests.properties.world.plan import CALM

CHUNK: Final = 5
"""Worlds in one task: some seconds of work."""


@dataclass
class Worlds:
    """What became of them."""

    figures: Figures = field(default_factory=Figures)
    lost: int = 0
    calm_repeats: int = 0
    bad: list[str] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count one more."""
        self.figures.add(result)
        if result.problems:
            self.lost += 1
            self.bad.append(f"seed {result.seed}: {result.problems[0]}")
        if result.mode == CALM and result.repeated:
            self.calm_repeats += result.repeated
            self.bad.append(f"seed {result.seed}: repeats without a fault")


def _live_all(first: int, last: int) -> list[Result]:
    return [live(seed) for seed in range(first, last)]


async def run(first: int, seeds: int, told: Callable[[int], None]) -> Worlds:
    """Let the worlds of these seeds live; `told` is called with how many more have."""
    worlds = Worlds()
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        lives = [
            loop.run_in_executor(processes, _live_all, begin, min(begin + CHUNK, first + seeds))
            for begin in range(first, first + seeds, CHUNK)
        ]
        for life in asyncio.as_completed(lives):
            results = await life
            for result in results:
                worlds.add(result)
            told(len(results))
    worlds.bad.sort()
    return worlds
