"""A post as bytes: once for each variant, and for each follower only his address (S1.2-S1.4)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Follow, Mode, Person, Post
from xmpprelay.xmpp.addresses import Addresses
from xmpprelay.xmpp.rendering import Rendering
from xmpprelay.xmpp.stanzas import COMPONENT

ALICE, BOB, CAROL = 1, 2, 3
CREATED = datetime(2026, 3, 1, 12, 30, 15, 999_999, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CountedPost(Post):
    """A post that counts how often its text is read."""

    reads: list[int] = field(default_factory=list)

    def __getattribute__(self, name: str) -> Any:
        if name == "text":
            object.__getattribute__(self, "reads").append(1)
        return object.__getattribute__(self, name)


@pytest.fixture
def graph() -> Graph:
    graph = Graph(["example.test"])
    graph.add_person(Person(ALICE, "alice@example.test", "alice"))
    graph.add_person(Person(BOB, "bob@example.test", None))
    graph.add_person(Person(CAROL, "o'carol@far.test", "carol"))
    graph.add_follow(Follow(BOB, ALICE, Mode.AUTHOR, 1))
    graph.add_follow(Follow(CAROL, ALICE, Mode.HOME, 1))
    return graph


@pytest.fixture
def rendering(graph: Graph) -> Rendering:
    return Rendering(graph, Addresses("relay.example.test", "home", graph), "3p0c4s")


def post(text: str = "hello", number: int = 19567, lang: str | None = None) -> Post:
    return Post(number, ALICE, text, lang, CREATED)


def parsed(stanza: bytes) -> Element:
    """The stanza, as the server reads it inside of the component's stream."""
    stream = b"<s xmlns='" + COMPONENT.encode() + b"'>" + stanza + b"</s>"
    [message] = fromstring(stream)
    return message


def test_author_mode_is_the_post_itself(rendering: Rendering) -> None:
    message = parsed(rendering.stanza(post(), BOB, store=False, held=False))
    assert message.attrib == {
        "from": "alice@relay.example.test",
        "to": "bob@example.test",
        "type": "chat",
        "id": "k3f.3p0c4s",
    }
    assert [(child.tag, child.attrib, child.text) for child in message] == [
        (f"{{{COMPONENT}}}body", {}, "hello"),
        ("{urn:xmpp:sid:0}origin-id", {"id": "k3f.3p0c4s"}, None),
        ("{urn:xmpp:hints}no-store", {}, None),
    ]


def test_home_mode_names_the_author_and_the_short_id(rendering: Rendering) -> None:
    message = parsed(rendering.stanza(post(), CAROL, store=False, held=False))
    assert (message.get("from"), message.get("to")) == (
        "home@relay.example.test",
        "o'carol@far.test",
    )
    assert message[0].text == "alice: hello  #k3f"


def test_somebody_who_follows_no_more_is_still_named_properly(
    graph: Graph, rendering: Rendering
) -> None:
    """What was written off comes again after an unfollow and a follow only; the mode is home's."""
    graph.end_follow(BOB, ALICE)
    message = parsed(rendering.stanza(post(), BOB, store=False, held=False))
    assert message.get("from") == "home@relay.example.test"


def test_the_variants_differ_in_what_they_should(rendering: Rendering) -> None:
    def children(**variant: bool) -> list[str]:
        message = parsed(rendering.stanza(post(), BOB, **variant))
        return [child.tag.rpartition("}")[2] for child in message]

    assert children(store=False, held=False) == ["body", "origin-id", "no-store"]
    assert children(store=True, held=False) == ["body", "origin-id"]
    assert children(store=False, held=True) == ["body", "origin-id", "no-store", "delay"]
    assert children(store=True, held=True) == ["body", "origin-id", "delay"]


def test_what_is_held_says_when_it_was_posted(rendering: Rendering) -> None:
    message = parsed(rendering.stanza(post(), BOB, store=False, held=True))
    delay = message.find("{urn:xmpp:delay}delay")
    assert delay is not None
    assert delay.attrib == {"from": "relay.example.test", "stamp": "2026-03-01T12:30:15Z"}


def test_the_language_is_kept(rendering: Rendering) -> None:
    message = parsed(rendering.stanza(post(lang="pt-BR"), BOB, store=False, held=False))
    assert message.get("{http://www.w3.org/XML/1998/namespace}lang") == "pt-BR"


@pytest.mark.parametrize(
    "text",
    [
        "</body>",
        "<!-- -->",
        "&amp; &",
        "'\"",
        "to.is.spliced.in",
        "a\nb",
        "\t",
        "]]>",
        "\U0001f600",
    ],
)
def test_the_text_arrives_as_it_is(rendering: Rendering, text: str) -> None:
    for person in (BOB, CAROL):
        message = parsed(rendering.stanza(post(text), person, store=False, held=False))
        assert text in (message[0].text or "")
        assert message.get("to") in ("bob@example.test", "o'carol@far.test")


def test_what_xml_forbids_is_replaced(rendering: Rendering) -> None:
    message = parsed(rendering.stanza(post("a\x00b\ud800c\uffff"), BOB, store=False, held=False))
    assert message[0].text == "a\ufffdb\ufffdc\ufffd"


def test_a_post_is_serialised_once_for_each_variant(graph: Graph, rendering: Rendering) -> None:
    """A hundred followers cost a hundred addresses, not a hundred serialisations."""
    people = range(10, 110)
    for person in people:
        graph.add_person(Person(person, f"f{person}@example.test", None))
        mode = Mode.AUTHOR if person % 2 else Mode.HOME
        graph.add_follow(Follow(person, ALICE, mode, 1))
    counted = CountedPost(7, ALICE, "hello", None, CREATED)
    for store in (True, False):
        for held in (True, False):
            stanzas = [
                rendering.stanza(counted, person, store=store, held=held) for person in people
            ]
            assert [parsed(each).get("to") for each in stanzas] == [
                f"f{person}@example.test" for person in people
            ]
    assert len(counted.reads) == 8, "two modes, stored or not, live or held"


def test_the_variants_kept_are_bounded_and_made_again_when_needed(rendering: Rendering) -> None:
    posts = [CountedPost(number, ALICE, "hello", None, CREATED) for number in range(1, 5000)]
    first = [rendering.stanza(each, BOB, store=False, held=False) for each in posts]
    again = [rendering.stanza(each, BOB, store=False, held=False) for each in (posts[0], posts[-1])]
    assert again == [first[0], first[-1]]
    assert [len(each.reads) for each in (posts[0], posts[-1])] == [2, 1]
