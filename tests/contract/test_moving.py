"""Another primary than at the last start: what becomes of the queue, and of older databases."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.contract.store_world import Clock, Opened, people
from xmpprelay.core.health import Flag
from xmpprelay.core.insertion import Insertion, State, Where
from xmpprelay.core.primary import EVERYBODY, Caps
from xmpprelay.store import migrations
from xmpprelay.store.database import Database
from xmpprelay.store.insertion import ChooseRow, choose, rows_of_post
from xmpprelay.store.moving import Moved, PrimaryRow, have_primary
from xmpprelay.store.outages import (
    Outage,
    Remembered,
    begin_outage,
    list_outages,
    remember_caps,
    remembered,
    set_flag,
)
from xmpprelay.store.posts import PostRow, append_post

A, B = "https://a.example", "https://b.example"
AT_A = Where(f"mastodon {A}", "a1")
TABLE = PrimaryRow("sql a table", {"": "sql a table"})
NODE = PrimaryRow("pubsub a node", {"": "pubsub a node"})
ONE = PrimaryRow(f"mastodon {A}", {"": f"mastodon {A}"}, one_account=True)
LINKED = PrimaryRow("mastodon (linked accounts)", {each: f"mastodon {each}" for each in (A, B)})


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as database:
        yield database


async def posted(db: Database, author: int, account: int | None = None, **now: Any) -> int:
    """A post's number; its row is made what it is to be."""
    whose = author if account is None else account
    made = await db.write(append_post, PostRow(author, "one", account=whose))
    number: int = made.post.number
    await db.write(choose, ChooseRow(lambda row, _: replace(row, **now), number=number))
    return number


async def row(db: Database, number: int) -> Insertion:
    [one] = await db.read(lambda conn: rows_of_post(conn, number))
    return one


async def test_the_first_and_the_same_primary_change_nothing(db: Database, clock: Clock) -> None:
    [alice] = await people(db, "alice")
    at = Where(TABLE.name)
    await db.write(remember_caps, ("", Caps("a table")))
    waits = await posted(db, alice, due=clock.now() + timedelta(hours=1))
    sent = await posted(db, alice, state=State.INSERTED, due=None, remote_id="r1", where=at)
    before = [await row(db, each) for each in (waits, sent)]
    for _ in range(2):
        assert await db.write(have_primary, TABLE) is None
        assert [await row(db, each) for each in (waits, sent)] == before
    assert (await db.read(partial(remembered, site=""))).caps == Caps("a table")


async def test_what_a_change_concerns_is_counted(db: Database) -> None:
    alice, bob, carol = await people(db, "alice", "bob", "carol")
    await db.write(have_primary, TABLE)
    old, new = Where(TABLE.name), Where(NODE.name)
    for at in (old, old, new):
        await posted(db, alice, state=State.INSERTED, due=None, where=at)
    await posted(db, bob, state=State.UNKNOWN, where=old)
    await posted(db, carol, state=State.SENDING, where=old)
    await posted(db, alice, state=State.REFUSED, due=None, where=old)
    for _ in range(4):
        await posted(db, alice)
    assert await db.write(have_primary, NODE) == Moved(TABLE.name, 2, 2, 4)
    assert await db.write(have_primary, NODE) is None
    assert await db.write(have_primary, TABLE) == Moved(NODE.name, 1, 0, 4)


async def test_what_waits_or_is_held_is_looked_at_at_once(db: Database, clock: Clock) -> None:
    [alice] = await people(db, "alice")
    await db.write(have_primary, TABLE)
    later = clock.now() + timedelta(hours=1)
    numbers = {
        state: await posted(db, alice, state=state, due=due, where=Where(TABLE.name))
        for state, due in (
            (State.QUEUED, later),
            (State.HELD, later),
            (State.UNKNOWN, later),
            (State.PARKED, None),
        )
    }
    await db.write(have_primary, NODE)
    due = {state: (await row(db, number)).due for state, number in numbers.items()}
    assert due == {
        State.QUEUED: clock.now(),
        State.HELD: clock.now(),
        State.UNKNOWN: later,
        State.PARKED: None,
    }


async def test_each_row_goes_into_the_queue_of_who_has_it_inserted_now(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    await db.write(have_primary, TABLE)
    done = {"state": State.INSERTED, "due": None, "remote_id": "r1", "where": Where(TABLE.name)}
    numbers = [
        await posted(db, alice),
        await posted(db, bob, state=State.PARKED, due=None),
        await posted(db, bob, **done),
    ]
    for primary, accounts in (
        (ONE, [EVERYBODY, EVERYBODY, EVERYBODY]),
        (NODE, [alice, bob, bob]),
        (LINKED, [alice, bob, bob]),
    ):
        await db.write(have_primary, primary)
        assert [(await row(db, each)).account for each in numbers] == accounts
    assert (await row(db, numbers[2])).where == Where(TABLE.name)


async def test_what_another_primary_could_do_is_forgotten(db: Database, clock: Clock) -> None:
    await db.write(have_primary, ONE)
    await db.write(remember_caps, ("", Caps("mastodon", max_chars=500)))
    await db.write(set_flag, ("", Flag.ON))
    await db.write(begin_outage, Outage("", clock.now(), None, "timeout", 0))
    clock.pass_s(60)
    await db.write(have_primary, TABLE)
    assert await db.read(partial(remembered, site="")) == Remembered(flag=Flag.ON)
    [outage] = await db.read(lambda conn: list_outages(conn, 9))
    assert outage.ended == clock.now()


# --- a database of an earlier version ------------------------------------------------------------


@pytest.fixture
async def older(
    opened: Opened, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A database that does not know where a post was sent; alice is at A since the time 50."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    shutil.copy(migrations.FOLDER / "env.py", folder)
    for name in ("rev_0001.py", "rev_0002.py", "rev_0003.py"):
        shutil.copy(migrations.FOLDER / "versions" / name, folder / "versions")
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "FOLDER", folder)
        async with opened():
            pass
    with closing(sqlite3.connect(path)) as old, old:
        for person in ("alice", "bob"):
            old.execute(
                "INSERT INTO person (jid, created) VALUES (?, 0)", (f"{person}@example.org",)
            )
        old.execute(
            "INSERT INTO link (person, site, name, remote_id, token, created)"
            f" VALUES (1, '{A}', 'alice', 'a1', 'sealed', 50)"
        )
        rows = [  # author, state, due, last_sent, remote_id, media
            (1, "inserted", None, 40, "r1", "{}"),
            (1, "inserted", None, 60, "r2", "{}"),
            (1, "unknown", 70, 70, None, "{}"),
            (2, "inserted", None, 60, "r3", "{}"),
            (2, "queued", 70, None, None, '{"https://p.example/1.png":"m1"}'),
            (2, "queued", 80, None, None, "{}"),
        ]
        for number, (author, *values) in enumerate(rows, 1):
            old.execute(
                "INSERT INTO post (number, author, text, created) VALUES (?, ?, 'hello', 0)",
                (number, author),
            )
            old.execute(
                "INSERT INTO insertion"
                " (account, post, act, created, state, due, last_sent, remote_id, media)"
                " VALUES (?, ?, 'insert', 0, ?, ?, ?, ?, ?)",
                (author, number, *values),
            )
    return path


@pytest.mark.parametrize(
    ("primary", "expected"),
    [
        (TABLE, [Where(TABLE.name)] * 5 + [None]),
        (LINKED, [Where(), AT_A, AT_A, Where(), Where(), None]),
    ],
    ids=["one service", "linked accounts"],
)
async def test_what_was_sent_before_is_at_the_primary_of_the_first_start(
    opened: Opened, older: Path, primary: PrimaryRow, expected: list[Where | None]
) -> None:
    del older
    async with opened() as db:
        assert [(await row(db, number)).where for number in range(1, 7)] == [None] * 6
        assert await db.write(have_primary, primary) is None
        assert [(await row(db, number)).where for number in range(1, 7)] == expected
        await db.write(have_primary, NODE)
        assert [(await row(db, number)).where for number in range(1, 7)] == expected
        assert (await row(db, 2)).remote_id == "r2"
