"""Many people in one stanza: who is in which, how it is found, and what ends it (XEP-0033)."""

import asyncio
from collections.abc import Callable
from xml.etree.ElementTree import Element, SubElement, fromstring

import pytest

from xmpprelay.errors import StreamError
from xmpprelay.xmpp.disco import DISCO_INFO, DISCO_ITEMS
from xmpprelay.xmpp.multicast import ADDRESS, MOST, PAUSE_S, Multicast
from xmpprelay.xmpp.stanzas import COMPONENT, STANZA_ERRORS, tag

SERVICE = "multicast.example.test"
HOME = "home@relay.example.test"

Answers = Callable[[Element], list[Element]]


def refusal(stanza: Element, condition: str) -> Element:
    """The stanza comes back as a whole."""
    back = Element(stanza.tag, {"from": SERVICE, "to": stanza.get("from", ""), "type": "error"})
    SubElement(SubElement(back, tag("error")), tag(condition, STANZA_ERRORS))
    return back


def addressed(stanza: Element) -> list[str]:
    """To whom a stanza to the service is to be copied; all of them blind."""
    addresses = stanza.findall(f"{{{ADDRESS}}}addresses/{{{ADDRESS}}}address")
    assert all(each.get("type") == "bcc" for each in addresses)
    return [each.get("jid", "") for each in addresses]


def copies(stanza: Element) -> list[Element]:
    """What a service makes of a stanza."""
    return [Element(stanza.tag, {**stanza.attrib, "to": address}) for address in addressed(stanza)]


def takes(messages: int, presences: int) -> Answers:
    """A service that takes so many addresses in a stanza."""

    def answer(stanza: Element) -> list[Element]:
        most = messages if stanza.tag == tag("message") else presences
        if len(addressed(stanza)) > most:
            return [refusal(stanza, "not-acceptable")]
        return copies(stanza)

    return answer


class Server:
    """A component's stream, and the server behind it."""

    domain = "relay.example.test"
    server_domain = "example.test"
    answer_within_s = 60.0

    def __init__(self, answer: Answers) -> None:
        self.listeners: dict[str, Callable[[Element], bool]] = {}
        self.answer = answer
        self.items = ["conference.example.test", "alice@example.test", self.domain, SERVICE]
        self.tried: list[int] = []  # addresses in each stanza
        self.written = asyncio.Event()

    async def ask(self, iq: Element) -> Element:
        answer, to = Element(tag("iq")), iq.get("to")
        if iq.find(tag("query", DISCO_ITEMS)) is not None:
            assert to == self.server_domain
            items = SubElement(answer, tag("query", DISCO_ITEMS))
            for item in self.items:
                SubElement(items, tag("item", DISCO_ITEMS), jid=item)
            return answer
        assert to in self.items
        assert to != self.domain, "it does not ask itself"
        if to == self.items[0]:
            raise TimeoutError
        about = SubElement(answer, tag("query", DISCO_INFO))
        SubElement(about, tag("feature", DISCO_INFO), var=DISCO_INFO)
        if to == SERVICE:
            SubElement(about, tag("feature", DISCO_INFO), var=ADDRESS)
        return answer

    def write(self, data: bytes) -> None:
        stanza = parsed(data)[0]
        assert stanza.get("to") == SERVICE
        self.tried.append(len(addressed(stanza)))
        self.written.set()
        for each in self.answer(stanza):
            listener = self.listeners.get(each.get("from", ""))
            assert listener is not None
            assert listener(each)


class World:
    """A relay that looks for a service, with a clock that is set by hand."""

    def __init__(self, answer: Answers, *, wanted: bool = True) -> None:
        self.server = Server(answer)
        self.now = 1000.0
        self.failures = 0
        self.multicast = Multicast(
            self.server,  # type: ignore[arg-type]
            HOME,
            wanted=wanted,
            monotonic=lambda: self.now,
        )
        self.multicast.failed = self._failed

    def _failed(self) -> None:
        self.failures += 1

    def written(self, *people: str) -> list[Element]:
        to = [each.encode() for each in people]
        post = b'<message from="a@relay.example.test" to="', b'" id="1.x"><body>hi</body></message>'
        return parsed(b"".join(self.multicast.messages(*post, to)))


def parsed(data: bytes) -> list[Element]:
    return list(fromstring(f"<stream xmlns='{COMPONENT}'>".encode() + data + b"</stream>"))


@pytest.fixture
async def world() -> World:
    world = World(takes(20, 20))
    await world.multicast.look()
    return world


# --- what is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 20, 45])
async def test_each_is_in_one_stanza_with_twenty_at_most(world: World, count: int) -> None:
    people = [f"f{n}@example.test" for n in range(count)]
    stanzas = world.written(*people)
    assert [jid for stanza in stanzas for jid in addressed(stanza)] == people
    assert max(len(addressed(stanza)) for stanza in stanzas) <= MOST
    assert len(stanzas) == -(-count // MOST)
    for stanza in stanzas:
        assert stanza.get("to") == SERVICE
        assert stanza.get("from") == "a@relay.example.test"
        assert stanza.get("id") == "1.x"
        assert stanza.findtext(tag("body")) == "hi"


async def test_who_is_on_another_domain_gets_his_own(world: World) -> None:
    """The service would have to ask that domain what it can, and copies might overtake others."""
    near, far = "a@example.test", ["b@notexample.test", "c@sub.example.test", "d@example.test.org"]
    stanzas = world.written(far[0], near, *far[1:], "a@example.test/phone")
    assert {stanza.get("to") for stanza in stanzas} == {*far, SERVICE}
    assert [addressed(each) for each in stanzas if each.get("to") == SERVICE] == [
        [near, "a@example.test/phone"]
    ]
    assert all(not addressed(each) for each in stanzas if each.get("to") != SERVICE)


async def test_without_a_service_each_gets_his_own() -> None:
    world = World(takes(20, 20))
    people = ["a@example.test", "b@example.test"]
    assert [stanza.get("to") for stanza in world.written(*people)] == people


async def test_a_probe_is_a_stanza_of_the_same_kind(world: World) -> None:
    probe = f'<presence from="{HOME}/x" to="'.encode(), b'" type="probe" />'
    [stanza] = parsed(b"".join(world.multicast.presences(*probe, [b"a@example.test"])))
    assert stanza.tag == tag("presence")
    assert (stanza.get("type"), stanza.get("to")) == ("probe", SERVICE)
    assert addressed(stanza) == ["a@example.test"]


# --- how it is found ------------------------------------------------------------------------------


async def test_it_is_used_when_all_copies_to_ourselves_have_come(world: World) -> None:
    assert world.multicast.service == SERVICE
    assert world.server.tried == [MOST, MOST]


@pytest.mark.parametrize(
    ("messages", "presences", "tried"),
    [(20, 7, [20, 20, 10, 5]), (3, 100, [20, 10, 5, 2, 20])],
)
async def test_fewer_are_tried_where_it_takes_fewer(
    messages: int, presences: int, tried: list[int]
) -> None:
    world = World(takes(messages, presences))
    await world.multicast.look()
    assert world.multicast.service == SERVICE
    assert world.server.tried == tried
    stanzas = world.written(*(f"f{n}@example.test" for n in range(40)))
    assert max(len(addressed(stanza)) for stanza in stanzas) <= messages


def _one_is_missing(stanza: Element) -> list[Element]:
    return copies(stanza)[1:]


def _one_came_twice(stanza: Element) -> list[Element]:
    return [*copies(stanza)[1:], copies(stanza)[1]]


def _refused(stanza: Element) -> list[Element]:
    return [refusal(stanza, "forbidden")]


@pytest.mark.parametrize(
    "answer",
    [_one_is_missing, _one_came_twice, _refused, takes(1, 20), takes(20, 1), lambda _: []],
)
async def test_it_is_not_used_where_the_test_fails(answer: Answers) -> None:
    world = World(answer)
    world.server.answer_within_s = 0.01
    await world.multicast.look()
    assert world.multicast.service is None
    assert SERVICE not in world.server.listeners


async def test_a_server_without_one_is_let_be() -> None:
    world = World(takes(20, 20))
    world.server.items.remove(SERVICE)
    await world.multicast.look()
    assert world.multicast.service is None
    assert world.server.tried == []


async def test_a_stream_that_is_lost_ends_the_test() -> None:
    world = World(lambda _: [])
    looking = asyncio.ensure_future(world.multicast.look())
    await world.server.written.wait()
    world.multicast.lost()
    await looking
    assert world.multicast.service is None
    assert SERVICE not in world.server.listeners


async def test_a_server_that_does_not_say_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_: Element) -> Element:
        raise StreamError("lost")

    world = World(takes(20, 20))
    monkeypatch.setattr(world.server, "ask", fails)
    await world.multicast.look()
    assert world.multicast.service is None


# --- what ends it ---------------------------------------------------------------------------------


async def test_a_stanza_that_comes_back_ends_it_for_an_hour(world: World) -> None:
    assert world.multicast.wait_s() == 0.0
    back = refusal(Element(tag("message"), {"from": HOME}), "not-acceptable")
    assert world.server.listeners[SERVICE](back)
    assert world.failures == 1
    assert world.multicast.service is None
    assert world.multicast.wait_s() == PAUSE_S
    world.now += PAUSE_S + 1
    assert world.multicast.wait_s() == 0.0
    await world.multicast.look()
    assert world.multicast.service == SERVICE


@pytest.mark.parametrize("kind", ["get", "result", "error"])
async def test_questions_and_answers_are_not_taken(world: World, kind: str) -> None:
    """ejabberd's service answers a ping with an error, which is as good as any answer."""
    iq = Element(tag("iq"), {"from": SERVICE, "to": HOME, "type": kind})
    assert not world.server.listeners[SERVICE](iq)
    assert world.multicast.service == SERVICE


async def test_with_the_stream_it_ends_without_a_pause(world: World) -> None:
    world.multicast.lost()
    assert world.multicast.service is None
    assert world.failures == 0
    assert world.multicast.wait_s() == 0.0


async def test_it_is_not_looked_for_where_it_is_not_wanted() -> None:
    assert World(takes(20, 20), wanted=False).multicast.wait_s() is None
