"""Old posts go (`[retention]`), once a day, a few at a time.

What goes and what stays, whatever its age, is decided in `store/retention.py`. A round takes the
old posts in the order of their numbers, and each step of it is a row of the writer's queue like any
other: it takes a few milliseconds, and between two of them posts have their turn. Where the
database can, it then gives room back to the file system, in steps as well.

A post goes when two rounds, an hour or more apart, have found it old: a clock that is a year ahead
for a moment removes nothing.

A round may end at any point, by a crash as well: the next one begins anew, and finds less.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, repeat
from typing import Final

from xmpprelay.core.delivery import Delivery
from xmpprelay.errors import StoreError
from xmpprelay.log import get_logger
from xmpprelay.store.database import Database
from xmpprelay.store.retention import (
    OldRow,
    Removed,
    first_kept,
    give_back,
    lacking,
    remove_old,
)

log = get_logger("retention")

FIRST_S: Final = 3600.0
"""The first round begins so long after the start, when people are back; so long after it the next.
"""

EVERY_S: Final = 86_400.0

PAUSE_S: Final = 0.05
"""Between two steps: a million old posts take 40 minutes, and a tenth of the writer's time."""

PAGES: Final = 64
"""Given back in a step: a quarter of a mebibyte."""


class Retention:
    """Removes what is older than `posts`; None: nothing is.

    Whoever is away for longer than `waiting` holds back only what is for him alone; None: everybody
    holds back all that he lacks. `changed` is told of each author who has lost posts.
    """

    def __init__(
        self,
        db: Database,
        delivery: Delivery,
        posts: timedelta | None,
        waiting: timedelta | None,
        *,
        changed: Callable[[int], None],
        now: Callable[[], datetime],
        pause_s: float = PAUSE_S,
    ) -> None:
        self._db = db
        self._delivery = delivery
        self._posts = posts
        self._waiting = waiting
        self._changed = changed
        self._now = now
        self._pause_s = pause_s
        self._task: asyncio.Task[None] | None = None
        self._bound = 0  # what was old in the last round lies below it
        self.failures = 0  # rounds that ended by something unforeseen

    def start(self) -> None:
        """Remove what is old from now on, each day."""
        if self._posts is not None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Remove nothing more. What is removed is; the rest goes the next time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        for wait_s in chain((FIRST_S, FIRST_S), repeat(EVERY_S)):
            await asyncio.sleep(wait_s)
            try:
                await self.round()
            except StoreError as error:
                log.warning("retention.failed", why=error.sentence)
            except Exception:  # the top of the loop: tomorrow may be better
                self.failures += 1
                log.exception("retention.failed")

    async def round(self) -> int:
        """Remove what was old in the last round and is; how many have gone. Raises StoreError."""
        if self._posts is None:
            return 0
        now = self._now()
        seen_since = None if self._waiting is None else now - self._waiting
        found = await self._db.read(partial(first_kept, since=now - self._posts))
        bound, self._bound = min(found, self._bound), found
        lacked = await self._db.read(partial(lacking, bound=bound, seen_since=seen_since))
        gone, authors, after = 0, set[int](), 0
        try:
            while True:
                row = OldRow(after, bound, lacked)
                removed = await self._db.write(remove_old, row, committed=self._gone)
                gone += len(removed.gone)
                authors.update(removed.gone.values())
                if removed.upto is None:
                    break
                after = removed.upto
                await asyncio.sleep(self._pause_s)
        finally:
            for author in authors:
                self._changed(author)
        if gone:
            log.info("retention.removed", posts=gone)
        more = True
        while more:
            more = await self._db.write(give_back, PAGES)
            await asyncio.sleep(self._pause_s)
        return gone

    def _gone(self, removed: Removed) -> None:
        """What is in memory of posts that have gone is as if their authors had deleted them."""
        for number in removed.gone:
            post = self._delivery.post(number)
            if post is not None:
                self._delivery.revise(replace(post, text="", deleted=True))
