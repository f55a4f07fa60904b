"""The relay as a process of its own, as an operator runs it: `xmpprelay run --config FILE`.

    relay = RelayProcess(folder, server)
    await relay.start()                     # returns when it says that it is ready
    print(await relay.command("journal", "list"))
    await relay.stop()                      # SIGTERM, as a service manager does it

It is known to be ready because it says so to its service manager (sd_notify(3)), whose part is
played here; not by its log and not by waiting. It has a session of its own, so that a Ctrl-C in the
terminal does not reach it, and the kernel ends it when its parent dies, however the parent dies.

Configuration, database and log lie in the folder; nothing of them is removed here.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from xmpprelay.errors import XmppRelayError
from xmpprelay.store.database import Database
from xmpprelay.store.queue import depths

READY_WITHIN_S: Final = 20.0
"""It takes less than a second; a machine busy with tests may need several."""

STOP_WITHIN_S: Final = 5.0
"""What the relay itself promises."""

COMMAND_WITHIN_S: Final = 20.0

_OURS: Final = ("XMPPRELAY_CONFIG", "XMPPRELAY_SECRET", "NOTIFY_SOCKET")
"""Variables that are meant for somebody else's relay, if they are set."""


class ComponentPlace(Protocol):
    """A server, and the component that a relay is on it; a private server is one."""

    @property
    def domain(self) -> str:
        """The server's own."""

    @property
    def component_domain(self) -> str:
        """The relay's."""

    @property
    def component_secret(self) -> str:
        """What both know."""

    @property
    def host(self) -> str:
        """Where it listens for components."""

    @property
    def component_port(self) -> int:
        """Where it listens for components."""


class RelayFailed(XmppRelayError):
    """The relay, or a command of it, did not do what was asked."""


class RelayProcess:
    """A relay on a server, mostly a private one. `limits`, `primary`, `web` and `xmpp` are options
    of those tables of its configuration."""

    def __init__(
        self,
        folder: Path,
        server: ComponentPlace,
        limits: Mapping[str, float] | None = None,
        primary: Mapping[str, object] | None = None,
        web: Mapping[str, object] | None = None,
        xmpp: Mapping[str, object] | None = None,
    ) -> None:
        self.config = folder / "xmpprelay.toml"
        self.log = folder / "relay.log"
        self._database = (folder / "relay.db").absolute()
        self._server = server
        self._limits = limits or {}
        self._primary = primary or {}
        self._web = web or {}
        self._xmpp = xmpp or {}
        self._process: asyncio.subprocess.Process | None = None
        self._notices: socket.socket | None = None  # what it tells its service manager
        self._watch: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()
        """Set when it has ended though nobody asked it to."""

    async def start(self) -> float:
        """Start it; the seconds until it was ready. Raises RelayFailed, with nothing left running.

        It may be started again after a stop, on the same data.
        """
        self._write_config()
        began = time.perf_counter()
        name = f"xmpprelay-{secrets.token_hex(8)}"
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._notices.bind(f"\0{name}")  # an abstract address: no file to remove
        try:
            self._process = await self._spawn(f"@{name}")
            await self._until_ready()
        except BaseException:
            await self.stop()
            raise
        self._watch = asyncio.create_task(self._watch_it(self._process))
        return time.perf_counter() - began

    async def stop(self) -> float:
        """End it with SIGTERM; the seconds it took. Raises RelayFailed if it had to be killed.

        A stop that was cancelled is taken up by the next one.
        """
        began = time.perf_counter()
        if self._watch is not None:
            self._watch.cancel()
        if self._process is not None:
            await _end(self._process)
            self._process = None
        if self._notices is not None:
            self._notices.close()
        return time.perf_counter() - began

    async def command(self, *arguments: str) -> str:
        """What a command of `xmpprelay` prints about this relay. Raises RelayFailed."""
        process = await asyncio.create_subprocess_exec(
            *_XMPPRELAY,
            *arguments,
            "--config",
            str(self.config),
            env=_environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), COMMAND_WITHIN_S)
        except TimeoutError:
            raise RelayFailed(
                f"`xmpprelay {' '.join(arguments)}` took more than {COMMAND_WITHIN_S:.0f} s."
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if process.returncode != 0:
            said = err.decode(errors="replace").strip() or f"exit code {process.returncode}"
            raise RelayFailed(f"`xmpprelay {' '.join(arguments)}` failed: {said}")
        return out.decode()

    async def waiting(self) -> int:
        """How much waits for the primary service. Raises StoreError."""
        url = f"sqlite:///{self._database}"
        database = await Database.open(url, now=lambda: datetime.now(UTC), readonly=True)
        try:
            return sum(each.waiting for each in await database.read(depths))
        finally:
            await database.close()

    @property
    def pid(self) -> int:
        """The id of its process, which runs."""
        if self._process is None:
            raise RelayFailed("The relay does not run.")
        return self._process.pid

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log; nothing if it has none."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    async def _spawn(self, notify: str) -> asyncio.subprocess.Process:
        command = [*_XMPPRELAY, "run", "--config", str(self.config)]
        setpriv = shutil.which("setpriv")
        if setpriv is not None:
            # The "parent" is the thread that forks: this one, which lives as long as the program.
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command,
                env=_environment() | {"NOTIFY_SOCKET": notify},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _until_ready(self) -> None:
        assert self._process is not None  # noqa: S101 - just started
        assert self._notices is not None  # noqa: S101
        loop = asyncio.get_running_loop()
        says = loop.create_task(_says_ready(self._notices))
        ends = loop.create_task(self._process.wait())
        try:
            await asyncio.wait(
                {says, ends}, timeout=READY_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
            )
            if ends.done():
                raise RelayFailed(f"The relay ended at once, with exit code {ends.result()}.")
            if not says.done():
                raise RelayFailed(f"The relay was not ready within {READY_WITHIN_S:.0f} s.")
        finally:
            says.cancel()
            ends.cancel()

    async def _watch_it(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self.lost.set()

    def _write_config(self) -> None:
        """Write the configuration, for this user only; it has the secret in it."""
        server = self._server
        lines = [
            "# Written anew by xmpprelay whenever its private server starts.",
            "[xmpp]",
            f"domain = {_toml(server.component_domain)}",
            f"secret = {_toml(server.component_secret)}",
            f"local_domains = [{_toml(server.domain)}]",
            f"host = {_toml(server.host)}",
            f"port = {server.component_port}",
            *(f"{name} = {_toml(value)}" for name, value in self._xmpp.items()),
            "[store]",
            f"url = {_toml(f'sqlite:///{self._database}')}",
            "[limits]",
            *(f"{name} = {value}" for name, value in self._limits.items()),
            "[primary]",
            *(f"{name} = {_toml(value)}" for name, value in self._primary.items()),
            "[web]",
            *(f"{name} = {_toml(value)}" for name, value in self._web.items()),
            "[log]",
            'format = "console"',
        ]
        self.config.touch(mode=0o600)
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")


_XMPPRELAY: Final = (sys.executable, "-m", "xmpprelay")


async def _says_ready(notices: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while b"READY=1" not in await loop.sock_recv(notices, 4096):
        pass


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise RelayFailed(f"The relay did not end within {STOP_WITHIN_S:.0f} s.") from None


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OURS}


def _toml(value: object) -> str:
    """A value as TOML source; JSON's are, but for what it escapes beyond need."""
    return json.dumps(value, ensure_ascii=False)
