"""Posts as items of nodes: pages of an author's posts, of the answers to one, and single ones.

Every outlet that shows posts in pages reads them here: each goes through the audience function at
the moment at which it is shown (S6.2), whoever asks, known or not; nobody becomes known by reading.

A page is in the order in which the posts were made, the oldest first, however it was asked for. It
is bounded: by how many items it has, by how many characters, and by how far is looked for posts
that the one who asks may see.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import Connection

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import CHANGES, Kind, Person, Post
from xmpprelay.core.routing import may_read
from xmpprelay.core.text import number_in, xml_bytes
from xmpprelay.errors import StoreError, TryLater
from xmpprelay.store import items as rows
from xmpprelay.store import queries
from xmpprelay.store.database import Database

T = TypeVar("T")

Look = Callable[[Connection, int, int], list[Post]]
"""Gives posts on one side of a number, at most so many, those next to it first."""

MAX_ITEMS: Final = 100
"""Items that one page has at most."""

MAX_BYTES: Final = 120_000
"""Bytes of the texts of a page, as they stand in a stanza. Whoever puts more around them, such as
ids, bounds what he writes himself."""

_ASKED: Final = 60
_ROUNDS: Final = 20
"""Posts that are looked at by one question to the database, at least; and so many questions for one
page, where the one who asks may see few of them."""


@dataclass(frozen=True, slots=True)
class Item:
    """A post as an item of a node."""

    post: Post
    updated: datetime | None = None  # when its text was changed last; None: never


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of all posts is wanted; at most one of the two is set.

    Neither: the newest ones, or with `oldest` the first ones.
    """

    limit: int
    after: int | None = None  # a post's number: those behind it, the first of them
    before: int | None = None  # those in front of it, the last of them
    oldest: bool = False

    @property
    def forward(self) -> bool:
        """Whether it is looked for from older posts to newer ones."""
        return self.after is not None or self.oldest


@dataclass(frozen=True, slots=True)
class Page:
    """Items, in the order in which they were made."""

    items: tuple[Item, ...]
    complete: bool  # there are no others, in the direction in which was looked
    upto: int | None = None  # a post's number: where to look on; None: there are no others


class Items:
    """Reads items for whoever asks."""

    def __init__(self, db: Database, graph: Graph) -> None:
        self._db = db
        self._graph = graph

    async def of_author(
        self, jid: str, author: Person, span: Span, fits: Callable[[Post], bool] = lambda _: True
    ) -> Page:
        """A page of an author's posts and boosts, as the bare JID may see them. Raises TryLater.

        Where `fits` is given, of those of which it says yes.
        """

        def below(conn: Connection, number: int, limit: int) -> list[Post]:
            return rows.items_below(conn, author.id, number, limit)

        def above(conn: Connection, number: int, limit: int) -> list[Post]:
            return rows.items_above(conn, author.id, number, limit)

        return await self._page(jid, span, below, above, fits)

    async def answers_to(self, jid: str, post: Post, span: Span) -> Page:
        """A page of the answers to a post, as the bare JID may see them. Raises TryLater."""

        def below(conn: Connection, number: int, limit: int) -> list[Post]:
            return rows.answers_below(conn, post.number, number, limit)

        def above(conn: Connection, number: int, limit: int) -> list[Post]:
            return rows.answers_above(conn, post.number, number, limit)

        return await self._page(jid, span, below, above)

    async def named(self, jid: str, author: Person, names: Sequence[str]) -> list[Item]:
        """Those of an author's posts that are called so, and that the bare JID may see.

        In the order of the names, which are message ids of ours or the author's own; each once,
        however often it is named, and as many as an answer has room for. Raises TryLater.
        """
        found = await self.find(author, names)
        posts = {found[name].number: found[name] for name in names if name in found}
        shown = [each for each in posts.values() if may_read(self._graph, each, jid)]
        return await self._items(_fitting(shown))

    async def answers_named(self, jid: str, post: Post, names: Sequence[str]) -> list[Item]:
        """Those of the answers to a post that are called so by us, as the bare JID may see them.

        Each once, however often it is named.
        """
        epoch = self._db.epoch
        named = (n for name in names if (n := number_in(name, epoch)) is not None)
        numbers = list(dict.fromkeys(named))
        found = {each.number: each for each in await self._read(partial(_posts, numbers))}
        answers = [found[n] for n in numbers if n in found and found[n].parent == post.number]
        shown = [each for each in answers if may_read(self._graph, each, jid)]
        return await self._items(_fitting(shown))

    async def readable(self, jid: str, numbers: Iterable[int | None]) -> dict[int, Post]:
        """The posts of these numbers, by their numbers, that the bare JID may see.

        Raises TryLater.
        """
        wanted = sorted({number for number in numbers if number is not None})
        if not wanted:
            return {}
        found = await self._read(partial(_posts, wanted))
        return {post.number: post for post in found if may_read(self._graph, post, jid)}

    async def numbered(self, jid: str, number: int) -> Item | None:
        """The post or boost of that number, if the bare JID may see it. Raises TryLater."""
        found = await self._read(partial(_posts, [number]))
        if not found or found[0].kind is Kind.DIRECT or not may_read(self._graph, found[0], jid):
            return None
        return (await self._items(found))[0]

    async def number_of(self, author: Person, name: str) -> int | None:
        """The number of a post by its id as an item; None: it is none's. Raises TryLater."""
        number = number_in(name, self._db.epoch)
        if number is None:
            post = (await self._read(partial(_called, author.id, [name]))).get(name)
            number = None if post is None else post.number
        return number

    async def find(self, author: Person, names: Sequence[str]) -> dict[str, Post]:
        """An author's posts and boosts of these names, deleted ones as well. Raises TryLater."""
        epoch = self._db.epoch
        numbers = {name: number for name in names if (number := number_in(name, epoch))}
        wanted = sorted(set(numbers.values()))

        def read(conn: Connection) -> tuple[list[Post], dict[str, Post]]:
            return queries.posts(conn, wanted), rows.items_called(conn, author.id, names)

        by_number, by_name = await self._read(read)
        ours = {post.number: post for post in by_number if _is_item(post, author.id)}
        found = {name: ours[number] for name, number in numbers.items() if number in ours}
        return found | {name: post for name, post in by_name.items() if name in names}

    async def _page(
        self,
        jid: str,
        span: Span,
        below: Look,
        above: Look,
        fits: Callable[[Post], bool] = lambda _: True,
    ) -> Page:
        look = above if span.forward else below
        at = (span.after or 0) if span.forward else span.before or self._db.next_number
        limit = max(0, min(span.limit, MAX_ITEMS))
        found: list[Post] = []
        complete = False
        asked = max(2 * limit, _ASKED)
        for _ in range(_ROUNDS if limit else 0):
            part = await self._read(partial(_ask, look, at, asked))
            found += [post for post in part if fits(post) and may_read(self._graph, post, jid)]
            complete = len(part) < asked
            if complete:
                break
            at = part[-1].number
            if len(found) > limit:
                break
        shown = _fitting(found[:limit])
        items = await self._items(shown if span.forward else shown[::-1])
        if len(shown) < len(found):
            return Page(tuple(items), complete=False, upto=shown[-1].number if shown else at)
        return Page(tuple(items), complete, None if complete else at)

    async def last_authors(self, among: int) -> list[int]:
        """Whose posts are among the last entries of the journal, who posted last first.

        Raises TryLater.
        """
        above = self._db.next_number - 1 - among
        return await self._read(lambda conn: rows.last_authors(conn, above))

    async def dated(self, posts: Sequence[Post]) -> list[Item]:
        """Posts with the times at which they were edited last. Raises TryLater."""
        return await self._items(posts)

    async def _items(self, posts: Sequence[Post]) -> list[Item]:
        edited = [post.content.number for post in posts if post.content.edits]
        if not edited:
            return [Item(post) for post in posts]
        at = await self._read(lambda conn: rows.last_edits(conn, edited))
        return [Item(post, at.get(post.content.number)) for post in posts]

    async def _read(self, question: Callable[[Connection], T]) -> T:
        try:
            return await self._db.read(question)
        except StoreError as error:
            raise TryLater("The relay cannot read this at the moment. Try later.") from error


def _posts(numbers: Sequence[int], conn: Connection) -> list[Post]:
    return queries.posts(conn, numbers)


def _called(author: int, names: Sequence[str], conn: Connection) -> dict[str, Post]:
    return rows.items_called(conn, author, names)


def _ask(look: Look, number: int, limit: int, conn: Connection) -> list[Post]:
    return look(conn, number, limit)


def _is_item(post: Post, author: int) -> bool:
    return post.author == author and post.kind not in CHANGES and post.kind is not Kind.DIRECT


def _fitting(posts: Iterable[Post]) -> list[Post]:
    """The first of these posts that an answer has room for; one at least."""
    room, kept = MAX_BYTES, list[Post]()
    for post in posts:
        room -= xml_bytes(post.content.text)
        if room < 0 and kept:
            break
        kept.append(post)
    return kept
