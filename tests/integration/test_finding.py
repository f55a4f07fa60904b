"""Who posts here: the directory in pages (XEP-0030, XEP-0059), and the search (XEP-0055)."""

from typing import Any, Final
from xml.sax.saxutils import escape

import pytest

from tests.integration.clients import Person, Stanza
from tests.integration.world import World
from xmpprelay.core.model import Person as Known

RSM: Final = "http://jabber.org/protocol/rsm"
ITEMS: Final = "http://jabber.org/protocol/disco#items"
SEARCH: Final = "jabber:iq:search"
FORM: Final = "jabber:x:data"


def page(**asked: Any) -> str:
    inside = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in asked.items())
    return f"<query xmlns='{ITEMS}'><set xmlns='{RSM}'>{inside}</set></query>"


def jids(answer: Stanza) -> list[str]:
    return [item.get("jid", "") for item in answer.xml.iter(f"{{{ITEMS}}}item")]


def told(answer: Stanza) -> tuple[str | None, str | None, str | None, str | None]:
    """Of the page: its first and last entry, how many there are, and the first one's index."""
    found = answer.xml.find(f".//{{{RSM}}}set")
    assert found is not None, answer
    first = found.find(f"{{{RSM}}}first")
    return (
        None if first is None else first.text,
        found.findtext(f"{{{RSM}}}last"),
        found.findtext(f"{{{RSM}}}count"),
        None if first is None else first.get("index"),
    )


@pytest.fixture
async def reader(world: World) -> Person:
    """Somebody to whom 250 authors are to be listed: a000 to a249."""
    [reader] = await world.people("reader")
    for number in range(250):
        known = Known(10_000 + number, f"p{number}@example.test", f"a{number:03}")
        world.service.graph.add_person(known)
    return reader


def authors(reader: Person, first: int, last: int) -> list[str]:
    return [reader.author(f"a{number:03}") for number in range(first, last)]


async def test_without_paging_it_is_the_first_hundred_and_says_so(reader: Person) -> None:
    answer = await reader.asks(reader.relay, f"<query xmlns='{ITEMS}'/>")
    listed = [reader.home, *authors(reader, 0, 99)]
    assert jids(answer) == listed
    assert told(answer) == (listed[0], listed[-1], "251", "0")


async def test_pages_follow_each_other_and_have_everybody_once(reader: Person) -> None:
    everybody, last = [], None
    for _ in range(10):
        asked = {"max": 60} if last is None else {"max": 60, "after": last}
        answer = await reader.asks(reader.relay, page(**asked))
        if not jids(answer):
            break
        assert told(answer)[3] == str(len(everybody))
        everybody += jids(answer)
        last = told(answer)[1]
    assert everybody == [reader.home, *authors(reader, 0, 250)]
    assert told(answer) == (None, None, "251", None)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ({"max": 10, "before": ""}, 240, 250),
        ({"max": 10, "before": "a100@"}, 90, 100),
        ({"max": 10, "after": "a0995@"}, 100, 110),  # of nobody: the page begins where he would be
        ({"max": 10, "index": 101}, 100, 110),
        ({"max": 1_000_000, "after": "a000@"}, 1, 101),
        ({"max": 10, "index": 9999}, 0, 0),
        ({"max": 0}, 0, 0),
        ({"max": 10, "after": "zzz@"}, 0, 0),
    ],
)
async def test_a_page_is_before_after_or_at_something(
    reader: Person, asked: dict[str, Any], first: int, last: int
) -> None:
    named = {
        name: value + reader.relay if str(value).endswith("@") else value
        for name, value in asked.items()
    }
    answer = await reader.asks(reader.relay, page(**named))
    assert jids(answer) == authors(reader, first, last)
    assert told(answer)[2] == "251"


async def test_the_first_page_goes_back_to_home(reader: Person) -> None:
    answer = await reader.asks(reader.relay, page(max=5, before=reader.author("a002")))
    assert jids(answer) == [reader.home, *authors(reader, 0, 2)]
    answer = await reader.asks(reader.relay, page(max=2, after=reader.home))
    assert jids(answer) == authors(reader, 0, 2)
    assert jids(await reader.asks(reader.relay, page(max=2, before=reader.home))) == []


async def test_nonsense_is_refused(reader: Person) -> None:
    for nonsense in ({"max": -1}, {"max": "many"}, {"after": "x", "before": "y"}):
        answer = await reader.asks(reader.relay, page(**nonsense))
        assert answer.condition == "bad-request"
        assert answer.text


async def test_who_asks_without_end_has_to_wait(reader: Person) -> None:
    conditions = set()
    for _ in range(60):
        conditions.add((await reader.asks(reader.relay, page(max=1))).condition)
    assert conditions == {None, "policy-violation"}


# The search


def nick(words: str) -> str:
    return f"<query xmlns='{SEARCH}'><nick>{escape(words)}</nick></query>"


def filled(words: str) -> str:
    return (
        f"<query xmlns='{SEARCH}'><x xmlns='{FORM}' type='submit'>"
        f"<field var='FORM_TYPE'><value>{SEARCH}</value></field>"
        f"<field var='nick'><value>{escape(words)}</value></field></x></query>"
    )


async def test_the_form_says_what_can_be_searched_for(world: World) -> None:
    [bob] = await world.people("bob")
    query = (await bob.asks(bob.relay, f"<query xmlns='{SEARCH}'/>")).xml[0]
    assert query.find(f"{{{SEARCH}}}nick") is not None
    form = query.find(f"{{{FORM}}}x")
    assert form is not None
    assert [field.get("var") for field in form.iter(f"{{{FORM}}}field")] == ["FORM_TYPE", "nick"]
    for elsewhere in (bob.home,):
        for payload, kind in ((f"<query xmlns='{SEARCH}'/>", "get"), (nick("x"), "set")):
            answer = await bob.asks(elsewhere, payload, kind)
            assert answer.condition == "service-unavailable"


async def test_people_are_found_by_handle_and_name(world: World) -> None:
    alice, bob, carol = await world.authors("alice", "bob", "carol")
    await alice.says('profile name "Alice Liddell &amp; Co"')
    await carol.says("protect on")
    found = (await bob.asks(bob.relay, nick("LIDD  ali"), "set")).xml[0]
    assert [(item.get("jid"), item[0].text) for item in found] == [
        (bob.author("alice"), "Alice Liddell &amp; Co")
    ]
    found = (await bob.asks(bob.relay, nick("car"), "set")).xml[0]
    assert [(item.get("jid"), item[0].text) for item in found] == [(bob.author("carol"), "carol")]
    assert len((await bob.asks(bob.relay, nick("nobody"), "set")).xml[0]) == 0

    form = (await bob.asks(bob.relay, filled("liddell"), "set")).xml[0][0]
    rows = [
        {field.get("var"): field[0].text for field in item}
        for item in form.findall(f"{{{FORM}}}item")
    ]
    assert rows == [{"nick": "Alice Liddell &amp; Co", "jid": bob.author("alice")}]
    reported = form.find(f"{{{FORM}}}reported")
    assert reported is not None
    assert [field.get("var") for field in reported] == ["nick", "jid"]


async def test_an_empty_search_is_refused_and_a_long_one_answered(world: World) -> None:
    [alice] = await world.authors("alice")
    for nothing in (nick("  "), f"<query xmlns='{SEARCH}'><last>x</last></query>", filled("")):
        assert (await alice.asks(alice.relay, nothing, "set")).condition == "bad-request"
    answer = await alice.asks(alice.relay, nick("alice " * 5000), "set")
    assert [item.get("jid") for item in answer.xml[0]] == [alice.author("alice")]


async def test_who_is_hidden_is_neither_listed_nor_found(world: World) -> None:
    alice, bob, carol = await world.authors("alice", "bob", "carol")
    await alice.says(f"block {bob.jid}")
    for who, seen in ((bob, False), (carol, True)):
        listed = jids(await who.asks(who.relay, page(max=10)))
        assert (who.author("alice") in listed) is seen
        found = (await who.asks(who.relay, nick("alice"), "set")).xml[0]
        assert (len(found) == 1) is seen
    count = told(await bob.asks(bob.relay, page(max=0)))[2]
    assert count == "3", "home, bob, carol"
