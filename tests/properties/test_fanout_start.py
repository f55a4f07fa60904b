"""The simulated database starts as the real one does: move 7 on random states of both."""

from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.properties.world.agenda import Agenda
from tests.properties.world.disk import Disk
from xmpprelay.core.model import Cursor, DeliveryRows, Mode, Standing
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.operations import (
    FollowRow,
    StartRow,
    add_follow,
    add_person,
    start,
    store_delivery,
)
from xmpprelay.store.posts import PostRow, append_post

START: Final = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(5))
async def test_both_start_alike(seed: int, tmp_path: Path) -> None:
    """The same standings, and no fan-out left open."""
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
    await db.write(append_post, PostRow(author, "hello", lanes=lambda _: lanes))
    twin.append(agenda, author, lambda _: lanes)
