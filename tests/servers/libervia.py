"""Libervia's backend, and what somebody does with its command line (`libervia-cli`).

The backend keeps the account's connection, and the command line speaks to it over a D-Bus: so each
`Libervia` has a bus, a home and a profile of its own, and neither sees a desktop nor needs one.
Debian's packages are used as they are, with the system's own Python.

Nothing is waited for by time: the bus says its address when it listens, the backend says that it is
ready, and a command ends when it is done.
"""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Final, Self

from tests.servers import Account

PATIENCE_S: Final = 60.0
"""What any one thing may take. The backend needs 2 s, a command half a second."""

PROFILE: Final = "somebody"

BUS: Final = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""
"""A bus that starts no services, unlike a desktop's."""


class Libervia:
    """An account that is logged in by Libervia; its folder needs a short path, for a socket.

    async with Libervia(account, folder) as alice:
        said = await alice.runs("blog", "set", "--service", author, given="Hello")
    """

    def __init__(self, account: Account, folder: Path) -> None:
        self._account = account
        self._folder = folder
        self._socket = folder / "bus"
        self._ending = contextlib.AsyncExitStack()
        self._log: list[str] = []
        self._environment = {
            # The programs want the system's Python, whatever other is in the PATH of the tests.
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self._socket}",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
        }

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._start_bus()
                await self._start_backend()
            await self._log_in()
        except BaseException:
            await self._ending.aclose()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Logs out, and ends all that it has started."""
        await self._ending.aclose()

    async def runs(self, *command: str, given: str = "", **environment: str) -> str:
        """What a command says; AssertionError if it fails."""
        code, out, errors = await self.tries(*command, given=given, **environment)
        assert code == 0, f"{' '.join(command)} ended with {code}:\n{errors}{self.log_tail()}"
        return out

    async def tries(
        self, *command: str, given: str = "", **environment: str
    ) -> tuple[int, str, str]:
        """The exit code of a command, and what it says and complains of.

        `given` is its standard input. More of its environment by their names: EDITOR="…".
        """
        process = await asyncio.create_subprocess_exec(
            *("libervia-cli", *command),
            env=self._environment | environment,
            cwd=self._folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                out, errors = await process.communicate(given.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return process.returncode, out.decode(), errors.decode()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the backend has written."""
        return "".join(self._log[-lines:])

    async def _start_bus(self) -> None:
        config = self._folder / "bus.conf"
        config.write_text(BUS.format(socket=self._socket))
        options = (f"--config-file={config}", "--nofork", "--print-address")
        await self._start("dbus-daemon", *options, until="unix:")

    async def _start_backend(self) -> None:
        account = self._account
        domain = account.jid.partition("@")[2]
        where = json.dumps({domain: {"host": account.host, "port": account.port}})
        (self._folder / "libervia.conf").write_text(f"[DEFAULT]\nhosts_dict = {where}\n")
        await self._start("libervia-backend", "foreground", until="Backend is ready")

    async def _log_in(self) -> None:
        account = self._account
        known = ("--jid", account.jid, "--xmpp-password", account.password)
        await self.runs("profile", "create", PROFILE, *known)
        # The private servers of the tests speak plain TCP on the loopback.
        await self.runs("param", "set", "Connection", "check_certificate", "false")
        await self.runs("profile", "connect", "--connect")

    async def _start(self, *command: str, until: str) -> None:
        """Start a program that does not outlive these tests, however they end; returns when it has
        written a line with these words.
        """
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--", *command),
            env=self._environment,
            cwd=self._folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        said = asyncio.get_running_loop().create_future()
        noting = asyncio.create_task(self._note(process.stdout, until, said))
        self._ending.push_async_callback(_end, process, noting)
        assert await said, f"{command[0]} has ended:\n{self.log_tail()}"

    async def _note(
        self, out: asyncio.StreamReader | None, words: str, said: asyncio.Future[bool]
    ) -> None:
        """Keep what a program writes, and tell whether the words have come."""
        assert out is not None
        while line := (await out.readline()).decode(errors="replace"):
            self._log.append(line)
            if words in line and not said.done():
                said.set_result(True)
        if not said.done():
            said.set_result(False)


async def _end(process: asyncio.subprocess.Process, noting: asyncio.Task[None]) -> None:
    """Let a program end, and all that it says on the way be kept."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await noting
