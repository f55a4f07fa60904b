"""The relay as a process of its own, to be killed as a crash would."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final, Self

from tests.integration.world import NO_LIMITS
from tests.servers import XmppServer
from xmpprelay.config import Limits

_ENDS_WITHIN_S: Final = 30.0
"""It starts and ends in a second; a machine that is busy with tests may need several."""


class RelayProcess:
    """`python -m xmpprelay run --config …`, with its database in a folder with a short path.

    `more` are further tables of its configuration. As a context manager it does not outlive the
    test. `lines` is what it has written.
    """

    def __init__(
        self, server: XmppServer, folder: Path, limits: Limits = NO_LIMITS, more: str = ""
    ) -> None:
        self.database = folder / "relay.db"
        self.lines: list[str] = []
        self.descriptors: int | None = None  # `ulimit -n` for it; None: as the tests have it
        self._more = asyncio.Event()
        self._config = folder / "relay.toml"
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._notices: asyncio.Queue[str] = asyncio.Queue()
        self._notified_at = folder / "notify"
        self._config.touch(mode=0o600)
        self._config.write_text(
            f"""
[xmpp]
domain = "{server.component_domain}"
secret = "{server.component_secret}"
host = "{server.host}"
port = {server.component_port}
[store]
url = "sqlite:///{self.database}"
[limits]
posts_per_second = {limits.posts_per_second}
burst = {limits.burst}
posts_per_hour = {limits.posts_per_hour}
[log]
format = "json"
{more}
"""
        )

    async def __aenter__(self) -> Self:
        notices = self._notices

        class Notices(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, _: Any) -> None:
                notices.put_nowait(data.decode())

        self._listening, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Notices, local_addr=str(self._notified_at), family=socket.AF_UNIX
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            await self.is_killed()
        self._listening.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def starts(self) -> None:
        """Start it; returns when it says that it is ready."""
        await self.launches()
        await self.notice("READY=1")

    async def launches(self) -> None:
        """Start it, and wait for nothing."""
        limited = ("sh", "-c", 'ulimit -n "$0" && exec "$@"', f"{self.descriptors}")
        self._process = await asyncio.create_subprocess_exec(
            *(limited if self.descriptors is not None else ()),
            *(sys.executable, "-m", "xmpprelay", "run", "--config", str(self._config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"NOTIFY_SOCKET": str(self._notified_at)},
        )
        self._reading = asyncio.create_task(self._read(self._process.stdout))

    async def _read(self, out: asyncio.StreamReader | None) -> None:
        assert out is not None
        while line := await out.readline():
            self.lines.append(line.decode().rstrip("\n"))
            self._more.set()

    async def writes(self, words: str) -> None:
        """Return when it has written a line with these words."""
        async with asyncio.timeout(_ENDS_WITHIN_S):
            while not any(words in line for line in self.lines):
                self._more.clear()
                await self._more.wait()

    async def notice(self, expected: str) -> None:
        """Return when it has told the service manager this; AssertionError if it ends before."""
        told = asyncio.ensure_future(self._notices.get())
        ended = asyncio.ensure_future(self.ends())
        await asyncio.wait({told, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        assert told.done(), "it ended:\n" + "\n".join(self.lines[-20:])
        assert told.result() == expected

    def signals(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ends(self) -> int:
        """Its exit code, once it has ended and all that it wrote is here."""
        assert self._process is not None
        assert self._reading is not None
        async with asyncio.timeout(_ENDS_WITHIN_S):
            code = await self._process.wait()
            await self._reading
        return code

    async def is_killed(self) -> None:
        """kill -9."""
        with contextlib.suppress(ProcessLookupError):
            self.signals(signal.SIGKILL)
        await self.ends()
