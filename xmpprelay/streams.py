"""What is in a feed: an author's posts, those with a tag, somebody's own stream, what names him.

Every post goes through the audience function at the moment at which the feed is made (S6.2): of a
public feed for somebody whom nobody knows, of somebody's own for himself, as his own stream, so
that what he follows, blocks, mutes and has chosen counts (S18.3). A public feed has nothing in it
of anybody who is not on the web, not even by another's boost.

A feed comes in pages, the newest posts first; each names the number below which the next one goes
on (RFC 5005 §3). A page is bounded by how many posts it has, how long it is, and how far is looked
for it; what was looked at in vain is skipped by the next one, so that pages reach everything.

No time of making is in a feed: the same posts are the same feed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import Connection

from xmpprelay.core.atom import atom_id, jid_uri, title_of
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import CHANGES, Kind, Person, Post
from xmpprelay.core.routing import Outlet, decide, may_read
from xmpprelay.core.text import message_id, short_id, tags_in
from xmpprelay.errors import StoreError, TryLater
from xmpprelay.feeds import ANYBODY, Feeds
from xmpprelay.items import Item, Items, Span
from xmpprelay.profiles import Profiles
from xmpprelay.reading import has_tag
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.feeds import naming_below, tagged_between
from xmpprelay.syndication import Answered, Author, Entry, Feed

T = TypeVar("T")

SHOWN: Final = 50
"""Posts on a page at most."""

_SPAN: Final = 1_000
"""Numbers that are looked at in one question to the database: others have their turn between."""

_WIDER: Final = 4
"""So much wider is the next look into somebody's stream, where one has found too little."""

_LOOKS: Final = 20
"""And so many looks for one page."""

_NOTHING_YET: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""When a feed without posts was changed last."""

Look = Callable[[Connection, int, int], tuple[list[Post], int]]
"""Gives posts below a number, the newest first, and from which one on it has looked; the last
argument counts the looks for this page, from 0. From 1 on: there is nothing below."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a feed is, whatever is in it."""

    subject: str  # what tells it from all others of this relay, and stays the same for ever
    title: str
    subtitle: str
    page: str  # where people see the same
    first: str  # where it is
    author: Author | None = None


class Streams:
    """Makes feeds. `domain` is the relay's own."""

    def __init__(
        self,
        db: Database,
        graph: Graph,
        items: Items,
        profiles: Profiles,
        feeds: Feeds,
        *,
        domain: str,
        hub: str = "",
    ) -> None:
        self._db = db
        self._graph = graph
        self._items = items
        self._profiles = profiles
        self._feeds = feeds
        self._places = feeds.places
        self._domain = domain
        self._hub = hub

    # The feeds

    async def of_author(
        self,
        author: Person,
        kind: str = "atom",
        *,
        replies: bool = False,
        before: int | None = None,
        note: str = "",
    ) -> Feed:
        """An author's public posts, as Atom or RSS, with his replies to others or without them.

        Whether he has such a feed is asked before. Raises TryLater, as all of these.
        """

        def fits(post: Post) -> bool:
            return self._feeds.shows(post) and (replies or not _answers_others(post))

        page = await self._items.of_author(ANYBODY, author, Span(SHOWN, before=before), fits)
        handle, writer = author.handle or "", self._author(author.id)
        first = self._places.feed(handle, kind)
        if replies:
            first = self._places.feed_with_replies(handle)
        subject = f"author/{author.id}" + ("/with-replies" if replies else "")
        said = f"What {writer.name} posts in public" + (", and replies." if replies else ".")
        head = Head(subject, _named(writer.name, handle), said, writer.uri, first, writer)
        return await self._feed(head, ANYBODY, page.items[::-1], before, page.upto, note)

    async def of_tag(self, tag: str, *, before: int | None = None, note: str = "") -> Feed:
        """What all public authors post with a tag."""
        fits = has_tag(tag)

        def look(conn: Connection, below: int, _: int) -> tuple[list[Post], int]:
            first = max(1, below - _SPAN)
            return tagged_between(conn, first, below - 1), first

        def allowed(post: Post) -> bool:
            shown = fits(post.text) and self._feeds.shows(post)
            return shown and may_read(self._graph, post, ANYBODY)

        posts, upto = await self._collect(look, allowed, before)
        said = f"What is posted in public with #{tag} on {self._domain}."
        places = self._places
        head = Head(f"tag/{tag}", f"#{tag}", said, places.front, places.tag(tag))
        items = await self._items.dated(posts)
        return await self._feed(head, ANYBODY, items, before, upto, note)

    async def home(
        self, reader: Person, secret: str, kind: str, *, before: int | None = None, note: str = ""
    ) -> Feed:
        """Somebody's own stream: those whom he follows, and what names him."""

        def look(conn: Connection, below: int, nth: int) -> tuple[list[Post], int]:
            first, limit = max(1, below - _SPAN * _WIDER**nth), 4 * SHOWN
            rows = queries.candidates_for(conn, reader.id, first, below - 1, limit, newest=True)
            return rows[::-1], first if len(rows) < limit else rows[0].number

        posts, upto = await self._collect(look, self._in_stream_of(reader), before)
        said = "What those post whom you follow. Whoever has this address can read it."
        where = self._places.home(secret, kind)
        head = Head(f"home/{reader.id}", _home(reader), said, self._places.front, where)
        items = await self._items.dated(posts)
        return await self._feed(head, reader.jid, items, before, upto, note)

    async def mentions(
        self, reader: Person, secret: str, *, before: int | None = None, note: str = ""
    ) -> Feed:
        """What answers or names somebody."""

        def look(conn: Connection, below: int, _: int) -> tuple[list[Post], int]:
            rows = naming_below(conn, reader.id, below, 4 * SHOWN)
            return rows, 1 if len(rows) < 4 * SHOWN else rows[-1].number

        posts, upto = await self._collect(look, self._in_stream_of(reader), before)
        said = "What answers or names you. Whoever has this address can read it."
        where = self._places.mentions(secret)
        title = f"{_home(reader)}: mentions"
        head = Head(f"mentions/{reader.id}", title, said, self._places.front, where)
        items = await self._items.dated(posts)
        return await self._feed(head, reader.jid, items, before, upto, note)

    def _in_stream_of(self, reader: Person) -> Callable[[Post], bool]:
        def allowed(post: Post) -> bool:
            if post.kind in CHANGES:
                return False
            return decide(self._graph, post, reader.id, Outlet.TIMELINE).yes

        return allowed

    # Their pages

    async def _collect(
        self, look: Look, allowed: Callable[[Post], bool], before: int | None
    ) -> tuple[list[Post], int | None]:
        """The newest posts that are allowed, and below which number to look on; None: no more."""
        found: list[Post] = []
        below = self._db.next_number if before is None else min(before, self._db.next_number)
        for nth in range(_LOOKS):
            if below <= 1 or len(found) > SHOWN:
                break
            rows, below = await self._look(look, below, nth)
            found += filter(allowed, rows)
        shown = found[:SHOWN]
        if len(shown) < len(found):
            return shown, shown[-1].number
        return shown, below if below > 1 else None

    async def _look(self, look: Look, below: int, nth: int) -> tuple[list[Post], int]:
        return await self._read(lambda conn: look(conn, below, nth))

    async def _feed(
        self,
        head: Head,
        reader: str,
        items: Sequence[Item],
        before: int | None,
        upto: int | None,
        note: str,
    ) -> Feed:
        """A page of a feed; `items` are the newest first."""
        answered = await self._answered(reader, items)
        entries = [self._entry(item, answered) for item in items]
        public = reader == ANYBODY
        return Feed(
            id=self._id(head.subject),
            title=head.title,
            subtitle=f"{head.subtitle} {note}".rstrip(),
            updated=max((entry.updated for entry in entries), default=_NOTHING_YET),
            page=head.page,
            at=head.first if before is None else _below(head.first, before),
            first=head.first,
            entries=entries,
            author=head.author,
            next="" if upto is None else _below(head.first, upto),
            hub=self._hub if public and before is None else "",
        )

    def _id(self, subject: str) -> str:
        """The id of a feed: no handle and no secret is in it, since those change."""
        return uuid5(NAMESPACE_URL, f"xmpp:{self._domain}/{self._db.epoch}/{subject}").urn

    async def _answered(self, reader: str, items: Sequence[Item]) -> dict[int, Post]:
        """What these posts answer, as far as the reader may see it."""
        parents = (item.post.content.parent for item in items)
        found = await self._items.readable(reader, parents)
        if reader != ANYBODY:
            return found
        return {number: post for number, post in found.items() if self._feeds.shows(post)}

    # Their entries

    def _entry(self, item: Item, answered: dict[int, Post]) -> Entry:
        post, shown = item.post, item.post.content
        title = title_of(shown.text)
        if post.kind is Kind.BOOST:
            title = f"@{self._handle(post.author)} boosts @{self._handle(shown.author)}: {title}"
        parent = None if shown.parent is None else answered.get(shown.parent)
        return Entry(
            id=self._atom_id(post),
            title=title,
            text=shown.text,
            author=self._author(shown.author),
            published=post.created,
            updated=max(post.created, item.updated or post.created),
            language=shown.lang,
            page=self._page(shown),
            answers=None if parent is None else Answered(self._atom_id(parent), self._page(parent)),
            tags=tuple(tags_in(shown.text)),
            enclosures=shown.attachments,
        )

    def _atom_id(self, post: Post) -> str:
        return post.atom_id or atom_id(self._domain, message_id(post.number, self._db.epoch))

    def _page(self, post: Post) -> str:
        """The page of a post; empty: whoever wrote it is not on the web."""
        if not self._feeds.shows(post):
            return ""
        return self._places.post(self._handle(post.author), post.number)

    def _author(self, person: int) -> Author:
        handle = self._handle(person)
        name = self._profiles.of(person).name or handle
        if self._feeds.is_public(person):
            return Author(name, self._places.author(handle))
        return Author(name, jid_uri(f"{handle}@{self._domain}"))

    def _handle(self, person: int) -> str:
        return self._graph.person(person).handle or "?"

    async def _read(self, question: Callable[[Connection], T]) -> T:
        try:
            return await self._db.read(question)
        except StoreError as error:
            raise TryLater("The relay cannot read this at the moment. Try later.") from error


def _answers_others(post: Post) -> bool:
    """Whether it is a reply to somebody else (S2.1); a thread with oneself is none."""
    return post.kind is Kind.POST and bool(post.targets) and post.targets[0] != post.author


def _below(address: str, number: int) -> str:
    return f"{address}?before={short_id(number)}"


def _named(name: str, handle: str) -> str:
    return f"@{handle}" if name == handle else f"{name} (@{handle})"


def _home(reader: Person) -> str:
    return f"@{reader.handle}'s stream" if reader.handle else "Your stream"
