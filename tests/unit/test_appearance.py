"""Who is told that an author looks otherwise: whoever may be told when it is his turn."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from xml.etree.ElementTree import Element

import pytest

from xmpprelay.core.blocks import OPERATOR
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Follow, Mode, Person
from xmpprelay.core.profile import NO_PROFILE, Profile, Shown
from xmpprelay.xmpp.addresses import Addresses
from xmpprelay.xmpp.appearance import Appearance
from xmpprelay.xmpp.voice import PORTION, Voice

BOB = 1
PRESENT = range(2, 3 * PORTION)
LATE = PRESENT[-1] - 3, PRESENT[-1] - 2, PRESENT[-1] - 1
"""Three who are told in a later turn of the loop than the first."""

PICTURED = Profile("Bob", picture=Shown("a" * 40, 1, 1, 1))


def jid(number: int) -> str:
    return f"u{number}@example.test"


class Place:
    """Bob and many followers, all of them there; a list in place of the stream.

    `then` happens behind the first stanza, as soon as the loop has its next turn.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []  # what, from which address, to which person
        self.then: Callable[[], object] | None = None
        self.graph = graph = Graph(("example.test",))
        graph.add_person(Person(BOB, "bob@example.test", "bob"))
        for number in PRESENT:
            graph.add_person(Person(number, jid(number), None))
            graph.add_follow(Follow(number, BOB, Mode.AUTHOR, 1))
        addresses = Addresses("relay.test", "home", graph)
        here = SimpleNamespace(devices_of=lambda _: ["x"], devices=lambda *_: ["x"])
        profiles = SimpleNamespace(of=lambda _: PICTURED)
        voice = Voice(self, addresses, graph)  # type: ignore[arg-type]
        self.appearance = Appearance(
            self, addresses, graph, here, voice, here, profiles, lambda: 0.0  # type: ignore[arg-type]
        )  # fmt: skip

    def send(self, stanza: Element) -> None:
        what, to = stanza.tag.rpartition("}")[2], stanza.get("to", "").partition("/")[0]
        self.sent.append((what, stanza.get("from", ""), to))
        if self.then is not None:
            asyncio.get_running_loop().call_soon(self.then)
            self.then = None

    async def tells(self) -> None:
        """Let bob look otherwise, and return when everybody is told."""
        self.appearance.changed(BOB, NO_PROFILE, PICTURED)
        telling = self.appearance._telling
        assert telling is not None
        await telling
        assert not self.appearance.failures

    def of(self, number: int) -> list[str]:
        """What somebody has got."""
        return [what for what, _, to in self.sent if to == jid(number)]


@pytest.fixture
async def place() -> Place:
    return Place()


async def test_all_who_follow_and_are_there_are_told(place: Place) -> None:
    place.graph.add_follow(Follow(LATE[0], BOB, Mode.HOME, 1))
    place.graph.add_follow(Follow(LATE[1], BOB, Mode.PUBSUB, 1))
    await place.tells()
    assert place.of(LATE[0]) == []
    assert place.of(LATE[1]) == ["message", "message"]
    assert all(place.of(each) == ["presence", "message", "message"] for each in PRESENT[:-4])


async def test_who_is_cut_off_while_others_are_told_is_not_told(place: Place) -> None:
    blocked, barred, blocks = LATE

    def cut_off() -> None:
        place.graph.block(BOB, jid(blocked))
        place.graph.end_follow(blocked, BOB)
        place.graph.block(OPERATOR, jid(barred))  # his follow is kept (S6.4)
        place.graph.block(blocks, "bob@example.test")
        place.sent.append(("cut", "", ""))

    place.then = cut_off
    await place.tells()
    told_before = place.sent.index(("cut", "", ""))
    assert 0 < told_before < len(place.sent) - 1
    assert [place.of(each) for each in LATE] == [[], [], []]
    assert place.of(PRESENT[-1]) == ["presence", "message", "message"]


@pytest.mark.parametrize("handle", [None, "robert"])
async def test_who_leaves_or_has_another_address_is_not_shown_at_the_old_one(
    place: Place, handle: str | None
) -> None:
    place.then = lambda: place.graph.add_person(Person(BOB, "bob@example.test", handle))
    await place.tells()
    late = {sender for _, sender, to in place.sent if to == jid(PRESENT[-1])}
    assert late == (set() if handle is None else {"robert@relay.test"})
