"""The journal: where a post is safe before anybody is told of it.

Appending is one submission to the store's writer, made at the moment of the call, so that posts
keep the order in which they came; the future resolves after the group commit. In the commit's own
callback the fan-out of the post is opened, so that what has a number has a fan-out, in order.

Reading serves those who return (`core/returns.py` says what is wanted) and `more`. What is read is
put through the audience function before it leaves this room.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Appended, Draft, Post, Rest
from xmpprelay.core.routing import decide
from xmpprelay.core.text import message_id
from xmpprelay.core.work import Held, Read
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.dedupe import key_of, posts_by_key
from xmpprelay.store.operations import PostRow, append_post

_PORTION: Final = 1000
"""Posts read at once: between two portions, other people's questions have their turn."""


class Journal:
    """The posts of one database. `wake` tells the outbox that there is something to send."""

    def __init__(
        self,
        db: Database,
        graph: Graph,
        delivery: Delivery,
        wake: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._graph = graph
        self._delivery = delivery
        self._wake = wake
        self._now = now

    @property
    def epoch(self) -> str:
        """The database's epoch: part of every message id."""
        return self._db.epoch

    def message_id(self, number: int) -> str:
        """The message id of a post, the same for every follower (S1.3)."""
        return message_id(number, self._db.epoch)

    def append(self, author: int, draft: Draft) -> asyncio.Future[Appended]:
        """Queue a post now; the future gives it once it is committed and synced.

        Raises, or puts into the future, JournalFull when the disk has no room, else StoreError.
        Cancelling the future changes nothing: the post is made, and sent.
        """
        lanes: tuple[str, ...] = ()

        def lanes_now() -> tuple[str, ...]:
            nonlocal lanes
            lanes = self._graph.lanes(author)
            return lanes

        def committed(appended: Appended) -> None:
            if not appended.duplicate:
                self._delivery.post_committed(appended.post, lanes)
                self._wake()

        row = PostRow(author, draft.text, draft.lang, draft.origin, draft.stanza_id, lanes_now)
        return self._db.submit(append_post, row, committed=committed)

    async def find_duplicate(self, author: int, draft: Draft) -> Post | None:
        """The post that this draft made when it came the first time, or None."""
        key = key_of(author, draft.text, draft.origin, draft.stanza_id)
        if key is None:
            return None
        found = await self._db.read(lambda conn: posts_by_key(conn, [key], self._now()))
        return found.get(key)

    async def held(self, read: Read) -> Held:
        """What a returned person lacks, as far as he may have it (docs/flow.md, "The return")."""
        found = await self._db.read(lambda conn: queries.posts(conn, read.missed))
        allowed = self._allowed(found, read.person)
        older: list[tuple[int, int]] = []
        start, complete = read.away_from, False
        while not complete and (read.newest or len(allowed) < read.limit):
            found = await self._portion(read.person, start, read.upto)
            complete = len(found) < _PORTION
            start = found[-1].number + 1 if found else read.upto + 1
            allowed += self._allowed(found, read.person)
            if read.newest:
                keep = max(0, len(allowed) - read.limit)
                older += ((post.number, post.author) for post in allowed[:keep])
                del allowed[:keep]
        if len(allowed) > read.limit:
            del allowed[read.limit :]
            return Held(tuple(allowed), allowed[-1].number)
        return Held(tuple(allowed), read.upto if complete else start - 1, tuple(older))

    async def _portion(self, person: int, first: int, last: int) -> list[Post]:
        return await self._db.read(
            lambda conn: queries.candidates_for(conn, person, first, last, _PORTION)
        )

    def _allowed(self, posts: list[Post], person: int) -> list[Post]:
        return [post for post in posts if decide(self._graph, post, person).yes]

    async def of_rest(
        self, person: int, rest: Rest, author: int | None, limit: int
    ) -> tuple[list[int], int]:
        """The newest numbers of a rest, ascending, and how many of it remain below them (S11.2).

        Of one author only, where one is given.
        """
        taken = dict(rest.taken)
        left: list[int] = []
        start, complete = rest.first, False
        while not complete:
            found = await self._portion(person, start, rest.last)
            complete = len(found) < _PORTION
            start = found[-1].number + 1 if found else start
            left += (
                post.number
                for post in self._allowed(found, person)
                if author in (None, post.author)
                and post.number < taken.get(post.author, rest.last + 1)
            )
        return left[-limit:], max(0, len(left) - limit)
