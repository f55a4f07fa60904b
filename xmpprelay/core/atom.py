"""A post as an Atom entry, and the addresses in one: pure, for whatever outlet shows posts as Atom.

The text is in `content`, all of it, and its first line is the `title`, which every entry must have;
both are plain text. Whoever wrote it is named and has his address as an `xmpp:` URI. What the entry
answers is named as RFC 4685 has it. Nothing goes in that XML forbids.

RFC 4287, RFC 4685, RFC 5122, XEP-0277, XEP-0472
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.text import clean, clean_line

ATOM: Final = "http://www.w3.org/2005/Atom"
THREAD: Final = "http://purl.org/syndication/thread/1.0"
_XML: Final = "http://www.w3.org/XML/1998/namespace"

_OF_A_RELAY: Final = re.compile(r"xmpp:[^?]+\?;node=([0-9a-z]+\.[0-9a-z]+)")

TITLE_CHARS: Final = 80
"""A title is no longer; a guess at what one line of a reader shows."""


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


def entry_element(entry: Entry) -> Element:
    """The <entry/> of a post."""
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


def jid_uri(jid: str) -> str:
    """The URI of a bare JID (RFC 5122 §2.2)."""
    return f"xmpp:{quote(clean_line(jid), safe='@')}"


def item_uri(service: str, node: str, item: str) -> str:
    """The URI of an item at a pubsub service (XEP-0060 §12.22)."""
    return (
        f"{jid_uri(service)}?;node={quote(clean(node), safe='')};item={quote(clean(item), safe='')}"
    )


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


def _add(parent: Element, name: str, text: str | None = None, **attributes: str) -> Element:
    element = SubElement(parent, f"{{{ATOM}}}{name}", attributes)
    element.text = text
    return element
