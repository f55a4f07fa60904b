"""The journal: where a post is safe before anybody is told of it.

Appending is one submission to the store's writer, made at the moment of the call, so that posts
keep the order in which they came; the future resolves after the group commit. In the commit's own
callback the fan-out of the post is opened, so that what has a number has a fan-out, in order.

Reading serves those who return (`core/returns.py` says what is wanted) and `more`. What is read is
put through the audience function before it leaves this room.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Appended, Kind, Post, Queued, Rest
from xmpprelay.core.routing import PERSONAL, decide
from xmpprelay.core.text import message_id
from xmpprelay.core.work import Held, Read
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.dedupe import Key, key_of, posts_by_key
from xmpprelay.store.posts import ChangeRow, PostRow, append_post, change_post, nowhere
from xmpprelay.store.together import Together

_PORTION: Final = 1000
"""Posts read at once: between two portions, other people's questions have their turn."""


class Journal:
    """The posts of one database. `wake` tells the outbox that there is something to send.

    `queued` is told, after the commit, what has come into the queue for the primary, and `counts`
    of each entry. `feeds` is told of each as well, and of what came with it.
    """

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
        self._resends = Together(self._made_by)
        self.queued: Callable[[Sequence[Queued]], None] = _nobody_waits
        self.counts: Callable[[Post], None] = lambda _: None
        self.feeds: Callable[[Post], None] = lambda _: None
        self.made: Counter[Kind] = Counter()  # entries since the start

    @property
    def epoch(self) -> str:
        """The database's epoch: part of every message id."""
        return self._db.epoch

    def message_id(self, number: int) -> str:
        """The message id of a post, the same for every follower (S1.3)."""
        return message_id(number, self._db.epoch)

    def append(self, row: PostRow) -> asyncio.Future[Appended]:
        """Queue a post now; the future gives it once it is committed and synced.

        Raises, or puts into the future, JournalFull when the disk has no room, else StoreError;
        UnknownPost when what is boosted is gone. Cancelling the future changes nothing: the post is
        made, and sent.
        """
        if row.lanes is nowhere:  # without rows a crash would end its fan-out
            row = replace(row, lanes=self._graph.lanes)
        return self._db.submit(append_post, row, committed=self._opened)

    def change(self, row: ChangeRow) -> asyncio.Future[Appended]:
        """Queue an edit or a deletion now; the future gives its entry once it is committed (S9).

        Raises, or puts into the future, what `append` does, and Refused.
        """
        if row.lanes is nowhere:
            row = replace(row, lanes=self._graph.lanes)
        return self._db.submit(change_post, row, committed=self._opened)

    def _opened(self, appended: Appended) -> None:
        """Committed: whom it is addressed to have a standing, then its fan-out begins."""
        if not appended.duplicate:
            for standing in appended.standings:
                self._delivery.standing_made(standing, self._now())
            entries = (appended.post, *appended.further)
            for post, lanes in zip(entries, appended.lanes, strict=True):
                self._delivery.post_committed(post, lanes)
                self.feeds(post)
            self._wake()
            self.queued(appended.queued)
            self.counts(appended.post)
            self.made[appended.post.kind] += 1

    async def find_duplicate(self, row: PostRow | ChangeRow) -> Post | None:
        """The entry that this row made when it came the first time, or None."""
        key = key_of(row.author, row.said, row.origin, row.stanza_id)
        if key is None:
            return None
        return await self._resends.ask(key)

    async def _made_by(self, keys: Sequence[Key]) -> Mapping[Key, Post]:
        return await self._db.read(lambda conn: posts_by_key(conn, keys, self._now()))

    async def held(self, read: Read) -> Held:
        """What a returned person lacks, as far as he may have it (docs/flow.md, "The return")."""
        found = await self._db.read(lambda conn: queries.posts(conn, read.missed))
        personal: set[int] = set()
        allowed = self._allowed(found, read.person, personal)
        older: list[tuple[int, int]] = []
        start, complete = read.away_from, False
        while not complete and (read.newest or len(allowed) < read.limit):
            found = await self._portion(read.person, start, read.upto)
            complete = len(found) < _PORTION
            start = found[-1].number + 1 if found else read.upto + 1
            allowed += self._allowed(found, read.person, personal)
            if read.newest:
                timeline = [post for post in allowed if post.number not in personal]
                left = timeline[: max(0, len(timeline) - read.limit)]
                older += ((post.number, post.author) for post in left)
                gone = {post.number for post in left}
                allowed = [post for post in allowed if post.number not in gone]
        if not read.newest and len(allowed) > read.limit:
            del allowed[read.limit :]
            return Held(tuple(allowed), allowed[-1].number)
        upto = read.upto if complete else start - 1
        return Held(tuple(allowed), upto, tuple(older), frozenset(personal))

    async def _portion(self, person: int, first: int, last: int) -> list[Post]:
        return await self._db.read(
            lambda conn: queries.candidates_for(conn, person, first, last, _PORTION)
        )

    def _allowed(self, posts: list[Post], person: int, personal: set[int]) -> list[Post]:
        """Those that he may have; the numbers of what comes in any case go into `personal`."""
        allowed = []
        for post in posts:
            decision = decide(self._graph, post, person)
            if decision.yes:
                allowed.append(post)
                if decision.why in PERSONAL:
                    personal.add(post.number)
        return allowed

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
            personal: set[int] = set()  # they came by themselves
            left += (
                post.number
                for post in self._allowed(found, person, personal)
                if author in (None, post.author)
                and post.number not in personal
                and rest.holds(post.number)
                and post.number < taken.get(post.author, rest.last + 1)
            )
        return left[-limit:], max(0, len(left) - limit)


def _nobody_waits(_queued: Sequence[Queued]) -> None:
    """Until it is set who inserts posts into the primary."""
