"""Tells a WebSub hub of new posts in public feeds, so that it tells their readers at once.

A hub is told of addresses and fetches the feeds itself; nothing of a post goes there from here. It
is told of each feed at most once in ten seconds. It is somebody else's service: it is asked one
thing after the other, never waited for, and what it misses is lost, since readers look by
themselves from time to time. That it does not answer is logged once, until it does again.

What somebody has protected or taken off the web, and everybody's own feeds, it is never told of.

WebSub §5, §7
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from xmpprelay.core.graph import Graph
from xmpprelay.core.paced import Paced
from xmpprelay.feeds import Feeds, Touched
from xmpprelay.log import get_logger
from xmpprelay.primary.answers import Answer
from xmpprelay.primary.http import Http

log = get_logger("feeds")

EVERY_S: Final = 10.0
"""A feed is told of at most once in so long."""

WAITING: Final = 1000
"""Feeds that wait at once; what does not fit is not told."""

TOTAL_S: Final = 10.0
"""What one request may take."""

TAGS: Final = 5
"""Of one post, so many feeds of tags."""


class Hub:
    """Tells one hub. `start` it once, then `stop` it."""

    def __init__(
        self,
        address: str,
        graph: Graph,
        feeds: Feeds,
        *,
        every_s: float = EVERY_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._graph = graph
        self._feeds = feeds
        self._monotonic = monotonic
        self._http = Http([address], total_s=TOTAL_S)
        self._paced: Paced[tuple[int, str]] = Paced(every_s, WAITING)  # (author, "") or (0, tag)
        self._asked = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._failing = False
        self.failures = 0  # what was not foreseen
        feeds.touched.append(self._touched)

    def start(self) -> None:
        """Begin to tell."""
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Tell nothing more."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
        await self._http.aclose()

    def _touched(self, touched: Touched) -> None:
        now_s = self._monotonic()
        self._paced.ask((touched.author, ""), now_s)
        for tag in touched.tags[:TAGS]:
            self._paced.ask((0, tag.lower()), now_s)
        self._asked.set()

    async def _run(self) -> None:
        while True:
            what = self._paced.take(self._monotonic())
            if what is None:
                await self._wait()
                continue
            for feed in self._addresses(*what):
                try:
                    await self._tell(feed)
                except Exception:  # the top of the loop: the next feed may be better
                    self.failures += 1
                    log.exception("hub.failed")

    async def _wait(self) -> None:
        """Until something is asked for, or due."""
        self._asked.clear()
        due_s = self._paced.next_s()
        wait_s = None if due_s is None else max(0.0, due_s - self._monotonic())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._asked.wait(), wait_s)

    def _addresses(self, author: int, tag: str) -> list[str]:
        """The feeds that are meant; none of somebody who is not on the web any more."""
        places = self._feeds.places
        if tag:
            return [places.tag(tag)]
        handle = self._graph.person(author).handle
        if handle is None or not self._feeds.is_public(author):
            return []
        return [
            places.feed(handle),
            places.feed(handle, "rss"),
            places.feed_with_replies(handle),
        ]

    async def _tell(self, feed: str) -> None:
        form = {"hub.mode": "publish", "hub.url": feed}
        answer = await self._http.request("POST", self._address, form=form)
        good = isinstance(answer, Answer) and 200 <= answer.status < 300
        if good == self._failing:
            self._failing = not good
            if good:
                log.info("hub.answers_again")
            else:
                why = f"status {answer.status}" if isinstance(answer, Answer) else answer.reason
                log.warning("hub.does_not_answer", why=why)
