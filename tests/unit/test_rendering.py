"""A post as bytes: once for each variant, and for each follower only his address (S1.2-S1.4)."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Follow, Kind, Mode, Person, Post
from xmpprelay.core.wishes import Delivery, Whose, Wishes
from xmpprelay.core.work import Part
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


# Other forms (S2.7, S8.1, S9)


def forms(graph: Graph, sent: dict[tuple[int, int], Post] | None = None) -> Rendering:
    had = sent or {}
    addresses = Addresses("relay.example.test", "home", graph)
    return Rendering(graph, addresses, "3p0c4s", lambda person, number: had.get((person, number)))


def shown(rendering: Rendering, entry: Post, person: int, **variant: bool) -> Element:
    return parsed(rendering.stanza(entry, person, **{"store": False, "held": False} | variant))


def child(message: Element, name: str) -> Element | None:
    return next((each for each in message if each.tag.rpartition("}")[2] == name), None)


def kept(message: Element) -> bool:
    return child(message, "no-store") is None


def test_what_is_for_him_is_kept_by_his_server(graph: Graph) -> None:  # S1.4
    rendering = forms(graph)
    for how in ({"targets": (BOB,)}, {"mentions": (BOB,)}):
        assert kept(shown(rendering, replace(post(), **how), BOB))
        assert not kept(shown(rendering, replace(post(), **how), CAROL))
    graph.set_wishes(BOB, Wishes(mentions=Whose.NONE))
    named = replace(post(), mentions=(BOB,))
    assert not kept(shown(rendering, named, BOB)), "it comes as what he follows (S2.3)"
    graph.set_wishes(BOB, Wishes(archive=True))
    assert kept(shown(rendering, post(), BOB))


def test_a_direct_message_comes_from_its_author_to_whoever_it_is_for(graph: Graph) -> None:
    graph.set_wishes(CAROL, Wishes(delivery=Delivery.HEADLINE))
    letter = replace(post("psst"), kind=Kind.DIRECT, targets=(CAROL,))
    for entry in (letter, replace(letter, kind=Kind.EDIT, original=letter)):
        message = shown(forms(graph), entry, CAROL)
        assert (message.get("from"), message.get("type")) == ("alice@relay.example.test", "chat")
        assert message[0].text == "psst"
        assert kept(message)
    assert shown(forms(graph), post(), CAROL).get("type") == "headline"


def test_ids_are_shown_by_the_author_too_for_who_wants_them(graph: Graph) -> None:  # S1.6
    graph.set_wishes(BOB, Wishes(ids=True))
    assert shown(forms(graph), post(), BOB)[0].text == "hello  #k3f"


def test_an_answer_refers_to_what_came_from_the_same_address(graph: Graph) -> None:  # S2.7
    first, second = post(number=7), replace(post(number=8), parent=7, root=5)
    graph.add_person(Person(4, "dave@example.test", "dave"))
    of_dave = replace(first, author=4)
    for sent, person, answered in (
        ({}, BOB, None),
        ({(BOB, 7): first}, BOB, "alice@relay.example.test"),
        ({(CAROL, 7): first}, CAROL, "home@relay.example.test"),
        ({(CAROL, 7): of_dave}, CAROL, "home@relay.example.test"),
        ({(BOB, 7): of_dave}, BOB, None),  # that came from home
        ({(CAROL, 7): first}, BOB, None),
    ):
        message = shown(forms(graph, sent), second, person)
        reply, thread = child(message, "reply"), child(message, "thread")
        assert (None if reply is None else reply.get("to")) == answered
        assert reply is None or reply.get("id") == "7.3p0c4s"
        assert thread is not None
        assert thread.text == "5.3p0c4s"


def test_a_boost_says_who_boosts_whom_with_the_id_of_the_post(graph: Graph) -> None:  # S8.1
    graph.add_person(Person(4, "dave@example.test", "dave"))
    graph.add_follow(Follow(BOB, 4, Mode.AUTHOR, 1))
    boost = Post(9, 4, "", None, CREATED, Kind.BOOST, original=post(lang="de"))
    for person, sender in ((BOB, "dave"), (CAROL, "home")):
        message = shown(forms(graph), boost, person)
        assert message.get("from") == f"{sender}@relay.example.test"
        assert message[0].text == "dave boosts alice: hello  #k3f"
        assert (message.get("id"), message.get("{http://www.w3.org/XML/1998/namespace}lang")) == (
            "9.3p0c4s", "de",
        )  # fmt: skip


def test_an_edit_takes_the_place_of_the_post(graph: Graph) -> None:  # S9.1
    now = replace(post("new"), edits=2)
    edit = replace(post("new", number=30), kind=Kind.EDIT, original=now, edits=2)
    by_author, by_home = (shown(forms(graph), edit, person) for person in (BOB, CAROL))
    assert by_author[0].text == "new"
    assert by_home[0].text == "alice: new  #k3f"
    for message in (by_author, by_home):
        assert message.get("id") == "k3f.3p0c4s.e2"
        replaced = child(message, "replace")
        assert replaced is not None
        assert replaced.get("id") == "k3f.3p0c4s"
        assert not kept(message)
    graph.add_person(Person(4, "dave@example.test", "dave"))
    fresh = shown(forms(graph), replace(edit, mentions=(4,)), 4)
    assert child(fresh, "replace") is None, "he has not got the post"
    assert kept(fresh)


def test_a_post_that_was_edited_is_written_anew(graph: Graph) -> None:
    rendering = forms(graph)
    assert shown(rendering, post(), BOB)[0].text == "hello"
    edited = replace(post("hallo"), edits=1)
    assert shown(rendering, edited, BOB)[0].text == "hallo"
    graph.add_person(Person(ALICE, "alice@example.test", "alicia"))
    assert shown(rendering, edited, CAROL)[0].text == "alicia: hallo  #k3f", "after a rename"


def test_a_deletion_retracts_and_says_so_in_words(graph: Graph) -> None:  # S9.2
    gone = replace(post(""), deleted=True)
    deletion = Post(30, ALICE, "", None, CREATED, Kind.DELETE, original=gone)
    for person, text in (
        (BOB, "(this post was deleted)"),
        (CAROL, "alice: (this post was deleted)  #k3f"),
    ):
        message = shown(forms(graph), deletion, person)
        assert (message.get("id"), message[0].text) == ("k3f.3p0c4s.d", text)
        retract, fallback = child(message, "retract"), child(message, "fallback")
        assert retract is not None
        assert retract.get("id") == "k3f.3p0c4s"
        assert fallback is not None
        assert fallback.get("for") == "urn:xmpp:message-retract:1"
    letter = replace(gone, kind=Kind.DIRECT, targets=(CAROL,))
    assert kept(shown(forms(graph), replace(deletion, original=letter), CAROL))


# --- What followers get together ------------------------------------------------------------------


DAVE = 4


def together(rendering: Rendering, people: tuple[int, ...], posts: tuple[Post, ...]) -> bytes:
    return b"".join(rendering.live(Part(people, posts, seen=True), lambda _: False))


def one_by_one(rendering: Rendering, people: tuple[int, ...], posts: tuple[Post, ...]) -> bytes:
    each = ((person, post) for person in people for post in posts)
    return b"".join(rendering.stanza(p, person, store=False, held=False) for person, p in each)


@pytest.mark.parametrize("count", [1, 3])
def test_posts_that_people_get_together_are_the_same_bytes(
    graph: Graph, rendering: Rendering, count: int
) -> None:
    """Whatever changes in between is in what is written next."""
    graph.add_person(Person(DAVE, "d<av>e&@far.test", None))
    people = (BOB, CAROL, DAVE)
    posts = tuple(post(f"a & b < {n}", 19567 + n) for n in range(count))
    devices: dict[int, tuple[str, ...]] = {}
    rendering.devices, rendering.interested = lambda p: devices.get(p, ()), devices

    def differs(change: Callable[[], None]) -> None:
        before = together(rendering, people, posts)
        change()
        after = together(rendering, people, posts)
        assert after == one_by_one(rendering, people, posts)
        assert after != before, "nothing has changed"

    differs(lambda: graph.add_follow(Follow(DAVE, ALICE, Mode.PUBSUB, 1)))
    differs(lambda: graph.add_follow(Follow(BOB, ALICE, Mode.HOME, 1)))
    differs(lambda: graph.end_follow(DAVE, ALICE))
    differs(lambda: graph.add_follow(Follow(DAVE, ALICE, Mode.PUBSUB_BODY, 1)))
    differs(lambda: graph.set_wishes(CAROL, Wishes(delivery=Delivery.HEADLINE)))
    differs(lambda: graph.set_wishes(BOB, Wishes(archive=True)))
    differs(lambda: graph.add_person(Person(ALICE, "alice@example.test", "alicia")))
    differs(lambda: devices.update({BOB: ("tablet", "phone")}))
    differs(devices.clear)


def test_posts_of_several_authors_or_that_are_not_plain_go_together_too(
    graph: Graph, rendering: Rendering
) -> None:
    graph.add_follow(Follow(CAROL, BOB, Mode.AUTHOR, 1))
    graph.add_person(Person(BOB, "bob@example.test", "bob"))
    mention = replace(post("hi", 19568), mentions=(CAROL,))
    for posts in ((post(), replace(mention, author=BOB, mentions=())), (post(), mention)):
        assert together(rendering, (CAROL,), posts) == one_by_one(rendering, (CAROL,), posts)


def test_whose_presence_is_not_seen_may_have_it_kept(rendering: Rendering) -> None:
    part = Part((BOB, CAROL), (post(),))
    bob, carol = rendering.live(part, lambda person: person == BOB)
    assert bob == rendering.stanza(post(), BOB, store=False, held=False)
    assert carol == rendering.stanza(post(), CAROL, store=True, held=False)


# --- What many get in a stanza --------------------------------------------------------------------


class ForEach:
    """A multicast service that is not there: each gets a stanza of his own."""

    def messages(self, before: bytes, after: bytes, to: Sequence[bytes]) -> Iterator[bytes]:
        yield from (before + address + after for address in to)


def by_address(stanzas: Iterable[bytes]) -> dict[str, list[bytes]]:
    """What comes to each address, in order."""
    found: dict[str, list[bytes]] = {}
    for stanza in stanzas:
        for each in re.findall(rb"<message .*?</message>", stanza, re.DOTALL):
            found.setdefault(parsed(each).get("to", ""), []).append(each)
    return found


def test_in_groups_each_gets_the_same_bytes_in_the_same_order(
    graph: Graph, rendering: Rendering
) -> None:
    graph.add_person(Person(DAVE, "d<av>e&@far.test", None))
    graph.add_follow(Follow(DAVE, ALICE, Mode.PUBSUB_BODY, 1))
    graph.set_wishes(CAROL, Wishes(delivery=Delivery.HEADLINE))
    devices: dict[int, tuple[str, ...]] = {BOB: ("tablet", "phone"), DAVE: ("phone",)}
    rendering.devices, rendering.interested = lambda p: devices.get(p, ()), devices
    plain = tuple(post(f"a & b < {n}", 100 + n) for n in range(3))
    mention = replace(post("hi", 110), mentions=(CAROL,))
    edit = replace(post("new", 111), kind=Kind.EDIT, original=plain[0], edits=1)
    live = [
        Part((BOB, CAROL), plain, seen=True),
        Part((DAVE,), (plain[1], mention, edit), seen=True),
        Part((BOB, CAROL), (mention, edit), seen=False),
    ]
    held = [(BOB, plain[0]), (BOB, mention), (CAROL, plain[0]), (CAROL, plain[2])]

    def shows(person: int) -> bool:
        return person == BOB

    service: Any = ForEach()
    grouped = by_address(rendering.together(live, held, shows, service))
    alone = [stanza for part in live for stanza in rendering.live(part, shows)]
    alone += [
        rendering.stanza(each, person, store=not shows(person), held=True) for person, each in held
    ]
    assert grouped == by_address(alone)
    assert "bob@example.test/phone" in grouped


def test_what_is_late_comes_in_the_order_of_the_posts(rendering: Rendering) -> None:
    """Though another person's later post was met first."""
    first, second = post("one", 100), post("two", 101)
    held = [(BOB, second), (CAROL, first), (CAROL, second)]
    service: Any = ForEach()
    stanzas = rendering.together([], held, lambda _: True, service)
    assert [parsed(each)[0].text for each in by_address(stanzas)["o'carol@far.test"]] == [
        "alice: one  #34",
        "alice: two  #35",
    ]
