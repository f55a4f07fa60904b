"""A feed as Atom (RFC 4287) and as RSS 2.0, as bytes: by feedgen, with what that lacks beside it.

Nothing is decided here: whoever makes a `Feed` has chosen what is in it, and for whom. Whatever
text it has, the bytes are well-formed XML, and the same feed gives the same bytes: no time of
rendering is in them, so that their hash tells whether something has changed.

feedgen writes all that it does well. What it does not stands in `_FeedMended` and `_EntryMended`:

* It forgets the `rel` and the `type` of an entry's links (1.0.0 asks the new element for them, not
  what it was given), so that an enclosure would be a second page of the entry.
* It has no language and no `thr:in-reply-to` for an entry (RFC 4685), and no author in RSS without
  an email address: that is `dc:creator`.
* In RSS it has one link of the feed, itself; the next page (RFC 5005) and the hub (WebSub) are
  Atom's links there, too.
* It changes the locale of the whole process for each date in RSS. That is done once a feed, by the
  loop's own thread, where it is not to be avoided.
"""

import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from html import escape
from typing import Any, Final
from urllib.parse import urlsplit

from feedgen.ext.base import BaseEntryExtension, BaseExtension
from feedgen.feed import FeedGenerator
from lxml.etree import SubElement

from xmpprelay.core.marked import Sort, pieces
from xmpprelay.core.text import clean, clean_line

ATOM: Final = "application/atom+xml"
RSS: Final = "application/rss+xml"

_ATOM: Final = "http://www.w3.org/2005/Atom"
_DUBLIN_CORE: Final = "http://purl.org/dc/elements/1.1/"
_THREAD: Final = "http://purl.org/syndication/thread/1.0"
_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"

_UNKNOWN_TYPE: Final = "application/octet-stream"

_NOTHING: Final = "…"
"""In place of a title or a name that has nothing to show: a feed must have them."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who has written something."""

    name: str  # for people
    uri: str  # his page, or his address


@dataclass(frozen=True, slots=True)
class Answered:
    """What an entry answers (RFC 4685 §3)."""

    id: str
    page: str = ""  # empty: it has none


@dataclass(frozen=True, slots=True)
class Entry:
    """A post in a feed."""

    id: str  # an IRI, the same for ever
    title: str
    text: str  # plain, of several lines maybe
    author: Author
    published: datetime  # aware
    updated: datetime  # aware
    language: str | None = None  # a well-formed tag
    page: str = ""  # empty: it has none
    answers: Answered | None = None
    tags: tuple[str, ...] = ()
    enclosures: tuple[str, ...] = ()  # addresses


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed, or a page of it (RFC 5005 §3)."""

    id: str  # an IRI; all pages of a feed have the same
    title: str
    subtitle: str
    updated: datetime  # aware
    page: str  # where people see the same
    at: str  # where this document is
    first: str  # where the feed's first document is
    entries: Sequence[Entry]  # the newest first
    author: Author | None = None  # of all of it
    next: str = ""  # where older ones are; empty: there are none
    hub: str = ""  # a WebSub hub that knows it; empty: none


def atom(feed: Feed) -> bytes:
    """A feed as an Atom document."""
    made = _made(feed, ATOM)
    for relation, where in _relations(feed):
        made.link(href=where, rel=relation)
    for entry in feed.entries:
        added = _add(made, entry)
        added.published(entry.published)
        added.content(clean(entry.text), type="text")
    written: bytes = made.atom_str()
    return written


def rss(feed: Feed) -> bytes:
    """A feed as an RSS document; texts are HTML there, all of it escaped but what we add."""
    made = _made(feed, RSS)
    for entry in feed.entries:
        _add(made, entry).description(_html(clean(entry.text)))
    written: bytes = made.rss_str()
    return written


def _made(feed: Feed, kind: str) -> Any:
    made = FeedGenerator()
    made.register_extension("mended", _FeedMended, _EntryMended)
    made.mended.feed = feed
    made.generator("xmpprelay")
    made.docs("https://www.rssboard.org/rss-specification")
    made.id(feed.id)
    made.title(_line(feed.title))
    made.subtitle(_line(feed.subtitle))
    made.updated(feed.updated)
    if feed.author is not None:
        made.author(name=_line(feed.author.name), uri=feed.author.uri)
    made.link(href=feed.at, rel="self", type=kind)
    made.link(href=feed.page, rel="alternate", type="text/html")  # RSS takes the last one
    return made


def _add(made: Any, entry: Entry) -> Any:
    added = made.add_entry(order="append")
    added.mended.entry = entry
    added.id(entry.id)
    added.title(_line(entry.title))
    added.updated(entry.updated)
    added.author(name=_line(entry.author.name), uri=entry.author.uri)
    if entry.tags:
        added.category([{"term": tag} for tag in entry.tags])
    return added


def _relations(feed: Feed) -> Sequence[tuple[str, str]]:
    """The links of a feed besides itself and its page."""
    found = [("first", feed.first)] if feed.first != feed.at or feed.next else []
    found += [("next", feed.next)] if feed.next else []
    found += [("hub", feed.hub)] if feed.hub else []
    return found


# --- What feedgen lacks --------------------------------------------------------------------------


class _FeedMended(BaseExtension):
    """The links of an RSS feed."""

    feed: Feed

    def extend_ns(self) -> Mapping[str, str]:
        """The prefixes that are used, for both kinds of feeds."""
        return {"thr": _THREAD, "dc": _DUBLIN_CORE}

    def extend_rss(self, root: Any) -> Any:
        """Add them to the channel."""
        for relation, where in _relations(self.feed):
            SubElement(root[0], f"{{{_ATOM}}}link", rel=relation, href=where)
        return root


class _EntryMended(BaseEntryExtension):
    """What an entry has besides what feedgen writes."""

    entry: Entry

    def extend_atom(self, element: Any) -> Any:
        """Add language, links and what it answers. feedgen's elements are in no namespace."""
        entry = self.entry
        if entry.language is not None:
            element.set(_LANG, entry.language)
        if entry.page:
            SubElement(element, "link", rel="alternate", type="text/html", href=entry.page)
        for address in entry.enclosures:
            link = SubElement(element, "link", rel="enclosure", href=clean_line(address))
            if kind := media_type(address):
                link.set("type", kind)
        if entry.answers is not None:
            answered = SubElement(element, f"{{{_THREAD}}}in-reply-to", ref=entry.answers.id)
            if entry.answers.page:
                answered.set("href", entry.answers.page)
                answered.set("type", "text/html")
        return element

    def extend_rss(self, element: Any) -> Any:
        """Add its page, its author, its date and what is enclosed: RSS has room for one."""
        entry = self.entry
        if entry.page:
            SubElement(element, "link").text = entry.page
        creator = SubElement(element, f"{{{_DUBLIN_CORE}}}creator")
        creator.text = _line(entry.author.name)
        SubElement(element, "pubDate").text = format_datetime(entry.published)
        for address in entry.enclosures[:1]:
            kind = media_type(address) or _UNKNOWN_TYPE
            url = clean_line(address)
            SubElement(element, "enclosure", url=url, type=kind, length="0")  # nobody knows
        return element


def _line(text: str) -> str:
    return clean_line(text) or _NOTHING


@lru_cache(maxsize=1024)
def media_type(address: str) -> str:
    """The media type that the ending of an address tells; empty: it tells none, or is broken."""
    try:
        path = urlsplit(address).path
    except ValueError:
        return ""
    return mimetypes.guess_type(path)[0] or ""


def _html(text: str) -> str:
    """A text as HTML, with links to the addresses in it."""
    written = []
    for piece in pieces(text):
        plain = escape(piece.text)
        if piece.sort is Sort.LINK:
            plain = f'<a href="{plain}" rel="nofollow ugc">{plain}</a>'
        written.append(plain)
    return "".join(written).replace("\n", "<br />\n")
