"""core/atom.py under any post there is: what is written as an entry reads as it was."""

from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.properties.test_text import ANY_TEXT
from xmpprelay.core.atom import ATOM, THREAD, Entry, entry_element, item_uri, read_entry
from xmpprelay.core.html import XHTML
from xmpprelay.core.text import check_length, clean, is_blank, language_tag, tags_in
from xmpprelay.errors import BadEntry, BadRequest

NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)

WORDS = st.sampled_from(
    ("#tea", "#Tea_", "#_", "#ﬁn", "#İ", "x#y", "##a", "https://a.test/#tea", "&#38;", "#12", "]]>")
)
POSTS = (
    st.lists(ANY_TEXT | WORDS, min_size=1, max_size=8)
    .map(lambda parts: clean(" ".join(parts)).strip())
    .filter(lambda text: not is_blank(text))
)
"""Any text that may be posted, long ones too."""

TAGS = st.sampled_from(("de", "en-GB", "zh-Hant-TW", "de-CH-1996", "x"))
LANGUAGES = st.none() | TAGS.filter(language_tag)
ADDRESSES = st.builds(
    item_uri, st.just("alice@relay.test"), ANY_TEXT.map(clean), ANY_TEXT.map(clean)
)
FILES = st.lists(
    st.text("abc/&'\"%#é", max_size=9).map("https://a.test/{}".format), max_size=4, unique=True
)


def through_xml(element: Element) -> Element:
    """What somebody else reads of what was written."""
    return fromstring(tostring(element, encoding="utf-8"))


@given(POSTS, LANGUAGES, st.none() | ADDRESSES)
@example("yes #hot_ #Hot", "de", "xmpp:relay.test?;node=k3f.zzzzzz")
@example("two\nlines\n\tand more", None, None)
def test_a_post_that_is_written_reads_as_it_was(
    text: str, language: str | None, parent: str | None
) -> None:
    entry = Entry(
        *("urn:x:1", text, "alice", "alice@relay.test", NOON),
        language=language,
        in_reply_to=parent,
    )
    said = read_entry(through_xml(entry_element(entry)))
    assert said.text == text
    assert tags_in(said.text) == tags_in(text)
    assert said.language == language
    assert said.in_reply_to == (() if parent is None else (parent,))
    assert (said.id, said.published, said.updated) == ("urn:x:1", NOON, NOON)


@given(POSTS, FILES)
def test_what_was_completed_once_is_complete(text: str, files: list[str]) -> None:
    def read(text: str, files: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        entry = Entry("urn:x:1", text, "alice", "alice@relay.test", NOON, enclosures=files)
        said = read_entry(through_xml(entry_element(entry)))
        return said.text, said.enclosures

    once = read(text, tuple(files))
    assert once[0].startswith(text)
    assert once[1] == tuple(files)
    assert all(file in once[0] for file in files)
    assert read(*once) == once


@given(POSTS, st.lists(ANY_TEXT | WORDS.map(lambda word: word.lstrip("#")), max_size=6))
def test_the_tags_of_an_entry_are_in_the_post_once(text: str, terms: list[str]) -> None:
    root = Element(f"{{{ATOM}}}entry")
    SubElement(root, f"{{{ATOM}}}title").text = text
    for term in terms:
        SubElement(root, f"{{{ATOM}}}category", term=clean(term))
    said = read_entry(through_xml(root)).text
    assert said.startswith(text)
    added = said.removeprefix(text).split()
    assert all(tags_in(word) == [word.removeprefix("#")] for word in added)
    known = [tag.casefold() for tag in (*tags_in(text), *(word[1:] for word in added))]
    assert len(set(known)) == len(known)


@given(POSTS)
def test_xhtml_says_the_same_words_and_plain_text_comes_before_it(text: str) -> None:
    """White space flows there."""
    root = Element(f"{{{ATOM}}}entry")
    content = SubElement(root, f"{{{ATOM}}}content", type="xhtml")
    SubElement(content, f"{{{XHTML}}}p").text = text
    assert read_entry(through_xml(root)).text.split() == text.split()
    plain = SubElement(root, f"{{{ATOM}}}content", type="text")
    plain.text = "\n".join(text.split())
    assert read_entry(through_xml(root)).text == plain.text


@given(st.text(max_size=40) | ANY_TEXT, st.sampled_from(("text", "html", "xhtml", "image/png", "")))
@example(" x\n ", "text")
@example(" ", "")
def test_whatever_there_is_beside_a_title_it_is_a_text(text: str, kind: str) -> None:
    entry = fromstring(
        f"<entry xmlns='{ATOM}' xmlns:t='{THREAD}' xml:lang={quoteattr(clean(text))}>"
        f"<t:in-reply-to ref={quoteattr(clean(text))}/>"
        f"<title>Tea</title><content type='{kind}'/></entry>"
    )
    entry[-1].text = clean(text)
    said = read_entry(entry)
    assert said.text == clean(said.text).strip()
    assert not is_blank(said.text)
    assert said.language is None or language_tag(said.language)
    assert all(said.in_reply_to)


@pytest.mark.parametrize("text", ["", " \u200b "])
def test_only_what_may_be_posted_is_read(text: str) -> None:
    root = Element(f"{{{ATOM}}}entry")
    SubElement(root, f"{{{ATOM}}}title").text = text
    with pytest.raises(BadEntry):
        read_entry(root)
    with pytest.raises(BadRequest):
        check_length(text)
