"""A network that fails: a port before a server's, as `ssh -L` opens one.

Whoever is connected when it fails is told nothing, on either side; who connects anew gets through.
"""

import asyncio
import time
from typing import Self

from xmpprelay.quickstart.private_server import free_port


class Tunnel:
    """A port before a server's. When the network `fails`, connections stay, and pass nothing."""

    def __init__(self) -> None:
        self.port = free_port()
        self.beyond = 0
        self.since: list[float] = []  # when connections came after the failure
        self._failed_at: float | None = None
        self._listening: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._comes, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listening is not None
        self._listening.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def fails(self) -> None:
        """From now on the connections that there are pass nothing; new ones do."""
        self._failed_at = time.perf_counter()

    async def _comes(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._passes(near, to_near))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _passes(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        new = self._failed_at is not None
        if new:
            self.since.append(time.perf_counter())
        far, to_far = await asyncio.open_connection("127.0.0.1", self.beyond)

        def passes() -> bool:
            return new or self._failed_at is None

        async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                if passes():
                    to.write(data)
                    await to.drain()
            if passes():
                to.close()

        try:
            await asyncio.gather(pump(near, to_far), pump(far, to_near), return_exceptions=True)
            if not passes():
                await asyncio.Event().wait()  # until the end: nobody is told
        finally:
            to_near.transport.abort()
            to_far.transport.abort()
