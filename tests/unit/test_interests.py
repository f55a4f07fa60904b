"""Whose devices want events: what is asked, of whom, and for whom an answer counts."""

import asyncio
from xml.etree.ElementTree import Element, SubElement, fromstring

import pytest

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.core.nodes import MICROBLOG, NICK
from xmpprelay.errors import StreamError
from xmpprelay.xmpp.caps import Claim, claim_in, claim_of, show_claim
from xmpprelay.xmpp.interests import (
    ANSWER_WITHIN_S,
    ASKED_AT_ONCE,
    CLAIMS_WAITING,
    DEVICES_KEPT,
    Interests,
)
from xmpprelay.xmpp.stanzas import presence, tag

HOME = "home@relay.example"
INFO = "http://jabber.org/protocol/disco#info"
ALICE, BOB, CAROL = 1, 2, 3

PSI = fromstring(  # the example of XEP-0115 §5.3
    f"""
    <query xmlns='{INFO}'>
      <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>
      <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>
      <feature var='http://jabber.org/protocol/caps'/>
      <feature var='http://jabber.org/protocol/muc'/>
      <feature var='http://jabber.org/protocol/disco#items'/>
      <feature var='http://jabber.org/protocol/disco#info'/>
      <x xmlns='jabber:x:data' type='result'>
        <field var='software'><value>Psi</value></field>
        <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
        <field var='ip_version'><value>ipv6</value><value>ipv4</value></field>
        <field var='os_version'><value>10.5.1</value></field>
        <field var='os'><value>Mac</value></field>
        <field var='software_version'><value>0.11</value></field>
      </x>
      <x xmlns='jabber:x:data'><field var='a'><value>without a type</value></field></x>
    </query>
    """
)


def info(*features: str, name: str = "Movim") -> Element:
    query = Element(tag("query", INFO))
    SubElement(query, tag("identity", INFO), category="client", type="web", name=name)
    for feature in features:
        SubElement(query, tag("feature", INFO), var=feature)
    return query


WANTS_POSTS = info(f"{MICROBLOG}+notify", "urn:xmpp:ping")
WANTS_NICK = info(f"{NICK}+notify", "urn:xmpp:other+notify")
WANTS_NOTHING = info("urn:xmpp:ping")


def hashed(query: Element) -> Claim:
    claim = claim_of(query, "sha-1")
    assert claim is not None
    return claim


def shows(query: Element | None, *, claim: Claim | None = None) -> Element:
    stanza = presence("somebody@example.org/x", HOME)
    if query is not None:
        claim = hashed(query)
    if claim is not None:
        show_claim(stanza, "https://movim.eu/", claim)
    return stanza


class Stream:
    """A list in place of the stream: what was asked, and the answers yet to come."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []  # to whom, about which node
        self.open: dict[str, asyncio.Future[Element]] = {}

    def ask(self, iq: Element, within_s: float) -> "asyncio.Future[Element]":
        assert (iq.get("from"), iq.get("type"), within_s) == (HOME, "get", ANSWER_WITHIN_S)
        query = iq.find(tag("query", INFO))
        assert query is not None
        self.asked.append((iq.get("to", ""), query.get("node", "")))
        future: asyncio.Future[Element] = asyncio.get_running_loop().create_future()
        self.open[iq.get("to", "")] = future
        return future

    async def answers(self, device: str, query: Element | None, kind: str = "result") -> None:
        iq = Element(tag("iq"), type=kind)
        if query is not None:
            iq.append(query)
        self.open.pop(device).set_result(iq)
        await asyncio.sleep(0)

    async def fails(self, device: str, error: Exception) -> None:
        self.open.pop(device).set_exception(error)
        await asyncio.sleep(0)

    @property
    def whom(self) -> list[str]:
        return [device for device, _ in self.asked]


class Place:
    def __init__(self, people: int = 3) -> None:
        self.stream = Stream()
        graph = Graph(("example.org",))
        for number in range(1, people + 1):
            graph.add_person(Person(number, f"p{number}@example.org", None))
        self.interests = Interests(self.stream, HOME, graph)  # type: ignore[arg-type]

    def comes(self, person: int, resource: str, query: Element | None) -> None:
        self.interests.present(person, resource, shows(query))

    def claims(self, person: int, resource: str, claim: Claim) -> None:
        self.interests.present(person, resource, shows(None, claim=claim))

    def wanting(self, person: int, node: str = MICROBLOG) -> list[str]:
        return list(self.interests.devices(person, node))


@pytest.fixture
async def place() -> Place:
    return Place()


# The hash (XEP-0115)


def test_the_hash_is_the_one_of_the_specification() -> None:
    assert claim_of(PSI, "sha-1") == Claim("sha-1", "q07IKJEyjvHSyhy//CH0CxmKi8w=")


def test_another_algorithm_has_another_hash_and_an_unknown_one_has_none() -> None:
    sha_256 = claim_of(PSI, "sha-256")
    assert sha_256 is not None
    assert len(sha_256.ver) == 44
    assert claim_of(PSI, "md5") is None


@pytest.mark.parametrize(
    "more",
    [
        f"<feature xmlns='{INFO}' var='http://jabber.org/protocol/muc'/>",
        f"<identity xmlns='{INFO}' xml:lang='en' category='client' name='Psi 0.11' type='pc'/>",
        "<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'>"
        "<value>urn:xmpp:dataforms:softwareinfo</value></field></x>",
        "<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'>"
        "<value>one</value><value>two</value></field></x>",
        f"<feature xmlns='{INFO}' var='one&lt;two'/>",
    ],
    ids=["feature twice", "identity twice", "form twice", "two types", "a separator"],
)
def test_what_is_not_well_formed_has_no_hash(more: str) -> None:
    query = fromstring(f"<query xmlns='{INFO}'/>")
    query.extend([*PSI, fromstring(more)])
    assert claim_of(query, "sha-1") is None


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "<c xmlns='http://jabber.org/protocol/caps' node='n' ver='v'/>",
        "<c xmlns='http://jabber.org/protocol/caps' node='n' hash='sha-1'/>",
        "<c xmlns='http://jabber.org/protocol/caps' ver='v' hash='sha-1'/>",
        f"<c xmlns='http://jabber.org/protocol/caps' node='n' hash='sha-1' ver='{'v' * 129}'/>",
    ],
    ids=["none", "old format", "no hash", "no node", "too long"],
)
def test_of_a_presence_without_a_hash_nothing_is_asked(shown: str) -> None:
    assert claim_in(fromstring(f"<presence>{shown}</presence>")) is None


# Asking


async def test_a_device_is_asked_what_its_hash_means(place: Place) -> None:
    place.comes(ALICE, "phone", WANTS_POSTS)
    node = f"https://movim.eu/#{hashed(WANTS_POSTS).ver}"
    assert place.stream.asked == [("p1@example.org/phone", node)]
    assert place.wanting(ALICE) == []
    await place.stream.answers("p1@example.org/phone", WANTS_POSTS)
    assert place.wanting(ALICE) == ["phone"]
    assert place.wanting(ALICE, NICK) == []
    assert place.wanting(BOB) == []


async def test_one_device_is_asked_for_all_that_show_the_same(place: Place) -> None:
    place.comes(ALICE, "phone", WANTS_POSTS)
    place.comes(BOB, "desk", WANTS_POSTS)
    await place.stream.answers("p1@example.org/phone", WANTS_POSTS)
    place.comes(CAROL, "desk", WANTS_POSTS)
    assert place.stream.whom == ["p1@example.org/phone"]
    assert [place.wanting(each) for each in (ALICE, BOB, CAROL)] == [["phone"], ["desk"], ["desk"]]


async def test_only_nodes_that_there_are_here_are_kept(place: Place) -> None:
    place.comes(ALICE, "phone", WANTS_NICK)
    await place.stream.answers("p1@example.org/phone", WANTS_NICK)
    assert place.wanting(ALICE, NICK) == ["phone"]
    assert place.wanting(ALICE, "urn:xmpp:other") == []


async def test_an_answer_that_the_hash_does_not_verify_counts_for_its_device_alone(
    place: Place,
) -> None:
    place.comes(ALICE, "liar", WANTS_NOTHING)
    place.comes(BOB, "desk", WANTS_NOTHING)
    await place.stream.answers("p1@example.org/liar", WANTS_POSTS)
    assert place.wanting(ALICE) == ["liar"]
    assert place.wanting(BOB) == []
    assert place.stream.whom == ["p1@example.org/liar", "p2@example.org/desk"]
    await place.stream.answers("p2@example.org/desk", WANTS_NOTHING)
    assert place.wanting(BOB) == []
    place.comes(ALICE, "liar", WANTS_NOTHING)  # it has not changed: it is not asked again
    assert len(place.stream.asked) == 2
    assert place.wanting(ALICE) == ["liar"]


async def test_a_hash_of_an_unknown_algorithm_counts_for_its_device_alone(place: Place) -> None:
    place.claims(ALICE, "phone", Claim("blake2b-512", "x"))
    place.claims(BOB, "desk", Claim("blake2b-512", "x"))
    await place.stream.answers("p1@example.org/phone", WANTS_POSTS)
    assert place.wanting(ALICE) == ["phone"]
    assert place.wanting(BOB) == []
    assert place.stream.whom[1:] == ["p2@example.org/desk"]


async def test_who_does_not_answer_is_not_asked_again_and_the_next_one_is(place: Place) -> None:
    place.comes(ALICE, "phone", WANTS_POSTS)
    place.comes(BOB, "desk", WANTS_POSTS)
    place.comes(CAROL, "desk", WANTS_POSTS)
    await place.stream.fails("p1@example.org/phone", TimeoutError())
    place.comes(ALICE, "phone", WANTS_POSTS)
    await place.stream.answers("p2@example.org/desk", None, "error")
    assert place.stream.whom[2:] == ["p3@example.org/desk"]
    await place.stream.answers("p3@example.org/desk", WANTS_POSTS)
    assert place.wanting(CAROL) == ["desk"]
    assert place.wanting(ALICE) == []
    place.comes(BOB, "desk", WANTS_NICK)  # something else: that is looked up
    assert place.stream.whom[3:] == ["p2@example.org/desk"]


async def test_a_presence_without_a_hash_changes_nothing_and_another_hash_does(
    place: Place,
) -> None:
    place.comes(ALICE, "phone", WANTS_POSTS)
    await place.stream.answers("p1@example.org/phone", WANTS_POSTS)
    place.comes(ALICE, "phone", None)
    assert place.wanting(ALICE) == ["phone"]
    place.comes(ALICE, "phone", WANTS_NOTHING)
    assert place.wanting(ALICE) == []


# Who has gone


async def test_who_is_gone_wants_nothing(place: Place) -> None:
    for person, resource in ((ALICE, "phone"), (ALICE, "desk"), (BOB, "phone"), (BOB, "desk")):
        place.comes(person, resource, WANTS_POSTS)
    await place.stream.answers("p1@example.org/phone", WANTS_POSTS)
    place.interests.gone(ALICE, "phone")
    place.interests.gone(BOB, None)
    assert place.wanting(ALICE) == ["desk"]
    assert place.wanting(BOB) == []


async def test_who_has_gone_before_the_answer_is_not_kept(place: Place) -> None:
    place.comes(ALICE, "phone", WANTS_POSTS)
    place.comes(BOB, "desk", WANTS_POSTS)
    place.interests.gone(ALICE, None)
    await place.stream.answers("p1@example.org/phone", None, "error")
    place.interests.gone(BOB, "desk")
    await place.stream.answers("p2@example.org/desk", WANTS_POSTS)
    assert place.wanting(ALICE) == place.wanting(BOB) == []
    assert not place.interests._claims
    assert not place.interests._waiting
    assert not place.interests._asked


async def test_a_lost_stream_leaves_nobody_and_what_was_learnt(place: Place) -> None:
    place.comes(ALICE, "phone", WANTS_POSTS)
    await place.stream.answers("p1@example.org/phone", WANTS_POSTS)
    place.comes(BOB, "desk", WANTS_NICK)
    place.interests.lost()
    assert place.wanting(ALICE) == []
    place.comes(BOB, "desk", WANTS_NICK)
    assert place.stream.whom[1:] == ["p2@example.org/desk"] * 2
    await place.stream.answers("p2@example.org/desk", WANTS_NICK)
    assert place.wanting(BOB, NICK) == ["desk"]
    place.comes(ALICE, "phone", WANTS_POSTS)
    assert place.wanting(ALICE) == ["phone"]
    assert len(place.stream.asked) == 3


async def test_the_end_of_a_stream_is_no_answer_to_the_next_one(place: Place) -> None:
    place.comes(ALICE, "phone", WANTS_POSTS)
    before = place.stream.open["p1@example.org/phone"]
    place.interests.lost()
    place.comes(ALICE, "phone", WANTS_POSTS)
    before.set_exception(StreamError("The stream was lost."))
    await asyncio.sleep(0)
    await place.stream.answers("p1@example.org/phone", WANTS_POSTS)
    assert place.wanting(ALICE) == ["phone"]


# Bounds


async def test_so_many_are_asked_at_once_and_the_others_after_them() -> None:
    place = Place(ASKED_AT_ONCE + 5)
    queries = [info(f"{MICROBLOG}+notify", name=f"Client {n}") for n in range(ASKED_AT_ONCE + 5)]
    for number, query in enumerate(queries, 1):
        place.comes(number, "x", query)
    assert len(place.stream.asked) == ASKED_AT_ONCE
    for number, query in enumerate(queries, 1):
        await place.stream.answers(f"p{number}@example.org/x", query)
    assert all(place.wanting(number) == ["x"] for number in range(1, ASKED_AT_ONCE + 6))


async def test_of_one_person_one_device_is_asked_at_a_time_and_so_many_are_kept(
    place: Place,
) -> None:
    for number in range(DEVICES_KEPT + 5):
        place.comes(ALICE, f"r{number}", info(name=f"Client {number}"))
    assert place.stream.whom == ["p1@example.org/r0"]
    place.comes(BOB, "desk", WANTS_POSTS)
    assert place.stream.whom[1:] == ["p2@example.org/desk"]
    assert len(place.interests._claims[ALICE]) == DEVICES_KEPT


async def test_so_many_hashes_wait_and_one_more_when_it_is_shown_again() -> None:
    place = Place(CLAIMS_WAITING + 1)
    for number in range(1, CLAIMS_WAITING + 2):
        place.claims(number, "x", Claim("sha-1", f"v{number}"))
    last = CLAIMS_WAITING + 1
    assert last not in place.interests._claims
    place.interests.gone(1, "x")
    place.claims(last, "x", Claim("sha-1", f"v{last}"))
    assert last in place.interests._claims
