"""Nothing is lost, nothing repeated without a fault: the fan-out in a simulated world of failures.

Each seed is a world of its own (`fanout_world.py`): a third without faults, a third with one, a
third with many. XMPPRELAY_SEEDS says how many (200), XMPPRELAY_FIRST_SEED where to begin. A seed
that fails is lived again with a trace; what concerns the first thing that went wrong is printed,
and all of it is in the file that is named. `python -m tests.properties.fanout_world SEED` does the
same for one seed.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.properties.fanout_world import CALM, Figures, run, story
from tests.properties.world.agenda import Agenda
from tests.properties.world.disk import Disk
from xmpprelay.core.model import Cursor, DeliveryRows, Mode, Standing
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.operations import (
    FollowRow,
    PostRow,
    StartRow,
    add_follow,
    add_person,
    append_post,
    start,
    store_delivery,
)

FIRST: Final = int(os.environ.get("XMPPRELAY_FIRST_SEED", "0"))
SEEDS: Final = int(os.environ.get("XMPPRELAY_SEEDS", "200"))
CHUNK: Final = 25
"""Seeds in one test: a few seconds of work."""

START: Final = datetime(2030, 1, 1, tzinfo=UTC)


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
    for seed in range(3):
        assert run(seed, trace=True) == run(seed, trace=True)


def test_the_world_is_not_idle() -> None:
    """What is to be shown happens at all; else nothing would be lost in a world that sleeps."""
    total = Figures()
    for seed in range(24):
        total.add(run(seed))
    assert total.deliveries > 10_000
    assert total.repeated > 20
    assert total.bounces > 1_000
    assert total.incidents > 50
    assert {"refused", "left to more"} <= total.excused.keys()


@pytest.mark.parametrize("seed", range(5))
async def test_the_simulated_database_starts_as_the_real_one_does(
    seed: int, tmp_path: Path
) -> None:
    """Move 7 on random states: the same standings, and no fan-out left open."""
    rng = Random(seed)
    agenda = Agenda()
    db = await Database.open(f"sqlite:///{tmp_path / 'relay.db'}", now=lambda: START)
    try:
        people = [
            await db.write(add_person, f"p{at}@{rng.choice(('own', 'far'))}.example")
            for at in range(12)
        ]
        twin = Disk({person.id: person.jid.rpartition("@")[2] for person in people})
        await _fill_both(rng, agenda, db, twin)
        await db.write(start, StartRow(lambda jid: jid.rpartition("@")[2]))
        twin.start(agenda)
        standings = await db.read(lambda conn: [*queries.load_standings(conn)])
        assert {each.person: each for each in standings} == twin.standings
        assert await db.read(queries.open_fanouts) == []
        assert not twin.fanout
    finally:
        await db.close()


async def _fill_both(rng: Random, agenda: Agenda, db: Database, twin: Disk) -> None:
    """Put the same follows, posts, cursors and standings into the database and its twin."""
    people = sorted(twin.lanes)
    authors = people[:3]
    for person in people:
        for author in authors:
            if person != author and rng.random() < 0.7:
                await db.write(add_follow, FollowRow(person, author, Mode.AUTHOR))
                twin.follows[person, author] = twin.next_number
        if rng.random() < 0.3:
            await _post_both(rng, agenda, db, twin, authors)
    for _ in range(20):
        await _post_both(rng, agenda, db, twin, authors)
    standings = []
    for person in sorted({follower for follower, _ in twin.follows}):
        if rng.random() < 0.6:
            standings.append(Standing(person, None, None))
        else:
            away_from = rng.randrange(1, twin.next_number)
            missed = tuple(sorted(rng.sample(range(1, twin.next_number), 3)))
            standings.append(Standing(person, away_from, START, missed))
    cursors = [
        Cursor(number, lane, rng.choice((None, *people)))
        for number, lane in twin.fanout
        if rng.random() < 0.7
    ]
    rows = DeliveryRows(tuple(cursors), tuple(standings))
    await db.write(store_delivery, rows)
    twin.keep(rows)


async def _post_both(
    rng: Random, agenda: Agenda, db: Database, twin: Disk, authors: list[int]
) -> None:
    author = rng.choice(authors)
    lanes = tuple(sorted({twin.lanes[f] for f, a in twin.follows if a == author}))
    await db.write(append_post, PostRow(author, "hello", lanes=lambda: lanes))
    twin.append(agenda, author, lanes)
