"""A network that fails: a port before a server's, which a test can shut and open."""

import asyncio
from typing import Self

from xmpprelay.quickstart.private_server import free_port


class Gate:
    """Passes connections on to a port of the loopback as long as it is open.

    As a context manager it opens, and at the end shuts. While it is shut, nobody listens there.
    """

    def __init__(self, beyond: int) -> None:
        self.port = free_port()
        self._beyond = beyond
        self._listening: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.opens()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shuts()

    async def opens(self) -> None:
        """Let connections in."""
        self._listening = await asyncio.start_server(self._comes, "127.0.0.1", self.port)

    async def shuts(self) -> None:
        """Refuse new connections, and cut the others; returns when that is done."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def _comes(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._passes(near, to_near))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        task.add_done_callback(lambda _: to_near.close())  # it may end before it has begun

    async def _passes(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        try:
            far, to_far = await asyncio.open_connection("127.0.0.1", self._beyond)
        except OSError:  # the server is not there
            to_near.transport.abort()
            return
        except asyncio.CancelledError:  # shut before it was through
            to_near.transport.abort()
            raise
        ways = [_pump(near, to_far), _pump(far, to_near)]
        try:
            async with asyncio.TaskGroup() as both:
                ended = [both.create_task(way) for way in ways]
                await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
                for each in ended:
                    each.cancel()
        finally:
            to_near.transport.abort()
            to_far.transport.abort()


async def _pump(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    """Pass on what comes, until one end is closed."""
    try:
        while data := await source.read(65536):
            to.write(data)
            await to.drain()
    except ConnectionError:
        return
