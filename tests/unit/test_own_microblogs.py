"""Entries of authors' own nodes: what is done with them, how they are read, when one looks."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree.ElementTree import Element, SubElement, fromstring

import pytest

from xmpprelay.core.atom import ATOM, MAX_ENTRY_BYTES, Said
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person, Post
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.core.sourced import (
    Known,
    OwnChange,
    OwnItem,
    Retracted,
    Step,
    is_relays_own,
    says_the_same,
    step_for,
)
from xmpprelay.sources import Look, Reach
from xmpprelay.xmpp.own_items import ITEMS_READ, changes_in, item_of
from xmpprelay.xmpp.own_nodes import (
    AT_ONCE,
    AT_ONCE_ELSEWHERE,
    LOOK_AGAIN_S,
    LOOK_EVERY_S,
    OwnNodes,
)
from xmpprelay.xmpp.stanzas import presence, tag

SINCE = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ALICE = "alice@example.org"
HOME = "home@relay.example"
PUBSUB = "http://jabber.org/protocol/pubsub"
EVENT = f"{PUBSUB}#event"


def item(text: str = "hello", at: datetime | None = SINCE, **fields: Any) -> OwnItem:
    updated = fields.pop("updated", None)
    return OwnItem("item", Said(text, published=at, updated=updated, **fields))


EARLIER, LATER = SINCE - SECOND, SINCE + SECOND
NO_POST = OwnItem("item", None, "There is no text in this entry.")
HELLO = item().digest


# What is done with each


@pytest.mark.parametrize(
    ("entry", "known", "live", "step"),
    [
        (item(at=SINCE), None, True, Step.POST),
        (item(at=LATER), None, False, Step.POST),
        (item(at=EARLIER), None, True, Step.KEEP),
        (item(at=EARLIER), None, False, Step.KEEP),
        (item(at=None, updated=LATER), None, False, Step.POST),
        (item(at=EARLIER, updated=LATER), None, True, Step.KEEP),
        (item(at=None), None, True, Step.POST),
        (item(at=None), None, False, Step.KEEP),
        (NO_POST, None, True, Step.POST),
        (NO_POST, None, False, Step.KEEP),
        (item(at=LATER), Known(None, None), True, Step.PASS),
        (item(at=LATER), Known(3, HELLO), True, Step.PASS),
        (item(at=EARLIER), Known(3, "other"), False, Step.EDIT),
        (item(at=LATER), Known(None, HELLO), True, Step.PASS),
        (item(at=LATER), Known(None, "other"), True, Step.POST),
        (NO_POST, Known(3, HELLO), True, Step.EDIT),
    ],
)
def test_what_is_done_with_an_entry(
    entry: OwnItem, known: Known | None, live: bool, step: Step
) -> None:
    assert step_for(entry, known, SINCE, live=live) is step


def test_a_client_that_dates_to_the_second_loses_no_post_in_the_first_one() -> None:
    since = SINCE + timedelta(milliseconds=999)
    assert step_for(item(at=SINCE), None, since, live=True) is Step.POST
    assert step_for(item(at=EARLIER), None, since, live=True) is Step.KEEP
    assert step_for(item(at=SINCE), None, since, live=False) is Step.KEEP


@pytest.mark.parametrize(
    ("name", "called", "own"),
    [
        ("1.abcdef", None, True),
        ("1.other0", None, False),
        ("any", "xmpp:relay.example?;node=1.abcdef", True),
        ("any", "xmpp:relay.example?;node=1.before", True),
        ("any", "xmpp:other.example?;node=1.abcdef", False),
        ("any", "urn:uuid:1", False),
    ],
)
def test_what_the_relay_has_published_itself(name: str, called: str | None, own: bool) -> None:
    entry = OwnItem(name, Said("hello", id=called))
    assert is_relays_own(entry, "relay.example", "abcdef") is own


@pytest.mark.parametrize(
    ("text", "parent", "other", "answers", "same"),
    [
        ("one two", None, " one\n two ", None, True),
        ("one two", None, "one", None, False),
        ("@bob hello", 7, "@bob hello", 7, True),
        ("@bob hello", 7, "@bob hello", 8, False),
        ("@bob hello", 7, "@bob hello", None, False),
        ("@bob hello", 7, "hello", None, False),
    ],
)
def test_what_says_the_same(
    text: str, parent: int | None, other: str, answers: int | None, same: bool
) -> None:
    assert says_the_same(Post(8, 1, text, None, SINCE, parent=parent), other, answers) is same


# Reading


def element(name: str = "item", text: str = "hello", namespace: str = EVENT) -> Element:
    made = Element(tag("item", namespace), id=name)
    entry = SubElement(made, f"{{{ATOM}}}entry")
    SubElement(entry, f"{{{ATOM}}}title").text = text
    return made


def test_an_item_is_read_with_what_it_says() -> None:
    read = item_of(element(text="Hello"), ALICE, "de")
    assert read == OwnItem("item", Said("Hello", language="de"))


@pytest.mark.parametrize("publisher", ["mallory@example.org", "mallory@example.org/x", "@", ""])
def test_an_item_of_another_publisher_is_none_of_hers(publisher: str) -> None:
    foreign = element()
    foreign.set("publisher", publisher)
    assert item_of(foreign, ALICE, None) is None
    foreign.set("publisher", f"{ALICE}/phone")
    assert item_of(foreign, ALICE, None) is not None


@pytest.mark.parametrize("name", ["", "x" * 1024, "two\nlines", " x"])
def test_an_item_whose_id_cannot_be_kept_is_none(name: str) -> None:
    assert item_of(element(name), ALICE, None) is None


def test_what_is_no_post_says_why() -> None:
    big = item_of(element(text="x" * MAX_ENTRY_BYTES), ALICE, None)
    assert big is not None
    assert (big.said, big.problem) == (None, "An entry may have 32 KiB: shorten it.")
    two = element()
    two.append(Element("{urn:x}entry"))
    blank, foreign = element(text=" "), element()
    foreign[0].tag = "{urn:x}entry"
    for odd in (two, blank, foreign):
        read = item_of(odd, ALICE, None)
        assert read is not None
        assert read.said is None
        assert read.problem.endswith(".")


def test_of_one_event_the_newest_items_and_retractions_are_read() -> None:
    items = Element(tag("items", EVENT))
    items.extend(element(f"i{number}") for number in range(30))
    SubElement(items, tag("retract", EVENT), id="gone")
    SubElement(items, tag("item", EVENT), id="without a payload")
    SubElement(items, tag("other", EVENT), id="other")
    read = list(changes_in(items, ALICE, None))
    names = [f"i{number}" for number in range(33 - ITEMS_READ, 30)]
    assert [each.id for each in read] == [*names, "gone"]
    assert read[-1] == Retracted("gone")


# When is looked there


class Stream:
    """What is asked and sent, and the answers yet to come."""

    def __init__(self) -> None:
        self.up = True
        self.asked: list[tuple[str, str, asyncio.Future[Element]]] = []  # whom, what, the answer
        self.sent: list[Element] = []

    def ask(self, iq: Element) -> "asyncio.Future[Element]":
        assert iq.get("from") == HOME
        future: asyncio.Future[Element] = asyncio.get_running_loop().create_future()
        verb = iq[0][0].tag.rpartition("}")[2]
        assert iq[0][0].get("node") == MICROBLOG
        self.asked.append((iq.get("to", ""), verb, future))
        return future

    def send(self, stanza: Element) -> None:
        self.sent.append(stanza)

    @property
    def open(self) -> list[str]:
        return [whom for whom, _, future in self.asked if not future.done()]

    async def answers(self, *names: str, error: str = "") -> None:
        """Everything that is open is answered: the node has these items, or there is an error."""
        for _, verb, future in [each for each in self.asked if not each[2].done()]:
            iq = Element(tag("iq"), type="error" if error else "result")
            if error:
                namespace = "urn:ietf:params:xml:ns:xmpp-stanzas"
                SubElement(SubElement(iq, tag("error")), tag(error, namespace))
            elif verb == "items":
                pubsub = SubElement(iq, tag("pubsub", PUBSUB))
                items = SubElement(pubsub, tag("items", PUBSUB), node=MICROBLOG)
                items.extend(element(name, namespace=PUBSUB) for name in names)
            future.set_result(iq)
        for _ in range(5):
            await asyncio.sleep(0)


class Room:
    """Who wants it, and what came."""

    def __init__(self) -> None:
        self.on: dict[int, None] = {}
        self.got: list[tuple[int, list[str], bool]] = []
        self.node: OwnNodes

    def people(self) -> Sequence[int]:
        return list(self.on)

    def listens_to(self, person: int) -> bool:
        return person in self.on

    def came(self, person: int, changes: Sequence[OwnChange], *, live: bool) -> None:
        self.got.append((person, [each.id for each in changes], live))


class Place:
    def __init__(self, *jids: str) -> None:
        self.stream, self.room, self.now = Stream(), Room(), 1000.0
        self.devices: list[str] = []
        self.graph = Graph(["example.org"])
        for number, jid in enumerate(jids, 1):
            self.graph.add_person(Person(number, jid, f"p{number}"))
            self.room.on[number] = None
        here: Callable[[str, str], Element] = presence
        self.nodes = OwnNodes(
            self.stream,  # type: ignore[arg-type]
            HOME,
            self.graph,
            self.room,  # type: ignore[arg-type]
            lambda _: self.devices,
            here,
            lambda: self.now,
        )

    async def comes_up(self) -> None:
        self.nodes.stream_up()
        await asyncio.sleep(0)

    async def passes(self, seconds: float) -> None:
        self.now += seconds
        self.nodes.minute()
        await asyncio.sleep(0)

    def event(self, xml: str, sender: str = ALICE, more: str = "") -> None:
        stanza = fromstring(f"<message><event xmlns='{EVENT}'>{xml}</event>{more}</message>")
        self.nodes.take(sender, stanza)


@pytest.fixture
async def place() -> Place:
    return Place(ALICE)


async def test_with_each_stream_and_once_an_hour_is_subscribed_and_looked(place: Place) -> None:
    await place.comes_up()
    await place.stream.answers()
    await place.stream.answers("one", "two")
    assert [verb for _, verb, _ in place.stream.asked] == ["subscribe", "items"]
    assert place.room.got == [(1, ["one", "two"], False)]
    await place.passes(LOOK_EVERY_S - 1)
    assert not place.stream.open
    await place.passes(1)
    assert place.stream.open == [ALICE]
    await place.stream.answers(error="service-unavailable")
    await place.stream.answers()
    place.nodes.stream_lost()
    await place.comes_up()
    assert place.stream.open == [ALICE]
    await place.nodes.close()


async def test_while_the_stream_is_down_nobody_is_asked(place: Place) -> None:
    await place.comes_up()
    await place.stream.answers()
    await place.stream.answers()
    place.stream.up = False
    place.nodes.stream_lost()
    await place.passes(2 * LOOK_EVERY_S)
    assert not place.stream.open
    await place.nodes.close()


async def test_so_many_nodes_are_looked_at_at_once_and_fewer_of_one_domain_elsewhere() -> None:
    near = [f"p{number}@example.org" for number in range(AT_ONCE + 3)]
    far = [f"p{number}@far.example" for number in range(AT_ONCE_ELSEWHERE + 3)]
    place = Place(*far, *near)
    await place.comes_up()
    assert len(place.stream.open) == AT_ONCE
    assert sum(each.endswith("@far.example") for each in place.stream.open) == AT_ONCE_ELSEWHERE
    for _ in range(20):
        await place.stream.answers()
    asked = {whom for whom, _, _ in place.stream.asked}
    assert asked >= set(near)
    assert len(asked & set(far)) == AT_ONCE_ELSEWHERE
    await place.passes(LOOK_AGAIN_S)
    for _ in range(20):
        await place.stream.answers()
    assert {whom for whom, _, _ in place.stream.asked} == {*near, *far}
    await place.nodes.close()


@pytest.mark.parametrize(
    ("condition", "reach"),
    [
        ("forbidden", Reach.CLOSED),
        ("not-authorized", Reach.CLOSED),
        ("item-not-found", Reach.MISSING),
        ("service-unavailable", Reach.SILENT),
        ("remote-server-not-found", Reach.SILENT),
    ],
)
async def test_what_stands_in_the_way_is_told(place: Place, condition: str, reach: Reach) -> None:
    looking = asyncio.ensure_future(place.nodes.look(place.graph.person(1)))
    await asyncio.sleep(0)
    await place.stream.answers(error=condition)
    await place.stream.answers(error=condition)
    assert await looking == Look(reach)


async def test_who_does_not_answer_is_silent(place: Place) -> None:
    looking = asyncio.ensure_future(place.nodes.look(place.graph.person(1)))
    await asyncio.sleep(0)
    place.stream.asked[0][2].set_exception(TimeoutError())
    assert await looking == Look(Reach.SILENT)


async def test_whoever_asks_while_so_many_are_looked_at_is_told_that_it_is_later() -> None:
    place = Place(*(f"p{number}@example.org" for number in range(AT_ONCE + 1)))
    people = [place.graph.person(number) for number in range(1, AT_ONCE + 2)]
    looks = [asyncio.ensure_future(place.nodes.look(person)) for person in people]
    await asyncio.sleep(0)
    assert await looks[-1] == Look(Reach.SILENT)
    assert len(place.stream.open) == AT_ONCE
    await place.stream.answers()
    await place.stream.answers("one")
    assert [(await each).reach for each in looks[:-1]] == [None] * AT_ONCE


# Listening


async def test_events_are_live_once_the_node_was_seen(place: Place) -> None:
    entry = f"<entry xmlns='{ATOM}'><title>hello</title></entry>"
    news = f"<items node='{MICROBLOG}'><item id='x'>{entry}</item></items>"
    place.event(news)
    await place.comes_up()
    await place.stream.answers(error="item-not-found")
    await place.stream.answers(error="item-not-found")
    place.event(news)
    place.event(f"<items node='{MICROBLOG}'><retract id='x'/></items>")
    assert place.room.got == [(1, ["x"], False), (1, ["x"], True), (1, ["x"], True)]
    place.event(news, sender="bob@example.org")
    place.event(news.replace(MICROBLOG, "urn:other"))
    place.event(f"<purge node='{MICROBLOG}'/>")
    replyto = "<address type='replyto' jid='bob@example.org/x'/>"
    place.event(
        news, more=f"<addresses xmlns='http://jabber.org/protocol/address'>{replyto}</addresses>"
    )
    del place.room.on[1]
    place.event(news)
    assert len(place.room.got) == 3
    await place.nodes.close()


@pytest.mark.parametrize(
    "news", [f"<delete node='{MICROBLOG}'/>", f"<items node='{MICROBLOG}'><item id='x'/></items>"]
)
async def test_after_a_deletion_or_an_item_without_its_entry_the_node_is_looked_at(
    place: Place, news: str
) -> None:
    await place.comes_up()
    await place.stream.answers()
    await place.stream.answers()
    place.event(news)
    await place.passes(LOOK_AGAIN_S)
    assert place.stream.open == [ALICE]
    assert place.room.got == []
    await place.nodes.close()


async def test_each_device_is_shown_once_that_events_are_wanted(place: Place) -> None:
    for resource in ("phone", "phone", "desk"):
        place.nodes.present(1, resource)
    place.nodes.gone(1, "phone")
    place.nodes.present(1, "phone")
    place.nodes.stream_lost()
    place.nodes.present(1, "desk")
    assert [each.get("to") for each in place.stream.sent] == [
        f"{ALICE}/{resource}" for resource in ("phone", "desk", "phone", "desk")
    ]
    place.devices = ["tablet"]
    place.nodes.begin(place.graph.person(1))
    assert place.stream.sent[-1].get("to") == f"{ALICE}/tablet"
    place.stream.sent.clear()
    for number in range(100):
        place.nodes.present(1, f"r{number}")
    assert len(place.stream.sent) == 30
    del place.room.on[1]
    place.nodes.end(place.graph.person(1))
    place.nodes.present(1, "other")
    assert [each.get("type") for each in place.stream.sent[30:]] == ["unavailable", None]
    assert [verb for _, verb, _ in place.stream.asked] == ["unsubscribe"]
