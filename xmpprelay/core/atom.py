"""A post as an Atom entry, an entry as a post, and the addresses in one: for every outlet and door.

What is written: the text is in `content`, all of it, and its first line is the `title`, which every
entry must have; both are plain text. Whoever wrote it is named and has his address as an `xmpp:`
URI. What the entry answers is named as RFC 4685 has it. Nothing goes in that XML forbids.

What is read: the text is the `content`, else the `title`, never both. A client that has plain text
and XHTML writes both: the plain one counts if it has the words of the other, since its lines are
those that were typed; else it has lost something, such as the breaks between paragraphs. Tags that
the text does not have are put behind it, and so are the addresses of what is enclosed, since a post
is its text. Who wrote it is not read: whoever publishes it is the author.

RFC 4287, RFC 4685, RFC 5122, XEP-0277, XEP-0472
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final
from urllib.parse import quote, unquote
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.html import html_with_links, xhtml_with_links
from xmpprelay.core.text import clean, clean_line, is_blank, language_tag, tags_in
from xmpprelay.errors import BadEntry

ATOM: Final = "http://www.w3.org/2005/Atom"
THREAD: Final = "http://purl.org/syndication/thread/1.0"
_XML: Final = "http://www.w3.org/XML/1998/namespace"

_OF_A_RELAY: Final = re.compile(r"xmpp:[^?]+\?;node=([0-9a-z]+\.[0-9a-z]+)")

TITLE_CHARS: Final = 80
"""A title is no longer; a guess at what one line of a reader shows."""

MAX_ENTRY_BYTES: Final = 32 * 1024
"""Of an entry that somebody publishes, with its markup."""

MAX_TAGS: Final = 10
"""So many tags of an entry are read, and so many written; a guess."""

MAX_TAG_CHARS: Final = 50
"""Of a tag that is read or written on its own; a longer one is only in the text."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What an Atom entry tells of a post."""

    id: str  # an IRI that stays the same for ever, wherever the post is (RFC 4287 §4.2.6)
    text: str  # plain text
    name: str  # of the author, for people
    jid: str  # the author's bare JID
    published: datetime  # aware
    updated: datetime | None = None  # aware; None: never since
    language: str | None = None  # a well-formed tag
    link: str | None = None  # where it is to be seen
    in_reply_to: str | None = None  # where what it answers is to be seen
    replies: str | None = None  # where answers to it are to be seen
    via: str | None = None  # of what somebody repeats: where it is to be seen
    enclosures: tuple[str, ...] = ()  # addresses of what comes with it


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says by an Atom entry."""

    text: str  # plain, clean, not blank; of any length
    language: str | None = None  # a well-formed tag
    in_reply_to: tuple[str, ...] = ()  # URIs and ids of what it answers, the best first
    enclosures: tuple[str, ...] = ()  # addresses of what comes with it, all in the text
    id: str | None = None
    published: datetime | None = None  # aware
    updated: datetime | None = None  # aware


# --- Writing -------------------------------------------------------------------------------------


def entry_element(entry: Entry, *, tags: bool = True) -> Element:
    """The <entry/> of a post; `tags`: with those of its text as categories, the first of them."""
    root = Element(f"{{{ATOM}}}entry")
    if entry.language is not None:
        root.set(f"{{{_XML}}}lang", clean_line(entry.language))
    _add(root, "id", clean_line(entry.id))
    _add(root, "title", title_of(entry.text), type="text")
    _add(root, "published", rfc3339(entry.published))
    _add(root, "updated", rfc3339(entry.updated or entry.published))
    author = _add(root, "author")
    _add(author, "name", clean_line(entry.name))
    _add(author, "uri", jid_uri(entry.jid))
    if entry.in_reply_to is not None:
        # Where it is serves as its name too: its own id need not be known here.
        where = clean_line(entry.in_reply_to)
        SubElement(root, f"{{{THREAD}}}in-reply-to", ref=where, href=where)
    if entry.link is not None:
        _add(root, "link", rel="alternate", href=clean_line(entry.link))
    if entry.replies is not None:
        _add(root, "link", rel="replies", title="comments", href=clean_line(entry.replies))
    if entry.via is not None:
        _add(root, "link", rel="via", href=clean_line(entry.via))
    for address in entry.enclosures:
        _add(root, "link", rel="enclosure", href=clean_line(address))
    short = (each for each in tags_in(entry.text) if len(each) <= MAX_TAG_CHARS)
    for tag in islice(short, MAX_TAGS) if tags else ():
        _add(root, "category", term=tag)
    _add(root, "content", clean(entry.text), type="text")
    return root


def title_of(text: str) -> str:
    """The first line that shows something, cut at a word where it is longer than a title may be."""
    lines = (clean_line(line) for line in clean(text).split("\n"))
    title = next((line for line in lines if line), "")
    if len(title) <= TITLE_CHARS:
        return title
    begin, _, _ = title[:TITLE_CHARS].rpartition(" ")
    return f"{begin or title[: TITLE_CHARS - 1]}…"


# --- Reading -------------------------------------------------------------------------------------

MAX_ENCLOSURES: Final = 4

MAX_ANSWERED: Final = 8
"""Names of what an entry answers that are looked at."""

_NOT_IN_A_TAG: Final = re.compile(r"\W+")


def read_entry(entry: Element, language: str | None = None) -> Said:
    """What an entry says; `language` is that of what it came in.

    The entry has been read from a stanza, so it is bounded in size and depth. Raises BadEntry: it
    is no Atom entry, or there is no text in it.
    """
    if entry.tag != f"{{{ATOM}}}entry":
        raise BadEntry("This is no Atom entry: publish an <entry/> as RFC 4287 has it.")
    tongue = entry.get(f"{{{_XML}}}lang", language or "")
    found = _best(entry, "content") or _best(entry, "title")
    if found is None:
        raise BadEntry("There is no text in this entry: give it a <content/> or a <title/>.")
    text, own = found
    enclosures = _enclosures(entry)
    return Said(
        text=_completed(text.strip(), list(_tags(entry)), enclosures),
        language=language_tag(own or tongue),
        in_reply_to=tuple(dict.fromkeys(_answered(entry)))[:MAX_ANSWERED],
        enclosures=enclosures,
        id=_line_of(entry, "id"),
        published=_time_of(entry, "published"),
        updated=_time_of(entry, "updated"),
    )


def _best(entry: Element, name: str) -> tuple[str, str | None] | None:
    """The text of the elements of that name, and its own language; None: there is no text."""
    plain = rich = None
    for element in entry.findall(f"{{{ATOM}}}{name}"):
        kind = _type_of(element)
        if (kind not in _PLAIN | _RICH and name == "content") or element.get("src") is not None:
            continue
        said = _text_of(element), element.get(f"{{{_XML}}}lang")
        if is_blank(said[0]):
            continue
        if kind in _RICH:
            rich = rich or said
        else:
            plain = plain or said
    if plain is None or rich is None:
        return plain or rich
    return plain if plain[0].split() == rich[0].split() else rich


_PLAIN: Final = frozenset({"text", "text/plain"})
_RICH: Final = frozenset({"xhtml", "html"})
"""The kinds of content that are text (RFC 4287 §4.1.3.1)."""


def _type_of(element: Element) -> str:
    return element.get("type", "text").strip().lower()


def _text_of(element: Element) -> str:
    match _type_of(element):
        case "xhtml":
            text = xhtml_with_links(element)
        case "html":
            text = html_with_links(element.text or "")
        case _:
            text = "".join(element.itertext())
    return clean(text)


def _completed(text: str, tags: list[str], enclosures: tuple[str, ...]) -> str:
    """The text with the tags and addresses that it does not have itself."""
    there = {tag.casefold() for tag in tags_in(text)}
    missing: dict[str, str] = {}
    for tag in tags:
        if tag.casefold() not in there:
            missing.setdefault(tag.casefold(), f"#{tag}")
    text = " ".join((text, *missing.values()))
    return "\n".join((text, *(each for each in enclosures if each not in text)))


def _tags(entry: Element) -> Iterator[str]:
    for category in entry.findall(f"{{{ATOM}}}category")[:MAX_TAGS]:
        term = clean_line(category.get("term", ""))
        if tags_in(f"#{term}") != [term]:
            term = _NOT_IN_A_TAG.sub("_", term).strip("_")
        if len(term) <= MAX_TAG_CHARS and tags_in(f"#{term}") == [term]:
            yield term


def _enclosures(entry: Element) -> tuple[str, ...]:
    """Addresses of what comes with it: https alone, and nothing in them that ends an address."""
    links = (each for each in entry.findall(f"{{{ATOM}}}link") if each.get("rel") == "enclosure")
    found = (clean(each.get("href", "")).strip() for each in links)
    fit = (each for each in found if each.startswith("https://") and len(each.split()) == 1)
    return tuple(dict.fromkeys(fit))[:MAX_ENCLOSURES]


def _answered(entry: Element) -> Iterator[str]:
    """First where the answered posts are, then what they are called (RFC 4685 §3)."""
    answered = entry.findall(f"{{{THREAD}}}in-reply-to")
    for name in ("href", "ref"):
        yield from filter(None, (each.get(name, "").strip() for each in answered))


def _line_of(entry: Element, name: str) -> str | None:
    return clean_line(entry.findtext(f"{{{ATOM}}}{name}", "")) or None


def _time_of(entry: Element, name: str) -> datetime | None:
    return parse_rfc3339(_line_of(entry, name) or "")


# --- Names and addresses -------------------------------------------------------------------------


def jid_uri(jid: str) -> str:
    """The URI of a bare JID (RFC 5122 §2.2)."""
    return f"xmpp:{quote(clean_line(jid), safe='@')}"


def item_uri(service: str, node: str, item: str) -> str:
    """The URI of an item at a pubsub service (XEP-0060 §12.22)."""
    return (
        f"{jid_uri(service)}?;node={quote(clean(node), safe='')};item={quote(clean(item), safe='')}"
    )


_ITEM: Final = re.compile(r"xmpp:([^?]+)\?;node=([^;]*);item=([^;]*)")


def parse_item_uri(text: str) -> tuple[str, str, str] | None:
    """The service, the node and the item of such a URI; None: it is none."""
    found = _ITEM.fullmatch(text)
    return None if found is None else (unquote(found[1]), unquote(found[2]), unquote(found[3]))


def node_uri(service: str, node: str) -> str:
    """The URI of a node at a pubsub service (XEP-0060 §12.22)."""
    return f"{jid_uri(service)}?;node={quote(clean(node), safe='')}"


def atom_id(domain: str, name: str) -> str:
    """The id of a post of the relay at `domain` whose message id is `name`.

    The same for ever: an author may change his handle, a post never its number (RFC 4287 §4.2.6).
    """
    return f"xmpp:{domain}?;node={name}"


def name_in(text: str) -> str | None:
    """The message id in such an id, of whatever relay it is; None: it is another kind of id."""
    found = _OF_A_RELAY.fullmatch(text)
    return None if found is None else found[1]


def rfc3339(time: datetime) -> str:
    """An aware time in UTC, always to the millisecond: as text they are in order as well."""
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def parse_rfc3339(text: str) -> datetime | None:
    """A time as RFC 3339 writes it, in UTC; None: it is none, or beyond every calendar."""
    try:
        time = datetime.fromisoformat(text)
        return None if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _add(parent: Element, name: str, text: str | None = None, **attributes: str) -> Element:
    element = SubElement(parent, f"{{{ATOM}}}{name}", attributes)
    element.text = text
    return element
