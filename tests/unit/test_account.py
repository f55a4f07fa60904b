"""Accounts: what is kept for who has yet to join, and handles made of addresses (S12)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from xmpprelay.account import KEPT, KEPT_CHARS, KEPT_FOR_S, Account
from xmpprelay.choices import Choices
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.handles import MAX_CHARS, check_handle, derived, skeleton
from xmpprelay.core.model import Appended, Draft, Person, Post
from xmpprelay.errors import HandleTaken, NotRegistered, TooFast
from xmpprelay.people import People
from xmpprelay.relay import Relay
from xmpprelay.store.database import Database

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Place:
    """An account room whose people and relay are the test's."""

    def __init__(self, db: Database, policy: str = "register") -> None:
        self.graph = Graph(["example.org"])
        self.time = 0.0
        self.posted: list[Draft] = []
        self.taken: set[str] = set()
        self.fault: Exception | None = None
        self.account = Account(
            db,
            self.graph,
            Delivery(self.graph),
            cast(People, self),
            Choices(db, self.graph),
            cast(Relay, self),
            policy=policy,
            reserved=(),
            now=lambda: NOW,
            monotonic=lambda: self.time,
        )

    async def join(self, jid: str, handle: str) -> Person:
        if handle in self.taken:
            raise HandleTaken("taken")
        person = Person(len(self.taken) + 1, jid, handle)
        self.taken.add(handle)
        self.graph.add_person(person)
        return person

    async def accept(self, draft: Draft) -> Any:
        if self.fault is not None:
            raise self.fault
        self.posted.append(draft)
        return Appended(Post(len(self.posted), 1, draft.text, None, NOW), duplicate=False)

    def forget(self, person: int) -> None: ...

    async def writes(self, who: str, text: str) -> str:
        """What somebody without a handle is told."""
        with pytest.raises(NotRegistered) as told:
            await self.account.newcomer(draft(who, text))
        return told.value.sentence


def draft(who: str, text: str) -> Draft:
    return Draft(f"{who}@example.org", text, None, None, None)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    db = await Database.open(f"sqlite:///{tmp_path}/relay.db", now=lambda: NOW)
    yield db
    await db.close()


async def test_a_text_is_kept_for_ten_minutes_and_no_longer(db: Database) -> None:
    place = Place(db)
    assert "within ten minutes" in await place.writes("alice", "hello")
    await place.writes("bob", "hello")
    place.time = KEPT_FOR_S - 1
    joined = await place.account.join("alice@example.org", "alice")
    assert [each.text for each in place.posted] == ["hello"]
    assert joined.post is not None
    place.time = KEPT_FOR_S
    joined = await place.account.join("bob@example.org", "bob")
    assert (joined.post, joined.refusal, len(place.posted)) == (None, None, 1)


async def test_only_the_last_text_is_kept_and_only_once(db: Database) -> None:
    place = Place(db)
    await place.writes("alice", "one")
    await place.writes("alice", "two")
    await place.account.join("alice@example.org", "alice")
    await place.account.join("alice@example.org", "alice")
    assert [each.text for each in place.posted] == ["two"]


async def test_no_more_texts_are_kept_than_there_is_room_for(db: Database) -> None:
    place = Place(db)
    for number in range(KEPT + 1):
        await place.writes(f"p{number}", "hello")
    assert (await place.account.join("p0@example.org", "first")).post is None
    assert (await place.account.join("p1@example.org", "second")).post is not None
    assert "something shorter" in await place.writes("alice", "x" * (KEPT_CHARS + 1))
    assert (await place.account.join("alice@example.org", "alice")).post is None


async def test_texts_that_are_too_old_are_let_go(db: Database) -> None:
    place = Place(db)
    await place.writes("alice", "hello")
    place.time = KEPT_FOR_S / 2
    await place.writes("bob", "hello")
    place.time = KEPT_FOR_S
    place.account.tick()
    assert list(place.account._kept) == ["bob@example.org"]


async def test_a_kept_text_that_is_refused_does_not_spoil_the_join(db: Database) -> None:
    place = Place(db)
    await place.writes("alice", "hello")
    place.fault = TooFast("Too fast.", 1.0)
    joined = await place.account.join("alice@example.org", "alice")
    assert (joined.person.handle, joined.post, joined.refusal) == ("alice", None, "Too fast.")


async def test_where_all_may_write_the_next_free_handle_is_taken(db: Database) -> None:
    place = Place(db, "open")
    place.taken = {"alice", "alice_2"}
    told = await place.account.newcomer(draft("alice", "hello"))
    assert told == "You are @alice_3 here; `:join NAME` changes that."
    assert place.posted == [], "posting is for who asked"


async def test_where_no_handle_can_be_made_he_is_told_to_choose_one(db: Database) -> None:
    place = Place(db, "open")
    assert "Send `join yourname`" in await place.writes("名前", "hello")
    place.taken = set(derived("alice"))
    assert "Send `join yourname`" in await place.writes("alice", "hello")


async def test_where_nobody_may_join_nothing_is_kept(db: Database) -> None:
    place = Place(db, "closed")
    assert "takes nobody new" in await place.writes("alice", "hello")
    assert (await place.account.join("alice@example.org", "alice")).post is None


@pytest.mark.parametrize(
    ("address", "first"),
    [
        ("alice", "alice"),
        ("Alice.Müller", "alice_muller"),
        ("a" * 40, "a" * MAX_CHARS),
        ("1234", "u_1234"),
        ("3h", "3h_2"),
        ("admin", "u_admin"),
        ("adm1n", "u_adm1n"),
        ("follow", "follow_2"),
    ],
)
def test_a_handle_is_made_of_an_address(address: str, first: str) -> None:
    made = list(derived(address))
    assert made[0] == first
    assert len({skeleton(each) for each in made}) == len(made)
    for each in made:
        assert check_handle(each) == each


def test_nothing_is_made_of_nothing() -> None:
    assert list(derived("")) == list(derived("...")) == list(derived("名前")) == []
    assert list(derived("mayor", ["*mayor*"])) == []
