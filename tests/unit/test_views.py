"""What pages show of a text: where each piece leads to, and to nobody who is not on the web."""

from datetime import UTC, datetime

import pytest

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Kind, Person, Post
from xmpprelay.core.places import Places
from xmpprelay.core.profile import Profile
from xmpprelay.core.profile import Shown as Picture
from xmpprelay.items import Item
from xmpprelay.web.views import Views

ALICE, BOB, PIA = 1, 2, 3
NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
BASE = "https://relay.test/x"


class Shows:
    """What people show of themselves: Alice a name and a picture."""

    def of(self, person: int) -> Profile:
        picture = Picture("abcdef0123456789", 10, 10, 100)
        return Profile("Alice A.", picture=picture) if person == ALICE else Profile()


@pytest.fixture
def views() -> Views:
    graph = Graph(["example.test"])
    for person, name in ((ALICE, "alice"), (BOB, "bob"), (PIA, "pia")):
        graph.add_person(Person(person, f"{name}@example.test", name))
    return Views(
        graph,
        Shows(),  # type: ignore[arg-type]
        Places(BASE),
        "relay.test",
        lambda person: person != PIA,
        lambda: NOW,
    )


def test_links_lead_where_they_say_and_names_to_pages_that_there_are(views: Views) -> None:
    text = "see https://a.test/?x=<b>, @bob @pia @nobody #tea!"
    shown = [(each.text, each.href, each.foreign) for each in views.text(text)]
    assert shown == [
        ("see ", "", False),
        ("https://a.test/?x=", "https://a.test/?x=", True),
        ("<b>, ", "", False),
        ("@bob", f"{BASE}/@bob", False),
        (" ", "", False),
        ("@pia", "", False),
        (" ", "", False),
        ("@nobody", "", False),
        (" ", "", False),
        ("#tea", f"{BASE}/tag/tea.atom", False),
        ("!", "", False),
    ]


def test_an_author_has_his_name_address_and_picture(views: Views) -> None:
    alice = views.author(Person(ALICE, "alice@example.test", "alice"))
    assert (alice.name, alice.jid) == ("Alice A.", "alice@relay.test")
    assert alice.picture == f"{BASE}/@alice/picture.png?abcdef012345"
    bob = views.author(Person(BOB, "bob@example.test", "bob"))
    assert (bob.name, bob.picture) == ("bob", "")


def test_a_boost_shows_the_post_and_who_boosts_it(views: Views) -> None:
    post = Post(0x4C6F, BOB, "hello", "de", NOW)
    boost = Post(19568, ALICE, "", None, NOW, Kind.BOOST, original=post)
    view = views.post(Item(boost))
    assert (view.name, view.author.handle) == ("k3f", "bob")
    assert view.page == f"{BASE}/@bob/{view.name}"
    assert view.booster is not None
    assert view.booster.handle == "alice"
    assert (view.language, view.age, view.updated) == ("de", "now", "")


def test_what_a_post_answers_is_named_with_its_page(views: Views) -> None:
    parent, reply = Post(1, BOB, "tea?", None, NOW), Post(2, ALICE, "@bob yes", None, NOW)
    view = views.post(Item(reply, NOW), parent)
    assert view.answers is not None
    assert (view.answers.page, view.answers.author.handle) == (f"{BASE}/@bob/1", "bob")
    assert view.updated == "2026-03-01 12:30 UTC"
    assert views.post(Item(reply)).answers is None
