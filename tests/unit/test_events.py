"""Posts as events of their author's node, for who has subscribed and for devices that want them."""

from dataclasses import replace
from datetime import timedelta
from xml.etree.ElementTree import Element

import pytest

from tests.unit.test_rendering import ALICE, BOB, CAROL, CREATED, CountedPost, parsed, post
from xmpprelay.core.atom import title_of
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Follow, Kind, Mode, Person, Post
from xmpprelay.core.wishes import Delivery, Wishes
from xmpprelay.xmpp.addresses import Addresses
from xmpprelay.xmpp.rendering import Rendering
from xmpprelay.xmpp.stanzas import COMPONENT

EVENT = "{http://jabber.org/protocol/pubsub#event}"
ATOM = "{http://www.w3.org/2005/Atom}"
THREAD = "{http://purl.org/syndication/thread/1.0}"
NODE = "urn%3Axmpp%3Amicroblog%3A0"


@pytest.fixture
def graph() -> Graph:
    """Bob has subscribed to Alice; Carol, too, with a body."""
    graph = Graph(["example.test"])
    graph.add_person(Person(ALICE, "alice@example.test", "alice"))
    graph.add_person(Person(BOB, "bob@example.test", "bob"))
    graph.add_person(Person(CAROL, "carol@far.test", None))
    graph.add_follow(Follow(BOB, ALICE, Mode.PUBSUB, 1))
    graph.add_follow(Follow(CAROL, ALICE, Mode.PUBSUB_BODY, 1))
    return graph


def rendering(graph: Graph, known: dict[int, Post] | None = None) -> Rendering:
    addresses = Addresses("relay.test", "home", graph)
    return Rendering(graph, addresses, "3p0c4s", known=(known or {}).get)


def shown(made: Rendering, entry: Post, person: int, **variant: bool) -> Element:
    return parsed(made.stanza(entry, person, **{"store": False, "held": False} | variant))


def item_of(message: Element) -> Element:
    items = message.find(f"{EVENT}event/{EVENT}items")
    assert items is not None
    assert items.get("node") == "urn:xmpp:microblog:0"
    [item] = items
    return item


def links(item: Element) -> dict[str | None, str | None]:
    return {each.get("rel"): each.get("href") for each in item.iter(f"{ATOM}link")}


def body_of(message: Element) -> str | None:
    return message.findtext(f"{{{COMPONENT}}}body")


def test_a_subscriber_gets_the_entry_from_the_authors_address(graph: Graph) -> None:
    message = shown(rendering(graph), post(lang="de"), BOB)
    assert message.attrib == {
        "from": "alice@relay.test",
        "to": "bob@example.test",
        "type": "headline",
        "id": "k3f.3p0c4s",
        "{http://www.w3.org/XML/1998/namespace}lang": "de",
    }
    item = item_of(message)
    assert item.attrib == {"id": "k3f.3p0c4s", "publisher": "alice@relay.test"}
    assert item.findtext(f"{ATOM}entry/{ATOM}content") == "hello"
    assert item.findtext(f"{ATOM}entry/{ATOM}id") == "xmpp:relay.test?;node=k3f.3p0c4s"
    assert links(item) == {
        "alternate": f"xmpp:alice@relay.test?;node={NODE};item=k3f.3p0c4s",
        "replies": f"xmpp:alice@relay.test?;node={NODE}%3Acomments%2Fk3f.3p0c4s",
    }
    assert body_of(message) is None


def test_a_body_comes_for_who_wants_one_and_with_what_is_for_him(graph: Graph) -> None:
    made = rendering(graph)
    assert body_of(shown(made, post(), CAROL)) == "hello"
    for_bob = replace(post("@bob hello"), targets=(BOB,))
    message = shown(made, for_bob, BOB)
    assert (body_of(message), message.get("type")) == ("@bob hello", "chat")
    assert message.find("{urn:xmpp:hints}no-store") is None
    assert item_of(message).findtext(f"{ATOM}entry/{ATOM}content") == "@bob hello"


def test_no_stanza_is_larger_than_every_server_takes(graph: Graph) -> None:
    """A long text is there once: in the event, with its title as the body; or in the body alone."""
    made, text = rendering(graph), "\N{GRINNING FACE}" * 1_999 + "!"
    both = made.stanza(post(text), CAROL, store=False, held=True)
    assert len(both) <= 10_000
    assert body_of(parsed(both)) == title_of(text)
    assert item_of(parsed(both)).findtext(f"{ATOM}entry/{ATOM}content") == text
    for_bob = replace(post(text), mentions=(BOB,), item="i" * 200, parent=7, targets=(BOB,))
    personal = made.stanza(for_bob, BOB, store=False, held=True)
    assert len(personal) <= 10_000
    assert body_of(parsed(personal)) == text
    assert parsed(personal).get("type") == "chat"
    assert len(made.stanza(for_bob, CAROL, store=False, held=True)) <= 10_200


def test_a_server_keeps_it_where_nobody_knows_whether_he_is_there(graph: Graph) -> None:
    made = rendering(graph)
    assert shown(made, post(), BOB, store=True).get("type") == "normal"
    graph.set_wishes(BOB, Wishes(delivery=Delivery.HEADLINE))
    assert shown(made, post(), BOB).get("type") == "headline"
    graph.set_wishes(BOB, Wishes(archive=True))
    assert shown(made, post(), BOB).get("type") == "normal"


def test_an_edit_is_the_item_again_and_a_deletion_takes_it_back(graph: Graph) -> None:
    made = rendering(graph)
    original = replace(post("new words"), edits=1, item="mine")
    edit = Post(99, ALICE, "new words", None, CREATED + timedelta(minutes=1), Kind.EDIT, edits=1)
    message = shown(made, replace(edit, original=original), BOB)
    assert message.get("id") == "k3f.3p0c4s.e1"
    item = item_of(message)
    assert item.get("id") == "mine"
    assert item.findtext(f"{ATOM}entry/{ATOM}published") == "2026-03-01T12:30:15.999Z"
    assert item.findtext(f"{ATOM}entry/{ATOM}updated") == "2026-03-01T12:31:15.999Z"
    gone = replace(edit, kind=Kind.DELETE, original=replace(original, deleted=True))
    message = shown(made, gone, BOB)
    assert message.get("id") == "k3f.3p0c4s.d"
    retract = item_of(message)
    assert (retract.tag, retract.attrib) == (f"{EVENT}retract", {"id": "mine"})


def test_a_reply_says_what_it_answers_and_a_boost_whom_it_repeats(graph: Graph) -> None:
    parent = replace(post(number=7), author=BOB, item="tea")
    reply = replace(post("@bob yes"), targets=(BOB,), parent=7)
    for known, item in (({7: parent}, "tea"), ({}, "7.3p0c4s")):
        answered = item_of(shown(rendering(graph, known), reply, CAROL)).find(
            f"{ATOM}entry/{THREAD}in-reply-to"
        )
        assert answered is not None
        assert answered.get("href") == f"xmpp:bob@relay.test?;node={NODE};item={item}"
    boost = Post(8, ALICE, "", None, CREATED, Kind.BOOST, original=parent)
    item = item_of(shown(rendering(graph), boost, CAROL))
    assert item.get("id") == "8.3p0c4s"
    assert item.get("publisher") == "alice@relay.test"
    assert item.findtext(f"{ATOM}entry/{ATOM}author/{ATOM}uri") == "xmpp:bob@relay.test"
    assert links(item)["via"] == f"xmpp:bob@relay.test?;node={NODE};item=tea"


def test_a_direct_message_is_no_event(graph: Graph) -> None:
    letter = replace(post("psst"), kind=Kind.DIRECT, targets=(BOB,))
    made = rendering(graph)
    made.devices = lambda _person: ["phone"]
    message = shown(made, letter, BOB)
    assert message.find(f"{EVENT}event") is None
    assert body_of(message) == "psst"


def test_devices_that_want_events_get_them_besides(graph: Graph) -> None:
    made = rendering(graph)
    made.devices = lambda person: ["a & b", "c"] if person in (BOB, CAROL) else []
    graph.add_follow(Follow(CAROL, ALICE, Mode.AUTHOR, 1))
    stanzas = made.stanza(post(), CAROL, store=False, held=False)
    chat, *copies = list(parsed(b"<m>" + stanzas + b"</m>"))
    assert (chat.get("to"), body_of(chat)) == ("carol@far.test", "hello")
    assert [each.get("to") for each in copies] == ["carol@far.test/a & b", "carol@far.test/c"]
    for each in copies:
        assert (each.get("id"), each.get("type")) == ("k3f.3p0c4s.n", "headline")
        assert each.get("from") == "alice@relay.test"
        assert item_of(each).get("id") == "k3f.3p0c4s"
        assert body_of(each) is None
    subscriber = parsed(b"<m>" + made.stanza(post(), BOB, store=False, held=False) + b"</m>")
    assert len(subscriber) == 1, "whoever has subscribed has it already"


def test_an_event_is_serialised_once_for_all_who_get_it(graph: Graph) -> None:
    people = range(10, 110)
    for person in people:
        graph.add_person(Person(person, f"f{person}@example.test", None))
        graph.add_follow(Follow(person, ALICE, Mode.PUBSUB, 1))
    counted = CountedPost(7, ALICE, "hello", None, CREATED)
    made = rendering(graph)
    stanzas = [made.stanza(counted, person, store=False, held=False) for person in people]
    assert [parsed(each).get("to") for each in stanzas] == [f"f{p}@example.test" for p in people]
    assert len(counted.reads) == 1
