"""Nothing is lost, nothing repeated without a fault: the fan-out in a simulated world of failures.

Each seed is a world of its own (`fanout_world.py`): a third without faults, a third with one, a
third with many. XMPPRELAY_SEEDS says how many (200), XMPPRELAY_FIRST_SEED where to begin. A seed
that fails is lived again with a trace; what concerns the first thing that went wrong is printed,
and all of it is in the file that is named. `python -m tests.properties.fanout_world SEED` does the
same for one seed.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.properties.fanout_world import Figures, run, story
from tests.properties.world.plan import CALM

FIRST: Final = int(os.environ.get("XMPPRELAY_FIRST_SEED", "0"))
SEEDS: Final = int(os.environ.get("XMPPRELAY_SEEDS", "200"))
CHUNK: Final = 25
"""Seeds in one test: a few seconds of work."""


@pytest.fixture(scope="module")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Adds up what was simulated, and tells it at the end."""
    total = Figures()
    yield total
    plugins = request.config.pluginmanager
    reporter, capture = plugins.get_plugin("terminalreporter"), plugins.get_plugin("capturemanager")
    if reporter is not None and capture is not None and total.seeds:
        with capture.global_and_fixture_disabled():
            reporter.write_line(f"\n{total}")


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_nothing_is_lost_and_little_repeated(first: int, figures: Figures, tmp_path: Path) -> None:
    for seed in range(first, min(first + CHUNK, FIRST + SEEDS)):
        try:
            result = run(seed)
        except BaseException as error:
            error.add_note(f"in the world of seed {seed}")
            raise
        figures.add(result)
        if result.problems:
            pytest.fail(story(seed, tmp_path / f"seed-{seed}.txt"), pytrace=False)
        if result.mode == CALM:
            assert result.repeated == 0


def test_a_seed_lives_the_same_life_each_time() -> None:
    for seed in range(2):
        assert run(seed, trace=True) == run(seed, trace=True)


def test_the_world_is_not_idle() -> None:
    """What is to be shown happens at all; else nothing would be lost in a world that sleeps."""
    total = Figures()
    for seed in range(12):
        total.add(run(seed))
    assert total.deliveries > 8_000
    assert total.repeated > 10
    assert total.bounces > 300
    assert total.incidents > 20
    assert {"refused", "left to more"} <= total.excused.keys()
