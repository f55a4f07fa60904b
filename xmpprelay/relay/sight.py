"""Which posts somebody may refer to, and which he was sent.

Whoever replies to a post, boosts, likes or edits it must be able to see it. What is deleted, what
never was and what is not for him is answered by the same words (S6.1).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import Connection

from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import CHANGES, Post
from xmpprelay.core.routing import Outlet, decide
from xmpprelay.core.text import parse_change_id, parse_message_id, short_id
from xmpprelay.errors import UnknownPost
from xmpprelay.relay.taking import stored
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.posts import newest_posts, own_message

T = TypeVar("T")

LOOKED_AT: Final = 50
"""Posts of one author that are looked at for the last one that somebody was sent: a guess."""


class Sight:
    """What each person may refer to."""

    def __init__(self, db: Database, graph: Graph, delivery: Delivery) -> None:
        self._db = db
        self._graph = graph
        self._delivery = delivery

    async def read(self, question: Callable[[Connection], T]) -> T:
        """Ask the database. Raises TryLater."""
        return await stored(lambda: self._db.read(question))

    async def seen(self, person: int, number: int) -> Post:
        """The post or boost of that number; UnknownPost if there is none for this person.

        What a boost shows is its `content`.
        """
        found = self._delivery.post(number)
        if found is None:
            found = await self.read(lambda conn: queries.post_by_number(conn, number))
        if found is None or not self._visible(person, found):
            raise UnknownPost(f"There is no post #{short_id(number)}.")
        return found

    def _visible(self, person: int, post: Post) -> bool:
        if post.kind in CHANGES:
            return False
        shown = (post, post.content)
        return not any(decide(self._graph, p, person, Outlet.ASKED).hidden for p in shown)

    async def named(self, person: int, name: str) -> Post | None:
        """The post, or boost, of a message id; None: no post was made of such a message.

        It is an id of the relay's, or the one that the person's own client gave his own message
        (S9.3). Raises as `seen` does.
        """
        number = self._number_of(name)
        if number is None:
            mine = await self.read(lambda conn: own_message(conn, person, name))
            number = None if mine is None else mine.number
        return None if number is None else await self.seen(person, number)

    def _number_of(self, name: str) -> int | None:
        ours = parse_message_id(name) or parse_change_id(name)
        return ours[0] if ours is not None and ours[1] == self._db.epoch else None

    def was_sent(self, person: int, post: Post) -> bool:
        """Whether a person was sent a post (S1.8)."""
        if self._delivery.waits_for(person, post.number):
            return False
        return decide(self._graph, post, person).yes

    def sent(self, person: int, number: int) -> Post | None:
        """A post that is in memory, if the person was sent it."""
        post = self._delivery.post(number)
        return post if post is not None and self.was_sent(person, post) else None

    async def last_of(self, author: int, person: int, since: datetime) -> Post | None:
        """The last post of an author that a person was sent, of those made since a time (S2.8)."""
        found = await self.read(lambda conn: newest_posts(conn, author, since, LOOKED_AT))
        return next((post for post in found if self.was_sent(person, post)), None)
