"""Counts what there is to do, minute by minute, for the graph of outages.

The rules are in `core/activity.py`. A row is written for each minute in which the relay runs, also
where nothing happened: a minute without a row is one in which it did not run. A crash loses the
minute that runs; a stop writes it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Final

from xmpprelay.core.activity import Counting, Series, Span, Tally
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.model import CHANGES, Post
from xmpprelay.core.volume import Tier
from xmpprelay.errors import JournalFull, StoreError
from xmpprelay.log import get_logger
from xmpprelay.store.activity import count, load_series, thin
from xmpprelay.store.database import Database

log = get_logger("activity")

KEPT_MINUTES: Final = 1440
"""While the disk is full, so many rows wait in memory; then the oldest go."""


class Activity:
    """The counters of one relay.

    `tier` says what sort of author somebody is, `backlog` how many rows are open for a primary.
    """

    def __init__(
        self,
        db: Database,
        delivery: Delivery,
        *,
        tier: Callable[[int], Tier],
        backlog: Callable[[], int],
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._delivery = delivery
        self._tier = tier
        self._backlog = backlog
        self._now = now
        self._counting = Counting(now(), delivery.confirmed())
        self._unwritten: deque[Tally] = deque(maxlen=KEPT_MINUTES)
        self._writing: asyncio.Task[None] | None = None
        self.failures = 0  # what was not foreseen
        self._still = asyncio.Lock()  # no row goes from memory to the database while it is held

    # What is counted

    def posted(self, post: Post) -> None:
        """An entry of the journal is committed."""
        if post.kind not in CHANGES:
            self._turn()
            self._counting.post(bot=self._tier(post.author) is not Tier.PERSON)

    def came(self, people: int) -> None:
        """So many people have become known."""
        self._turn()
        self._counting.came(people)

    def _turn(self) -> None:
        now = self._now()
        if self._counting.over(now):
            self._unwritten += self._counting.turn(now, self._delivery.confirmed(), self._backlog())

    # What is written

    def minute(self) -> None:
        """A minute has passed: write what is counted, and make fewer rows of old ones."""
        self._turn()
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())
            self._writing.add_done_callback(self._written)

    async def _write(self) -> None:
        while self._unwritten:
            try:
                async with self._still:
                    await self._db.write(
                        count, self._unwritten[0], committed=self._first_is_written
                    )
            except JournalFull:  # certainly not stored: the disk may have room in a minute
                return
            except StoreError:  # it may be stored, and must not count twice
                self._unwritten.popleft()
                raise
        await self._db.write(thin, self._now())

    def _first_is_written(self, _: None) -> None:
        self._unwritten.popleft()

    def _written(self, writing: asyncio.Task[None]) -> None:
        self._writing = None
        error = None if writing.cancelled() else writing.exception()
        if isinstance(error, StoreError):
            log.warning("activity.not_written", why=error.sentence)
        elif error is not None:
            self.failures += 1
            log.error("activity.failed", exc_info=error)

    @property
    def waiting(self) -> int:
        """How many rows are still to be written, for which there was no room."""
        return len(self._unwritten)

    async def written(self) -> None:
        """Return when nothing is being written."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def close(self) -> None:
        """Write what is counted of the minute that runs; the next run adds to it."""
        await self.written()
        now = self._now()
        self._unwritten += self._counting.turn(now, self._delivery.confirmed(), self._backlog())
        self.minute()
        await self.written()

    # What is asked

    async def series(self, span: Span) -> Series:
        """A span of time up to now. Raises StoreError.

        Each minute is in it once: what is not written is taken down and the rest is read while no
        row is being written.
        """
        async with self._still:
            self._turn()
            now = self._now()
            running = self._counting.running(self._delivery.confirmed(), self._backlog())
            unwritten = [*self._unwritten, running]
            return await self._db.read(lambda conn: load_series(conn, span, now, unwritten))
