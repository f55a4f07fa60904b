"""A post as an Atom entry (core/atom.py), read back by the standard library's parser."""

from datetime import UTC, datetime, timedelta, timezone
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xmpprelay.core.atom import (
    TITLE_CHARS,
    Entry,
    atom_id,
    entry_element,
    item_uri,
    jid_uri,
    name_in,
    parse_item_uri,
    read_entry,
    rfc3339,
    title_of,
)
from xmpprelay.core.text import clean
from xmpprelay.errors import BadEntry

NAMES = {"a": "http://www.w3.org/2005/Atom", "thr": "http://purl.org/syndication/thread/1.0"}
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
NOON = datetime(2024, 5, 17, 12, 0, 0, 123_456, tzinfo=UTC)
TEA = Entry("xmpp:relay.test?;node=k3f", "Tea?", "alice", "alice@example.test", NOON)


def read(entry: Entry) -> ElementTree.Element:
    """What somebody else's parser makes of the bytes of an entry."""
    return ElementTree.fromstring(ElementTree.tostring(entry_element(entry), encoding="utf-8"))


def test_an_entry_has_what_every_entry_must_have() -> None:
    entry = read(TEA)
    assert entry.tag == "{http://www.w3.org/2005/Atom}entry"
    assert entry.findtext("a:id", namespaces=NAMES) == "xmpp:relay.test?;node=k3f"
    assert entry.findtext("a:title", namespaces=NAMES) == "Tea?"
    assert entry.findtext("a:content", namespaces=NAMES) == "Tea?"
    assert entry.findtext("a:published", namespaces=NAMES) == "2024-05-17T12:00:00.123Z"
    assert entry.findtext("a:updated", namespaces=NAMES) == "2024-05-17T12:00:00.123Z"
    assert entry.findtext("a:author/a:name", namespaces=NAMES) == "alice"
    assert entry.findtext("a:author/a:uri", namespaces=NAMES) == "xmpp:alice@example.test"


def test_what_is_not_known_is_left_out() -> None:
    entry = read(TEA)
    assert entry.get(LANGUAGE) is None
    assert entry.find("a:link", NAMES) is None
    assert entry.find("thr:in-reply-to", NAMES) is None


def test_an_edited_answer_in_a_language_tells_all_of_it() -> None:
    link, parent = item_uri("pubsub.test", "blog", "k3g"), item_uri("pubsub.test", "blog", "k3f")
    entry = read(
        Entry(
            *("xmpp:relay.test?;node=k3g", "Ja!", "bob", "bob@example.test", NOON),
            updated=NOON + timedelta(hours=1),
            language="de-AT",
            link=link,
            in_reply_to=parent,
        )
    )
    assert entry.get(LANGUAGE) == "de-AT"
    assert entry.findtext("a:updated", namespaces=NAMES) == "2024-05-17T13:00:00.123Z"
    links = [each.attrib for each in entry.findall("a:link", NAMES)]
    assert links == [{"rel": "alternate", "href": "xmpp:pubsub.test?;node=blog;item=k3g"}]
    answered = [each.attrib for each in entry.findall("thr:in-reply-to", NAMES)]
    assert answered == [{"ref": parent, "href": parent}]


anything = st.text() | st.text(st.characters(codec=None))  # lone surrogates and controls as well


@given(text=anything, name=anything, jid=anything)
@example(text="a\r\nb\x00\ud800\ufffe", name="\x1b[31m", jid="\x0b")
@example(text="]]> &amp; <b>", name="<a>", jid="a&b@example.test")
def test_any_text_comes_back_as_the_relay_would_send_it(text: str, name: str, jid: str) -> None:
    entry = read(Entry("urn:x:1", text, name, jid, NOON))
    assert (entry.findtext("a:content", namespaces=NAMES) or "") == clean(text)


@given(text=anything)
@example(text=f"{'word ' * 40}")
@example(text="x" * (TITLE_CHARS + 1))
@example(text="\n \n\u2003\nat last")
def test_a_title_is_one_short_line_from_the_beginning_of_the_text(text: str) -> None:
    title = title_of(text)
    assert len(title) <= TITLE_CHARS
    assert "\n" not in title
    flat = " ".join(clean(text).split())
    # Marks of direction are no part of a title, which is a name.
    flat = " ".join(flat.replace("\u200e", "").replace("\u200f", "").replace("\u061c", "").split())
    assert flat.startswith(title.removesuffix("…"))
    assert title or not flat


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("\n\n  Tea?  \nOr coffee?", "Tea?"),
        (f"{'x' * 70} {'y' * 20}", f"{'x' * 70}…"),
        ("z" * 81, f"{'z' * 79}…"),
        ("z" * 80, "z" * 80),
        (" \n ", ""),
    ],
)
def test_titles(text: str, title: str) -> None:
    assert title_of(text) == title


def test_addresses_are_escaped_as_their_specifications_say() -> None:
    assert jid_uri("nasty!#$&@example.test") == "xmpp:nasty%21%23%24%26@example.test"
    assert jid_uri("jürgen@exämple.test") == "xmpp:j%C3%BCrgen@ex%C3%A4mple.test"
    assert (
        item_uri("pubsub.test", "urn:xmpp:microblog:0", "a;b=c")
        == "xmpp:pubsub.test?;node=urn%3Axmpp%3Amicroblog%3A0;item=a%3Bb%3Dc"
    )


times = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - hypothesis wants them without a zone
    max_value=datetime(9998, 1, 1),  # noqa: DTZ001
    timezones=st.timedeltas(timedelta(hours=-14), timedelta(hours=14)).map(timezone),
)


@given(times, times)
def test_times_are_the_same_moment_and_in_order_as_text(one: datetime, other: datetime) -> None:
    assert abs(datetime.fromisoformat(rfc3339(one)) - one) < timedelta(milliseconds=1)
    assert len(rfc3339(one)) == len("2024-05-17T12:00:00.123Z")
    if abs(one - other) >= timedelta(milliseconds=1):
        assert (rfc3339(one) < rfc3339(other)) == (one < other)


def test_the_id_of_a_post_names_its_relay_and_its_number() -> None:
    assert atom_id("relay.test", "k3f.ab12cd") == "xmpp:relay.test?;node=k3f.ab12cd"
    assert name_in("xmpp:relay.test?;node=k3f.ab12cd") == "k3f.ab12cd"
    for other in (
        "tag:relay.test,2026:k3f.ab12cd",
        "xmpp:relay.test?;node=k3f",
        "xmpp:relay.test?;node=k3f.ab12cd;item=1",
        "xmpp:?;node=k3f.ab12cd",
        "",
    ):
        assert name_in(other) is None


# --- Reading --------------------------------------------------------------------------------------


def entry(inside: str, **attributes: str) -> ElementTree.Element:
    """An entry that somebody has published."""
    written = "".join(f" {name.replace('_', ':')}='{value}'" for name, value in attributes.items())
    return ElementTree.fromstring(
        f"<entry xmlns='{NAMES['a']}' xmlns:thr='{NAMES['thr']}'{written}>{inside}</entry>"
    )


XHTML = "<div xmlns='http://www.w3.org/1999/xhtml'>{}</div>"


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        ("<title>Tea</title>", "Tea"),
        ("<title>Tea</title><content>More tea</content>", "More tea"),
        ("<title>Tea</title><content type='text'> </content>", "Tea"),
        ("<title>Tea</title><content type='image/png'>iVBOR</content>", "Tea"),
        ("<title>Tea</title><content src='https://a.test/x' type='text'>x</content>", "Tea"),
        ("<title>Tea</title><summary>Short</summary>", "Tea"),
        (f"<content type='xhtml'>{XHTML.format('<p>Rich</p>')}</content>", "Rich"),
        (
            f"<content type='xhtml'>{XHTML.format('<p>Two <b>lines</b></p>')}</content>"
            "<content type='text'>Two\nlines</content>",
            "Two\nlines",
        ),
        (
            f"<content type='xhtml'>{XHTML.format('<p>one</p><p>two</p>')}</content>"
            "<content type='text'>onetwo</content>",
            "one\n\ntwo",
        ),
        (
            "<title type='text'>see this</title><title type='html'>"
            "see &lt;a href='https://a.test'>this&lt;/a></title>",
            "see this (https://a.test)",
        ),
        ("<title type='html'>A &lt;b>bold&lt;/b> &amp;amp; more</title>", "A bold & more"),
        (f"<title type='xhtml'>{XHTML.format('hi <b>you</b>, all')}</title>", "hi you, all"),
        ("<title>a\u202eb\u0007c</title>".replace("\u0007", ""), "abc"),
    ],
    ids=range(13),
)
def test_the_text_is_the_content_else_the_title(inside: str, text: str) -> None:
    assert read_entry(entry(inside)).text == text


@pytest.mark.parametrize(
    ("xhtml", "text"),
    [
        ("<p>one</p>\n   <p>two\n   words</p>", "one\n\ntwo words"),
        ("one<br/>two", "one\ntwo"),
        ("<ul><li>a</li><li>b</li></ul>", "a\n\nb"),
        ("see <a href='https://a.test/x'>this</a>!", "see this (https://a.test/x)!"),
        ("see <a href='https://a.test/x'>https://a.test/x</a>", "see https://a.test/x"),
        ("see <a href='javascript:alert(1)'>this</a>", "see this"),
        ("<img src='https://a.test/i.png' alt='a cat'/>", "a cat https://a.test/i.png"),
        ("<script>alert(1)</script>quiet", "quiet"),
        ("<pre>a\n  b</pre>", "a\n b"),
    ],
    ids=range(9),
)
def test_xhtml_becomes_what_a_browser_would_show_with_its_links(xhtml: str, text: str) -> None:
    found = read_entry(entry(f"<content type='xhtml'>{XHTML.format(xhtml)}</content>"))
    assert found.text == text


def test_tags_and_what_is_enclosed_are_in_the_text_once() -> None:
    inside = (
        "<title>Tea #Hot</title><category term='hot'/><category term='green tea'/>"
        "<category term='12'/><category term='x y!'/>"
        "<link rel='enclosure' href='https://a.test/tea.png'/>"
        "<link rel='enclosure' href='http://a.test/plain.png'/>"
        "<link rel='enclosure' href='https://a.test/two words'/>"
    )
    found = read_entry(entry(inside))
    assert found.text == "Tea #Hot #green_tea #x_y\nhttps://a.test/tea.png"
    assert found.enclosures == ("https://a.test/tea.png",)
    told = entry_element(
        Entry("urn:x", found.text, "alice", "alice@a.test", NOON, enclosures=found.enclosures)
    )
    assert read_entry(told).text == found.text


def test_language_thread_id_and_times_are_read() -> None:
    found = read_entry(
        entry(
            "<id>tag:a.test,2024:1</id><title>Tea</title>"
            "<published>2024-05-17T14:00:00+02:00</published><updated>soon</updated>"
            "<thr:in-reply-to ref='tag:a.test,2024:0'/>"
            "<thr:in-reply-to ref='tag:a.test,2024:0' href='xmpp:b@a.test?;node=n;item=i'/>",
            xml_lang="de",
        ),
        language="en",
    )
    assert found.language == "de"
    assert found.in_reply_to == ("xmpp:b@a.test?;node=n;item=i", "tag:a.test,2024:0")
    assert found.id == "tag:a.test,2024:1"
    assert found.published == datetime(2024, 5, 17, 12, tzinfo=UTC)
    assert found.updated is None
    assert read_entry(entry("<title>Tea</title>"), language="en").language == "en"
    assert read_entry(entry("<title>Tea</title>"), language="!").language is None


@pytest.mark.parametrize(
    "element",
    [
        entry(""),
        entry("<title> \u200b </title>"),
        entry("<title/><content type='xhtml'/>"),
        ElementTree.fromstring(f"<feed xmlns='{NAMES['a']}'><title>Tea</title></feed>"),
        ElementTree.fromstring("<entry><title>Tea</title></entry>"),
    ],
    ids=["nothing", "blank", "empty", "feed", "no namespace"],
)
def test_what_has_no_text_is_no_post(element: ElementTree.Element) -> None:
    with pytest.raises(BadEntry) as refused:
        read_entry(element)
    assert refused.value.condition == "bad-request"
    assert refused.value.specific == "{http://jabber.org/protocol/pubsub#errors}invalid-payload"


def test_the_uri_of_an_item_is_read_as_it_is_written() -> None:
    uri = item_uri("alice@relay.test", "urn:xmpp:microblog:0", "a;b%/é")
    assert parse_item_uri(uri) == ("alice@relay.test", "urn:xmpp:microblog:0", "a;b%/é")
    for other in ("xmpp:alice@relay.test", "https://a.test/?;node=a;item=b", "xmpp:a?;node=b", ""):
        assert parse_item_uri(other) is None
