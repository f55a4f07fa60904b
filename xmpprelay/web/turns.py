"""Whose turn it is to have something made: one after the other, each followed by a rest.

To make a page or a feed takes some milliseconds of the thread that posts go through. So whoever
asks for all of them, from however many connections, has a quarter of the machine at most. Whoever
has gone when his turn comes is passed over: what nobody waits for is not made.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

REST: Final = 3.0
REST_AT_MOST_S: Final = 0.1
"""A rest is so many times as long as the making took."""


class Turns:
    """The turns of one relay."""

    def __init__(self) -> None:
        self._free = asyncio.Lock()

    @asynccontextmanager
    async def one(self, is_wanted: Callable[[], bool]) -> AsyncIterator[None]:
        """Wait for a turn, and take it.

        Raises HTTPServiceUnavailable if nobody wants it by then.
        """
        await self._free.acquire()
        if not is_wanted():
            self._free.release()
            raise web.HTTPServiceUnavailable(text="Nobody waited for this any more.")
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            yield
        finally:
            rest_s = min(REST_AT_MOST_S, REST * (loop.time() - began_s))
            loop.call_later(rest_s, self._free.release)


def is_there(request: web.Request) -> bool:
    """Whether whoever has asked is still connected."""
    return request.transport is not None
