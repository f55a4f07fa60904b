"""What people ask to read: one author's posts, their own stream, one post, words; and why.

Every post goes through the audience function at the moment at which it is shown (S6.2). What does
not exist, what was deleted and what somebody may not see is answered by the same words (S6.1):
`no_such_post` and `People.named` make them, and nothing here says more.

Everything is bounded: how many posts one answer has, how long it is, and how far back is looked.
Nothing is changed here but that somebody who asks becomes known.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from sqlalchemy import Connection

from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import CHANGES, Kind, Person, Post
from xmpprelay.core.routing import Outlet, decide
from xmpprelay.core.text import short_id
from xmpprelay.errors import StoreError, TryLater, UnknownPost
from xmpprelay.people import People
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.queries import Counts
from xmpprelay.store.reading import handle_since, last_time, newest_of, posts_between

T = TypeVar("T")

SHOWN: Final = 50
"""Posts that one answer has at most."""

ANSWER_CHARS: Final = 16_000
"""And characters: far below what any server takes as one stanza."""

_SPAN: Final = 1_000
"""Numbers that are looked at in one question to the database: others have their turn between."""

_SPANS: Final = 20
"""And so many such questions for one answer."""

_COUNTED_FOR: Final = timedelta(minutes=1)
"""Counting reads whole indexes, so it is not done for everybody who asks."""


@dataclass(frozen=True, slots=True)
class Found:
    """Posts that somebody may see, oldest first; `more`: there are, or may be, older ones."""

    posts: tuple[Post, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class About:
    """What anybody may know of an author."""

    person: Person
    since: datetime | None  # since when he has his handle
    followers: int
    protected: bool
    last: datetime | None  # his newest post; None: none, or not for the one who asks


class Reading:
    """Answers what people ask to read."""

    def __init__(
        self,
        db: Database,
        graph: Graph,
        delivery: Delivery,
        people: People,
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._graph = graph
        self._delivery = delivery
        self._people = people
        self._now = now
        self._counted: tuple[datetime, Counts] | None = None

    # Posts

    async def last(self, jid: str, author: Person, limit: int) -> Found:
        """The newest posts of one author (S6.1: whether he may be known is asked before)."""
        reader = await self._people.known(jid)
        found: list[Post] = []
        before = self._db.next_number
        for _ in range(_SPANS):
            rows = await self._newest_of(author.id, before)
            found += self._allowed(rows, reader, Outlet.ASKED)
            if len(found) > limit or len(rows) < 2 * SHOWN:
                return _cut(found, limit, more=False)
            before = rows[-1].number
        return _cut(found, limit, more=True)

    async def _newest_of(self, author: int, before: int) -> list[Post]:
        return await self._read(lambda conn: newest_of(conn, author, before, 2 * SHOWN))

    async def timeline(self, jid: str, limit: int) -> Found:
        """The newest posts of all whom somebody follows, and what is for him."""
        reader = await self._people.known(jid)
        found: list[Post] = []
        last = self._db.next_number - 1
        for _ in range(_SPANS):
            if last < 1:
                return _cut(found, limit, more=False)
            rows = await self._candidates(reader.id, last)
            shown = (post for post in rows if post.kind not in CHANGES)
            found += self._allowed(shown, reader, Outlet.TIMELINE)
            if len(found) > limit:
                break
            last -= _SPAN
        return _cut(found, limit, more=last > _SPAN)

    async def _candidates(self, reader: int, last: int) -> list[Post]:
        first = max(1, last - _SPAN + 1)
        rows = await self._read(
            lambda conn: queries.candidates_for(conn, reader, first, last, _SPAN, newest=True)
        )
        return rows[::-1]

    async def find(self, jid: str, fits: Callable[[str], bool], limit: int) -> Found:
        """The newest posts whose text fits, of all that anybody may read."""
        reader = await self._people.known(jid)
        found: list[Post] = []
        last = self._db.next_number - 1
        for _ in range(_SPANS):
            if last < 1:
                return _cut(found, limit, more=False)
            rows = await self._between(last)
            fitting = (post for post in rows if fits(post.text))
            found += self._allowed(fitting, reader, Outlet.ASKED)
            if len(found) > limit:
                break
            last -= _SPAN
        return _cut(found, limit, more=last > _SPAN)

    async def _between(self, last: int) -> list[Post]:
        first = max(1, last - _SPAN + 1)
        return await self._read(lambda conn: posts_between(conn, first, last))

    async def show(self, jid: str, number: int) -> Post:
        """One post; UnknownPost if there is none for him."""
        reader = await self._people.known(jid)
        post = await self._post(number)
        if not decide(self._graph, post, reader.id, Outlet.ASKED).yes:
            raise no_such_post(number)
        return post

    async def why(self, jid: str, number: int) -> str:
        """Why a post came to somebody or did not, with the rule; UnknownPost as for `show`."""
        reader = await self._people.known(jid)
        post = await self._post(number)
        decision = decide(self._graph, post, reader.id)
        if decision.hidden:
            raise no_such_post(number)
        name, rule = f"#{short_id(number)}", f"{decision.reason} ({decision.rule})"
        if post.author == reader.id:
            return f"{name} is not sent to you: {rule}."
        if not decision.yes:
            return f"{name} does not come by itself: {rule}."
        return f"{name} {self._way_of(reader.id, number)}: {rule}."

    def _way_of(self, reader: int, number: int) -> str:
        """What has become of a post that somebody gets (S1.8)."""
        if not self._delivery.waits_for(reader, number):
            return "was sent to you"
        rest = self._delivery.rest_of(reader)
        if rest is not None and rest.holds(number):
            return "waits for your `more`"
        return "waits for your return"

    async def _post(self, number: int) -> Post:
        """A post that may be shown; an edit or a deletion is none, though it has a number."""
        post = await self._read(lambda conn: queries.post_by_number(conn, number))
        if post is None or post.kind in CHANGES:
            raise no_such_post(number)
        return post

    def _allowed(self, posts: Iterable[Post], reader: Person, outlet: Outlet) -> list[Post]:
        return [post for post in posts if decide(self._graph, post, reader.id, outlet).yes]

    # People and numbers

    async def about(self, jid: str, author: Person) -> About:
        """What may be known of an author."""
        reader = await self._people.known(jid)
        newest = await self.last(jid, author, 1)
        since = await self._read(lambda conn: handle_since(conn, author.id))
        if reader.id == author.id:
            last = await self._read(lambda conn: last_time(conn, author.id))
        else:
            last = newest.posts[-1].created if newest.posts else None
        graph = self._graph
        followers = graph.follower_count(author.id)
        return About(author, since, followers, graph.protected(author.id), last)

    async def counts(self) -> Counts:
        """How much there is, as it was within the last minute."""
        now = self._now()
        if self._counted is None or abs(now - self._counted[0]) > _COUNTED_FOR:
            self._counted = (now, await self._read(queries.counts))
        return self._counted[1]

    async def _read(self, question: Callable[[Connection], T]) -> T:
        try:
            return await self._db.read(question)
        except StoreError as error:
            raise TryLater("The relay cannot read this at the moment. Try later.") from error


def no_such_post(number: int) -> UnknownPost:
    """What is said of a post that is not there, or not for this person."""
    return UnknownPost(f"There is no post #{short_id(number)}.")


def _cut(newest_first: list[Post], limit: int, *, more: bool) -> Found:
    posts = newest_first[:limit]
    return Found(tuple(reversed(posts)), more or len(newest_first) > limit)


# --- How posts are written down in an answer -----------------------------------------------------


def line_of(graph: Graph, post: Post, now: datetime) -> str:
    """A post as home@relay sends it, with its age (S1.2, S8.1)."""
    name = graph.person(post.author).handle
    shown = post.content
    if post.kind is Kind.BOOST:
        name = f"{name} boosts {graph.person(shown.author).handle}"
    elif post.kind is Kind.DIRECT:
        name = f"{name} to @{graph.person(post.targets[0]).handle} alone"
    return f"{name}: {shown.text}  #{short_id(shown.number)} · {age(post.created, now)}"


def age(time: datetime, now: datetime) -> str:
    """How long ago something was, short; after a month its date."""
    minutes = int((now - time).total_seconds() // 60)
    if minutes < 1:
        return "now"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h"
    if minutes < 31 * 24 * 60:
        return f"{minutes // (24 * 60)} d"
    return f"{time:%Y-%m-%d}"


def fitting(lines: list[str]) -> list[str]:
    """The last of these lines that one answer has room for; one at least."""
    room, kept = ANSWER_CHARS, 0
    for line in reversed(lines):
        room -= len(line) + 1
        if room < 0 and kept:
            break
        kept += 1
    return lines[len(lines) - kept :]


# --- What a search finds -------------------------------------------------------------------------


def has_words(words: str) -> Callable[[str], bool]:
    """Whether a text has these words, in any case, with whatever white space between them."""
    wanted = _plain(words)
    return lambda text: wanted in _plain(text)


def has_tag(tag: str) -> Callable[[str], bool]:
    """Whether a text has this hashtag, whole, in any case."""
    pattern = re.compile(rf"(?<!\w)#{re.escape(_plain(tag))}(?!\w)")
    return lambda text: pattern.search(_plain(text)) is not None


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
