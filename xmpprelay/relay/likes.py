"""Likes (S8.2): stored once a person and post, told to the author in one line now and then.

What is yet to be told lives in memory: a crash loses the line, never the like.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeAlias

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person, Post
from xmpprelay.core.notices import Notices
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


ByPost: TypeAlias = dict[int, dict[int, None]]
"""Post number -> who likes it, in order."""


class Likes:
    """Keeps likes. `mention` says something that he has not asked for to a bare JID."""

    def __init__(
        self,
        db: Database,
        graph: Graph,
        mention: Callable[[str, str], None],
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._db = db
        self._graph = graph
        self._mention = mention
        self._now = now
        self._monotonic = monotonic
        self._untold: Notices[ByPost] = Notices(TELL_EVERY_S, dict)  # by author

    async def like(self, person: Person, post: Post) -> None:
        """A person likes a post, or what a boost shows; again changes nothing. Raises TryLater."""
        shown = post.content
        row = LikeRow(person.id, shown.number)
        new = await stored(lambda: self._db.write(like, row))
        if new and shown.author != person.id:
            self._untold.of(shown.author).setdefault(shown.number, {})[person.id] = None
            by_post = self._untold.take(shown.author, self._monotonic())
            if by_post is not None:
                self._tell(shown.author, by_post)

    async def unlike(self, person: Person, post: Post) -> None:
        """A person does not like a post any more. Raises TryLater."""
        shown = post.content
        row = LikeRow(person.id, shown.number)
        await stored(lambda: self._db.write(unlike, row))
        by_post = self._untold.kept_for(shown.author) or {}
        by_post.get(shown.number, {}).pop(person.id, None)

    def tick(self) -> None:
        """A minute has passed: tell authors what was kept for one line."""
        for author, by_post in self._untold.due(self._monotonic()):
            self._tell(author, by_post)

    def flush(self) -> None:
        """Tell everybody now: the relay stops."""
        self._untold.hurry()
        self.tick()

    def forget(self, person: int) -> None:
        """Somebody has left: he is told of nothing any more."""
        self._untold.forget(person)

    def _tell(self, author: int, by_post: ByPost) -> None:
        lines = [
            line
            for number, people in by_post.items()
            if (line := self._line(author, number, list(people)))
        ]
        if not lines:
            self._untold.not_told(author)
            return
        left = len(lines) - POSTS_NAMED
        ending = f"; and {left} more posts" if left > 0 else ""
        self._mention(self._graph.person(author).jid, "; ".join(lines[:POSTS_NAMED]) + ending)

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
