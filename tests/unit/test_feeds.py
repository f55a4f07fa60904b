"""Feeds as bytes: valid whatever people post, read by an independent reader; and what is paced."""

import html
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.feed_reader import (
    ATOM,
    CREATOR,
    THREAD,
    checked_atom,
    checked_rss,
    read,
)
from tests.properties.test_text import ANY_TEXT
from xmpprelay.core.atom import title_of
from xmpprelay.core.paced import Paced
from xmpprelay.core.text import clean
from xmpprelay.syndication import Answered, Author, Entry, Feed, atom, rss

AT: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ANN: Final = Author("Ann", "https://relay.test/@ann")

NASTY: Final = (
    "plain",
    "\x00\x01\x08\x0b\x1f control \x7f\x85 characters",
    "half a pair: \ud83d, and none at all: \ufffe\uffff",
    "]]>",
    "<![CDATA[ x ]]>",
    "<script>alert(1)</script>",
    "&amp; &lt; &#0; &nope; &",
    "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e 'x'>]>&e;",
    "-- <!-- comment -->",
    "evil \u202etxet sdrawkcab\u202c \u2066isolated\u2069",
    "אבג \u200fabc\u200e",
    "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 e\u0301 ﷽ \U0010fffd",
    "two\nlines\r\nand\u2028more\u2029\n\nand a last one",
    "   spaces around and tabs\t\t",
    "https://example.org/?a=1&b=<2>\"' and javascript:alert(1)",
    'https://example.org/"onmouseover="alert(1)',
    "\u200b\u2060x",
    "#tea #tée #茶 #a_b &#38;#x26;",
    "x" * 2000,
    "]]>" * 600,
    "&" * 2000,
    "\U0001f600" * 2000,
)


def entry(text: str, number: int = 1, **more: object) -> Entry:
    made = Entry(f"xmpp:relay.test?;node={number}.abcdef", title_of(text), text, ANN, AT, AT)
    return replace(made, **more)  # type: ignore[arg-type]


def feed(*entries: Entry, **more: object) -> Feed:
    first = "https://relay.test/@ann.atom"
    title, page = "Ann", "https://relay.test/@ann"
    made = Feed("urn:uuid:1", title, "What Ann posts.", AT, page, first, first, entries)
    return replace(made, **more)  # type: ignore[arg-type]


def plain(written: str) -> str:
    """HTML as a browser would show it; its only markup is what we make."""
    text = re.sub(r'<a href="[^"<>]*" rel="nofollow ugc">([^<>]*)</a>', r"\1", written)
    text = text.replace("<br />\n", "\n")
    assert "<" not in text
    return html.unescape(text)


def guessed(text: str) -> str:
    """As feedparser gives it: what could be UTF-8 that was read as Latin-1 it reads again."""
    try:
        return text.encode("iso-8859-1").decode()
    except UnicodeError:
        return text


def check_text(text: str) -> None:
    """Both kinds of feeds give back what it was."""
    made = feed(entry(text))
    root = checked_atom(atom(made))
    assert root.findtext(f"{ATOM}entry/{ATOM}content") == clean(text)
    assert root.findtext(f"{ATOM}entry/{ATOM}title")
    [found] = read(atom(made)).entries
    assert found.id == made.entries[0].id
    assert found.content[0].type == "text/plain"
    assert found.content[0].value == guessed(clean(text).strip())
    root = checked_rss(rss(made))
    assert plain(root.findtext("channel/item/description") or "") == clean(text)
    [found] = read(rss(made)).entries
    assert found.id == made.entries[0].id


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_whatever_is_posted_is_read_back(text: str) -> None:
    check_text(text)


@given(ANY_TEXT)
def test_any_text_is_read_back(text: str) -> None:
    check_text(text)


@given(st.text(max_size=50), st.text(max_size=50), st.text(max_size=100))
def test_any_name_and_title_make_a_valid_feed(name: str, title: str, note: str) -> None:
    author = Author(name, "https://relay.test/@ann")
    shown = replace(entry("tea", author=author), title=title)
    made = feed(shown, title=title, subtitle=note, author=author)
    checked_atom(atom(made))
    checked_rss(rss(made))


def test_a_link_is_to_the_web_and_says_what_it_is() -> None:
    text = "see https://example.org/a?b=1&c=2, or javascript:alert(1) <b>"
    root = checked_rss(rss(feed(entry(text))))
    written = root.findtext("channel/item/description") or ""
    assert re.findall(r"<a [^>]*>", written) == [
        '<a href="https://example.org/a?b=1&amp;c=2" rel="nofollow ugc">'
    ]


def test_an_entry_has_all_that_is_known_of_it() -> None:
    made = entry(
        "tea #tea https://example.org/cup.png",
        language="de",
        page="https://relay.test/@ann/1",
        answers=Answered("xmpp:relay.test?;node=0.abcdef", "https://relay.test/@bob/0"),
        tags=("tea",),
        enclosures=("https://example.org/cup.png", "https://example.org/unknown"),
        updated=AT + timedelta(minutes=1),
    )
    root = checked_atom(atom(feed(made)))
    [found] = root.iter(f"{ATOM}entry")
    assert found.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"
    links = [(each.get("rel"), each.get("href")) for each in found.iter(f"{ATOM}link")]
    assert links == [
        ("alternate", "https://relay.test/@ann/1"),
        ("enclosure", "https://example.org/cup.png"),
        ("enclosure", "https://example.org/unknown"),
    ]
    [answered] = found.iter(f"{THREAD}in-reply-to")
    assert answered.get("ref") == "xmpp:relay.test?;node=0.abcdef"
    assert answered.get("href") == "https://relay.test/@bob/0"
    [by_reader] = read(atom(feed(made))).entries
    assert by_reader.link == "https://relay.test/@ann/1"
    assert [each.term for each in by_reader.tags] == ["tea"]
    assert by_reader.published_parsed[:5] == (2026, 3, 1, 12, 0)
    assert by_reader.updated_parsed[:5] == (2026, 3, 1, 12, 1)
    assert by_reader.author == "Ann"


@pytest.mark.parametrize("address", ["https://[", "https://a]b/c.png", "https://[x.png"])
def test_a_broken_address_of_an_enclosure_breaks_no_feed(address: str) -> None:
    made = feed(entry(f"see {address}", enclosures=(address,)))
    root = checked_atom(atom(made))
    [enclosure] = root.findall(f"{ATOM}entry/{ATOM}link[@rel='enclosure']")
    assert enclosure.get("href") == address
    checked_rss(rss(made))


def test_rss_has_as_much_of_it_as_it_can() -> None:
    made = entry(
        "tea",
        page="https://relay.test/@ann/1",
        tags=("tea",),
        enclosures=("https://example.org/cup.png", "https://example.org/two"),
    )
    root = checked_rss(rss(feed(made)))
    [item] = root.iter("item")
    assert item.findtext(CREATOR) == "Ann"
    assert item.findtext("link") == "https://relay.test/@ann/1"
    assert item.findtext("pubDate") == "Sun, 01 Mar 2026 12:00:00 +0000"
    assert item.findtext("category") == "tea"
    [enclosure] = item.iter("enclosure")
    assert dict(enclosure.attrib) == {
        "url": "https://example.org/cup.png", "type": "image/png", "length": "0"
    }  # fmt: skip
    assert item.find("guid").get("isPermaLink") == "false"


def test_a_feed_names_its_pages_and_its_hub() -> None:
    older = "https://relay.test/@ann.atom?before=k3"
    made = feed(entry("tea"), next=older, hub="https://hub.test/")
    for body, path in ((atom(made), f"{ATOM}link"), (rss(made), f"channel/{ATOM}link")):
        links = {each.get("rel"): each.get("href") for each in read_links(body, path)}
        assert links["next"] == older
        assert links["hub"] == "https://hub.test/"
        assert links["self"] == links["first"] == "https://relay.test/@ann.atom"
    assert read(rss(made)).feed.link == "https://relay.test/@ann"


def read_links(body: bytes, path: str) -> list[object]:
    root = checked_atom(body) if path.startswith(ATOM) else checked_rss(body)
    return list(root.iterfind(path))


def test_the_same_feed_is_the_same_bytes_at_any_time() -> None:
    """So that nobody is sent again what he has, nor a hub told of nothing."""
    made = feed(entry("tea"), entry("more", 2))
    assert atom(made) == atom(made)
    assert rss(made) == rss(made)
    year = str(datetime.now(UTC).year).encode()
    assert year == b"2026" or year not in atom(made) + rss(made)


def test_an_empty_feed_is_valid() -> None:
    checked_atom(atom(feed()))
    checked_rss(rss(feed()))


class TestPaced:
    def test_a_thing_is_done_at_once_and_then_after_its_pause(self) -> None:
        paced: Paced[str] = Paced(10.0, 5)
        assert paced.ask("a", 0.0)
        assert paced.take(0.0) == "a"
        assert paced.take(0.0) is None
        for at in (1.0, 2.0, 9.0):
            assert paced.ask("a", at)
        assert paced.next_s() == 10.0
        assert paced.take(9.9) is None
        assert paced.take(10.0) == "a"
        assert paced.next_s() is None
        paced.ask("a", 30.0)
        assert paced.take(30.0) == "a"

    def test_others_are_not_held_up(self) -> None:
        paced: Paced[str] = Paced(10.0, 5)
        paced.ask("a", 0.0)
        assert paced.take(0.0) == "a"
        paced.ask("a", 1.0)
        paced.ask("b", 2.0)
        assert paced.take(2.0) == "b"

    def test_no_more_wait_than_there_is_room_for(self) -> None:
        paced: Paced[int] = Paced(10.0, 3)
        assert [paced.ask(each, 0.0) for each in range(5)] == [True, True, True, False, False]
        assert paced.ask(1, 0.0)
        assert [paced.take(99.0) for _ in range(4)] == [0, 1, 2, None]

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5))))
    def test_what_was_asked_for_is_done_after_it_and_never_too_often(
        self, asked: list[tuple[int, int]]
    ) -> None:
        paced: Paced[int] = Paced(7.0, 100)
        now, last_asked, done = 0.0, dict[int, float](), list[tuple[int, float]]()

        def run(until: float) -> None:
            while (due := paced.next_s()) is not None and due <= until:
                thing = paced.take(due)
                assert thing is not None
                done.append((thing, due))

        for thing, after in asked:
            now += after
            run(now)
            paced.ask(thing, now)
            last_asked[thing] = now
        run(now + 100)
        for thing, at in last_asked.items():
            times = [when for each, when in done if each == thing]
            assert times[-1] >= at
            assert all(b - a >= 7.0 for a, b in pairwise(times))
