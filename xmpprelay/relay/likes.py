"""Likes (S8.2): stored once a person and post, told to the author in one line now and then.

What is yet to be told lives in memory: a crash loses the line, never the like.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person, Post
from xmpprelay.core.text import short_id
from xmpprelay.relay.taking import stored
from xmpprelay.store.database import Database
from xmpprelay.store.likes import LikeRow, like, unlike

TELL_EVERY_S: Final = 300.0
"""An author is told of likes at once, then at most so often (S8.2)."""

NAMED: Final = 5
"""So many people are named for one post; the others are counted."""

POSTS_NAMED: Final = 10
"""So many posts are named in one line."""


@dataclass(slots=True)
class _Untold:
    """Likes of one author's posts: when he was told last, and what he is yet to be told."""

    told_at: float = -math.inf
    by_post: dict[int, dict[int, None]] = field(default_factory=dict)  # number -> people


class Likes:
    """Keeps likes. `tell` says something to a bare JID."""

    def __init__(
        self,
        db: Database,
        graph: Graph,
        tell: Callable[[str, str], None],
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._db = db
        self._graph = graph
        self._tell = tell
        self._now = now
        self._monotonic = monotonic
        self._untold: dict[int, _Untold] = {}

    async def like(self, person: Person, post: Post) -> None:
        """A person likes a post, or what a boost shows; again changes nothing. Raises TryLater."""
        shown = post.content
        row = LikeRow(person.id, shown.number)
        new = await stored(lambda: self._db.write(like, row))
        if new and shown.author != person.id:
            untold = self._untold.setdefault(shown.author, _Untold())
            untold.by_post.setdefault(shown.number, {})[person.id] = None
            self._tell_author(shown.author)

    async def unlike(self, person: Person, post: Post) -> None:
        """A person does not like a post any more. Raises TryLater."""
        shown = post.content
        row = LikeRow(person.id, shown.number)
        await stored(lambda: self._db.write(unlike, row))
        untold = self._untold.get(shown.author)
        if untold is not None and shown.number in untold.by_post:
            untold.by_post[shown.number].pop(person.id, None)

    def tick(self) -> None:
        """A minute has passed: tell authors what was kept for one line."""
        for author in list(self._untold):
            self._tell_author(author)

    def flush(self) -> None:
        """Tell everybody now: the relay stops."""
        for untold in self._untold.values():
            untold.told_at = -math.inf
        self.tick()

    def _tell_author(self, author: int) -> None:
        untold = self._untold[author]
        now = self._monotonic()
        if now - untold.told_at < TELL_EVERY_S:
            return
        lines = [
            line
            for number, people in untold.by_post.items()
            if (line := self._line(author, number, list(people)))
        ]
        if not lines:
            del self._untold[author]  # quiet for so long: the next one is told at once
            return
        left = len(lines) - POSTS_NAMED
        ending = f"; and {left} more posts" if left > 0 else ""
        self._tell(self._graph.person(author).jid, "; ".join(lines[:POSTS_NAMED]) + ending)
        self._untold[author] = _Untold(now)

    def _line(self, author: int, number: int, people: list[int]) -> str:
        """Who likes a post, as far as the author wants to hear of them (S6.1, S7)."""
        wishes, now = self._graph.wishes(author), self._now()
        heard = [
            _name(self._graph.person(person))
            for person in people
            if not self._graph.cut(author, person) and wishes.mute_of(person, now) is None
        ]
        if not heard:
            return ""
        verb = "likes" if len(heard) == 1 else "like"
        shown = heard[:NAMED]
        if len(heard) > NAMED:
            shown.append(f"{len(heard) - NAMED} others")
        names = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
        return f"{names} {verb} #{short_id(number)}"


def _name(person: Person) -> str:
    return person.jid if person.handle is None else f"@{person.handle}"
