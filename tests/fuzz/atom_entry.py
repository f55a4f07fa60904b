"""A fuzz target: whatever somebody publishes as an Atom entry.

    python -m tests.fuzz.atom_entry CORPUS-FOLDER -max_total_time=600

An input is a byte that says how to read the rest: as the bytes of what is published, as the HTML or
the XHTML in an entry, or as the choices that make an entry out of what entries are made of. It is
read as the stream's parser reads it, in the <iq/> that brings it; what is no XML, or nested deeper
than the door allows, comes no further in the relay either. For each entry:

- it is a text, the same each time, or refused with a sentence of no great length;
- the text is clean and shows something; it may be posted, or is too long and nothing else;
- what comes with it is well formed, within its limits, and stands in the text;
- written as an entry and read again, it says the same.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError, XMLPullParser, fromstring, tostring
from xml.sax.saxutils import escape, quoteattr

import atheris

with atheris.instrument_imports(include=["xmpprelay"]):
    from xmpprelay.core.atom import (
        ATOM,
        MAX_ANSWERED,
        MAX_ENCLOSURES,
        THREAD,
        Entry,
        Said,
        entry_element,
        read_entry,
    )
    from xmpprelay.core.html import XHTML
    from xmpprelay.core.text import check_length, clean, is_blank, language_tag
    from xmpprelay.errors import RelayError, TooLong
    from xmpprelay.xmpp.stanzas import COMPONENT, MAX_DEPTH, depth_exceeds

PUBSUB: Final = "http://jabber.org/protocol/pubsub"
NOON: Final = datetime(2024, 5, 17, 12, tzinfo=UTC)
MOST_SAID: Final = 400

TEXTS: Final = (
    "Tea?", "", " ", "one\ntwo", "#tag", "Tea #hot", "\u200d", "a\u202eb", "\u2028", "\ufeff",
    "green tea", "x y!", "12", "_", "\U0001f3f4", "\u0915\u094d\u200d", "https://a.test/tea.png",
    "http://a.test/", "https://a.test/two words", "javascript:x", "mailto:a@b.test", "&amp;lt;b>",
    "xmpp:alice@relay.test?;node=urn%3Axmpp%3Amicroblog%3A0;item=k3f.zzzzzz", "tag:a.test,2024:1",
    "xmpp:relay.test?;node=k3f.zzzzzz", "de", "de-AT", "!", "x" * 60, "words " * 400, "text",
    "2024-05-17T12:00:00Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "soon",
    "text/plain", "xhtml", "html", "XHTML ", "image/png", "enclosure", "alternate", "via",
    "#hot_", "_x", "related",
)  # fmt: skip
TAGS: Final = (
    *((name, ATOM) for name in ("title", "content", "summary", "category", "link", "id", "entry")),
    *((name, ATOM) for name in ("published", "updated", "author", "name", "uri", "source", "x")),
    ("in-reply-to", THREAD),
    *(
        (name, XHTML)
        for name in ("div", "p", "br", "a", "img", "pre", "li", "script", "b", "title")
    ),
)
ATTRIBUTES: Final = (
    "type", "term", "rel", "href", "ref", "src", "alt", "xml:lang", "scheme", "title",
)  # fmt: skip

SEEDS: Final = (
    "<title>Tea?</title>",
    "<title>Tea</title><content type='text'>More tea</content>",
    f"<content type='xhtml'><div xmlns='{XHTML}'><p>one</p><p>two <a href='https://a.test'>b</a></p>"
    "</div></content><content type='text'>one two</content>",
    "<title type='html'>A &lt;b>bold&lt;/b> &amp;amp; &lt;img src='https://a.test/i'></title>",
    "<title>Tea</title><category term='hot'/><category term='green tea'/>"
    "<link rel='enclosure' href='https://a.test/tea.png'/>",
    "<title>Yes</title><t:in-reply-to ref='tag:a.test:0' href='xmpp:b@a.test?;node=n;item=i'/>",
    "<id>tag:a.test,2024:1</id><published>2024-05-17T12:00:00Z</published><title>Tea</title>",
    "<content src='https://a.test/x'/><title> </title>",
    "<title>" + "<b>" * 70 + "deep" + "</b>" * 70 + "</title>",
)
"""Where the fuzzer begins."""
HTML_SEEDS: Final = (
    "<p>one</p>\n<pre>a\n  b</pre>",
    "<a href=https://a.test>a<a href=mailto:b>b</a></a>",
    "<script>x</script>&amp;&#x202e;&nbsp;<img alt=x src=https://a.test/i.png>",
    "<!-- <p> --><![CDATA[x]]>",
)


class Broken(AssertionError):
    """What the fuzzer looks for."""


# --- An input ------------------------------------------------------------------------------------


def entry_of(data: bytes) -> bytes:
    """What an input stands for."""
    begin = f"<entry xmlns='{ATOM}' xmlns:t='{THREAD}'>"
    kind, rest = data[0] % 8, data[1:]
    if kind == 0:
        return rest
    if kind == 1:
        return begin.encode() + rest + b"</entry>"
    if kind == 2:
        html = escape(rest.decode("utf-8", "replace"))
        return f"{begin}<content type='html'>{html}</content></entry>".encode()
    if kind == 3:
        there = f"{begin}<content type='xhtml'><div xmlns='{XHTML}'>".encode()
        return there + rest + b"</div></content></entry>"
    given = atheris.FuzzedDataProvider(rest)
    inside = "".join(_element(given, 3) for _ in range(1 + given.ConsumeIntInRange(0, 6)))
    language = quoteattr(_text(given))
    return f"{begin[:-1]} xml:lang={language}>{inside}</entry>".encode()


def _element(given: Any, depth: int) -> str:
    name, namespace = TAGS[given.ConsumeIntInRange(0, len(TAGS) - 1)]
    chosen = {
        ATTRIBUTES[given.ConsumeIntInRange(0, len(ATTRIBUTES) - 1)]
        for _ in range(given.ConsumeIntInRange(0, 3))
    }
    attributes = "".join(f" {key}={quoteattr(_text(given))}" for key in sorted(chosen))
    inside = escape(_text(given))
    if depth and given.remaining_bytes():
        for _ in range(given.ConsumeIntInRange(0, 3)):
            inside += _element(given, depth - 1) + escape(_text(given))
    return f"<{name} xmlns='{namespace}'{attributes}>{inside}</{name}>"


def _text(given: Any) -> str:
    """One of the known texts, or any that XML allows."""
    if given.ConsumeIntInRange(0, 3):
        return TEXTS[given.ConsumeIntInRange(0, len(TEXTS) - 1)]
    raw = given.ConsumeUnicodeNoSurrogates(given.ConsumeIntInRange(0, 40))
    return "".join(c for c in raw if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff"))


def published(xml: bytes) -> Element | None:
    """The first thing in the item, as it comes to the relay; None: it does not."""
    parser = XMLPullParser(("start", "end"))
    try:
        parser.feed(f"<s xmlns='{COMPONENT}'><iq><pubsub xmlns='{PUBSUB}'><publish><item>".encode())
        parser.feed(xml)
        parser.feed(b"</item></publish></pubsub></iq></s>")
        stream = [each for _, each in parser.read_events()][-1]  # type: ignore[misc]
    except (ParseError, ValueError):
        return None
    if len(stream) != 1 or depth_exceeds(stream[0], MAX_DEPTH):
        return None
    item = stream.find(f"./*/*/*/{{{PUBSUB}}}item")
    return None if item is None or not len(item) else item[0]


# --- What must be so -----------------------------------------------------------------------------


def takes(data: bytes) -> None:
    """One input."""
    entry = published(entry_of(data)) if data else None
    if entry is None:
        return
    try:
        said = read_entry(entry, "en")
    except RelayError as refused:
        if not refused.sentence or len(refused.sentence) > MOST_SAID:
            raise Broken(f"it is told: {refused.sentence!r}") from None
        return
    if read_entry(entry, "en") != said:
        raise Broken("read twice, it says two things")
    _check_text(said.text)
    _check_rest(said)
    _check_again(said)


def _check_text(text: str) -> None:
    if text != clean(text) or text != text.strip() or is_blank(text):
        raise Broken(f"the text is {text!r}")
    try:
        check_length(text)
    except TooLong:
        return


def _check_rest(said: Said) -> None:
    if said.language is not None and language_tag(said.language) != said.language:
        raise Broken(f"the language is {said.language!r}")
    if len(said.in_reply_to) > MAX_ANSWERED or not all(said.in_reply_to):
        raise Broken(f"it answers {said.in_reply_to}")
    if len(said.enclosures) > MAX_ENCLOSURES:
        raise Broken(f"with it come {said.enclosures}")
    for address in said.enclosures:
        if address != clean(address) or address not in said.text or len(address.split()) != 1:
            raise Broken(f"{address!r} comes with it")
    for time in (said.published, said.updated):
        if time is not None and time.tzinfo is not UTC:
            raise Broken(f"a time is {time!r}")


def _check_again(said: Said) -> None:
    told = Entry(
        *("urn:x:1", said.text, "alice", "alice@relay.test", said.published or NOON),
        updated=said.updated,
        language=said.language,
        in_reply_to=next(iter(said.in_reply_to), None),
        enclosures=said.enclosures,
    )
    again = read_entry(fromstring(tostring(entry_element(told), encoding="utf-8")))
    if (again.text, again.language, again.enclosures) != (
        said.text,
        said.language,
        said.enclosures,
    ):
        raise Broken(f"{said} reads again as {again}")


def write_seeds(folder: Path) -> None:
    """The inputs that the fuzzer begins with."""
    for number, seed in enumerate(SEEDS):
        (folder / f"entry-{number}").write_bytes(b"\x01" + seed.encode())
    for number, seed in enumerate(HTML_SEEDS):
        (folder / f"html-{number}").write_bytes(b"\x02" + seed.encode())
    for number in range(8):
        (folder / f"choices-{number}").write_bytes(bytes([4, *range(number, 240, number + 1)]))


def main() -> None:
    """Fuzz as the arguments say (libFuzzer's); ends the process. An empty corpus gets seeds."""
    for folder in (Path(each) for each in sys.argv[1:] if not each.startswith("-")):
        if folder.is_dir() and not any(folder.iterdir()):
            write_seeds(folder)
    atheris.Setup(sys.argv, takes)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
