"""Settings: what is kept, what of it counts, and that several are all kept or none."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from xmpprelay.choices import SETTINGS, Choices
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.core.wishes import NO_WISHES, Delivery, Dms, Whose, Window
from xmpprelay.errors import TryLater
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.operations import add_person

ALICE = 1


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    db = await Database.open(f"sqlite:///{tmp_path}/relay.db", now=lambda: datetime.now(UTC))
    await db.write(add_person, "alice@example.org")
    yield db
    await db.close()


def graph_of_alice() -> Graph:
    graph = Graph(["example.org"])
    graph.add_person(Person(ALICE, "alice@example.org", "alice"))
    return graph


@pytest.fixture
def graph() -> Graph:
    return graph_of_alice()


async def after_a_restart(db: Database) -> Choices:
    settings = await db.read(lambda conn: list(queries.load_settings(conn)))
    choices = Choices(db, graph_of_alice())
    choices.load(settings)
    return choices


async def test_a_setting_counts_at_once_and_after_a_restart(db: Database, graph: Graph) -> None:
    words = {
        "replies": "all", "mentions": "none", "dms": "none", "window": "ask",
        "delivery": "headline", "archive": "on", "quiet": "on", "ids": "on", "lang": "de",
        "tz": "UTC",
    }  # fmt: skip
    assert words.keys() == SETTINGS.keys()
    choices = Choices(db, graph)
    for name, word in words.items():
        await choices.set(ALICE, name, word)
    for each in (choices, await after_a_restart(db)):
        wishes = each.of(ALICE)
        assert (wishes.replies, wishes.mentions, wishes.dms) == (Whose.ALL, Whose.NONE, Dms.NONE)
        assert (wishes.window, wishes.delivery) == (Window.ASK, Delivery.HEADLINE)
        assert wishes.archive is wishes.quiet is wishes.ids is True
        assert (wishes.lang, wishes.zone) == ("de", "UTC")
        assert {name: each.word(ALICE, name) for name in SETTINGS} == words
    assert graph.wishes(ALICE) == choices.of(ALICE)


async def test_none_is_back_to_the_default(db: Database, graph: Graph) -> None:
    choices = Choices(db, graph)
    await choices.set_all(ALICE, {"replies": "all", "quiet": "on", "mentions": "all"})
    await choices.set_all(ALICE, {"replies": None, "quiet": None, "mentions": None})
    assert choices.of(ALICE) == NO_WISHES
    assert (await after_a_restart(db)).of(ALICE) == NO_WISHES
    assert choices.word(ALICE, "quiet") == "off"
    assert choices.word(ALICE, "mentions") is None


async def test_several_are_kept_in_one_commit(db: Database, graph: Graph) -> None:
    choices, before, told = Choices(db, graph), db.commits, []
    await choices.set_all(ALICE, {"replies": "all", "catchup": "3"}, lambda: told.append(1))
    assert (db.commits, told) == (before + 1, [1])
    stored = await db.read(lambda conn: list(queries.load_settings(conn)))
    assert stored == [(ALICE, "catchup", "3"), (ALICE, "replies", "all")]


async def test_what_cannot_be_stored_changes_nothing(db: Database, graph: Graph) -> None:
    choices, told = Choices(db, graph), []
    await db.close()
    with pytest.raises(TryLater):
        await choices.set_all(ALICE, {"replies": "all", "bot": "on"}, lambda: told.append(1))
    assert (choices.of(ALICE), choices.is_bot(ALICE), told) == (NO_WISHES, False, [])


async def test_who_is_a_bot_is_kept_and_forgotten(db: Database, graph: Graph) -> None:
    choices = Choices(db, graph)
    assert not choices.is_bot(ALICE)
    await choices.set_all(ALICE, {"bot": "on", "replies": "all"})
    for each in (choices, await after_a_restart(db)):
        assert each.is_bot(ALICE)
    await choices.set(ALICE, "bot", "off")
    assert not choices.is_bot(ALICE)
    await choices.set(ALICE, "bot", "on")
    choices.forget(ALICE)
    assert (choices.is_bot(ALICE), choices.of(ALICE)) == (False, NO_WISHES)


async def test_settings_of_others_are_left_alone(db: Database, graph: Graph) -> None:
    choices = Choices(db, graph)
    choices.load([(ALICE, "protect", "on"), (ALICE, "renamed", "2030-01-01"), (ALICE, "ids", "on")])
    assert choices.of(ALICE).ids
