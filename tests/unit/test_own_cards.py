"""Whose own address is asked for what it shows: when, how often, how many at once."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from hashlib import sha1
from xml.etree.ElementTree import Element, fromstring

import pytest

from xmpprelay.core.blocks import OPERATOR
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.core.profile import NO_PROFILE, Part, Profile
from xmpprelay.errors import StreamError, TryLater
from xmpprelay.profiles import Card
from xmpprelay.xmpp.own_cards import ASKED_EVERY_S, AT_ONCE, WAITING, OwnCards

ALICE = Person(1, "alice@example.test", "alice")


class Server:
    """Stands in for the stream: questions that the test answers."""

    domain = "relay.test"

    def __init__(self) -> None:
        self.asked: list[tuple[str, asyncio.Future[Element]]] = []

    def ask(self, iq: Element) -> "asyncio.Future[Element]":
        assert (iq.get("from"), iq.get("type")) == (self.domain, "get")
        future: asyncio.Future[Element] = asyncio.get_running_loop().create_future()
        self.asked.append((iq.get("to", ""), future))
        return future

    def answers(self, inside: str, kind: str = "result") -> None:
        """Answer the last question."""
        iq = f"<iq type='{kind}' xmlns='jabber:component:accept'>{inside}</iq>"
        self.asked[-1][1].set_result(fromstring(iq))


class Room:
    """Stands in for the profiles: what was taken over."""

    def __init__(self) -> None:
        self.profiles: dict[int, Profile] = {}
        self.taken: list[tuple[int, Card]] = []
        self.fails = False

    def of(self, person: int) -> Profile:
        return self.profiles.get(person, NO_PROFILE)

    async def take_over(self, person: Person, card: Card) -> None:
        if self.fails:
            raise TryLater("not now")
        self.taken.append((person.id, card))


class World:
    def __init__(self) -> None:
        self.server, self.room, self.now = Server(), Room(), 1000.0
        self.graph = Graph(["example.test"])
        self.graph.add_person(ALICE)
        self.cards = OwnCards(
            self.server,  # type: ignore[arg-type]
            self.graph,
            self.room,  # type: ignore[arg-type]
            lambda: self.now,
        )

    def shows(self, photo: str | None, jid: str = ALICE.jid) -> None:
        inside = "" if photo is None else f"<photo>{photo}</photo>"
        update = f"<x xmlns='vcard-temp:x:update'>{inside}</x>"
        self.cards.present(jid, fromstring(f"<presence>{update}</presence>"))


async def so(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():  # noqa: ASYNC110 - looked at in each turn of the loop
            await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.cards.close()


async def test_what_the_card_shows_is_taken_over(world: World) -> None:
    assert world.cards.look(ALICE)
    await so(lambda: len(world.server.asked) == 1)
    assert world.server.asked[0][0] == ALICE.jid
    data = base64.b64encode(b"picture").decode()
    world.server.answers(
        f"<vCard xmlns='vcard-temp'><FN>Ally</FN><PHOTO><BINVAL>{data}</BINVAL></PHOTO></vCard>"
    )
    await so(lambda: bool(world.room.taken))
    [(person, card)] = world.room.taken
    assert (person, card.texts[Part.NAME], card.picture) == (1, "Ally", b"picture")
    assert card.source == sha1(b"picture").hexdigest()


async def test_a_card_that_is_empty_or_missing_takes_everything_away(world: World) -> None:
    for inside in ("", "<vCard xmlns='vcard-temp'/>"):
        world.now += ASKED_EVERY_S
        asked = len(world.server.asked)
        assert world.cards.look(ALICE)
        await so(lambda n=asked: len(world.server.asked) > n)
        world.server.answers(inside)
        await so(lambda n=asked: len(world.room.taken) > n)
    nothing = Card({Part.NAME: "", Part.ABOUT: "", Part.URL: ""}, None, "")
    assert [card for _, card in world.room.taken] == [nothing, nothing]


async def test_a_picture_that_cannot_be_read_is_none_and_is_not_asked_for_again(
    world: World,
) -> None:
    world.shows("abc")
    await so(lambda: len(world.server.asked) == 1)
    world.server.answers(
        "<vCard xmlns='vcard-temp'><FN>Ally</FN><PHOTO><BINVAL>??</BINVAL></PHOTO></vCard>"
    )
    await so(lambda: bool(world.room.taken))
    [(_, card)] = world.room.taken
    assert (card.picture, card.source, card.texts[Part.NAME]) == (None, "abc", "Ally")


@pytest.mark.parametrize("error", [TimeoutError("no answer"), StreamError("down")])
async def test_what_goes_wrong_changes_nothing_and_the_next_is_asked(
    world: World, error: Exception
) -> None:
    world.cards.look(ALICE)
    await so(lambda: len(world.server.asked) == 1)
    world.server.asked[0][1].set_exception(error)
    world.graph.add_person(Person(2, "bob@example.test", "bob"))
    assert world.cards.look(world.graph.person(2))
    await so(lambda: len(world.server.asked) == 2)
    world.server.answers("<error type='cancel'/>", "error")
    world.now += ASKED_EVERY_S
    world.room.fails = True
    world.cards.look(ALICE)
    await so(lambda: len(world.server.asked) == 3)
    world.server.answers("")
    await so(lambda: not world.cards._tasks)
    assert not world.room.taken


async def test_one_person_is_asked_once_in_ten_minutes(world: World) -> None:
    assert world.cards.look(ALICE)
    assert not world.cards.look(ALICE)
    world.now += ASKED_EVERY_S - 1
    assert not world.cards.look(ALICE)
    world.now += 1
    assert world.cards.look(ALICE)


async def test_a_presence_is_a_reason_only_if_it_shows_another_picture(world: World) -> None:
    world.room.profiles[1] = Profile(source="abc")
    world.shows(None)
    world.shows("abc")
    world.shows("new", "stranger@example.test")
    world.graph.add_person(Person(2, "bob@example.test", None))
    world.shows("new", "bob@example.test")
    assert not world.cards._waiting
    world.shows("")
    assert world.cards._waiting == {1: ""}


async def test_who_is_blocked_by_the_operator_is_not_asked(world: World) -> None:
    world.graph.block(OPERATOR, "example.test")
    assert not world.cards.look(ALICE)


async def test_a_few_are_asked_at_once_and_not_too_many_wait(world: World) -> None:
    for number in range(2, WAITING + 10):
        world.graph.add_person(Person(number, f"p{number}@example.test", f"p{number}"))
    taken = [world.cards.look(world.graph.person(n)) for n in range(2, WAITING + 10)]
    assert taken.count(True) == WAITING
    await so(lambda: len(world.server.asked) == AT_ONCE)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(world.server.asked) == AT_ONCE
    world.server.asked[0][1].set_exception(TimeoutError())
    await so(lambda: len(world.server.asked) == AT_ONCE + 1)
    world.cards.forget(WAITING + 1)
    assert WAITING + 1 not in world.cards._waiting
