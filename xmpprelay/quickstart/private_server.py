"""A private XMPP server on the loopback: what is the same whichever server it is.

`PrivateServer` runs a server program of this machine with a configuration, ports and data of its
own. The system's own server, if one runs, is neither asked nor disturbed.

    async with Prosody("example.test") as server:
        alice = await server.add_user("alice", "her password")
        …  # clients to server.host, server.c2s_port; the component to server.component_port

How it runs. It has a session of its own, so that a Ctrl-C in the terminal reaches the relay only,
and it never outlives the process that started it: the kernel kills it when its parent dies, however
the parent dies.

How it is known to be ready. Not by its log and not by waiting: the client port must answer an
opened stream with its features, and the component port one with a stream header.

What a kind of server adds (`prosody.py`) is its program, its configuration and its accounts.
"""

import asyncio
import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from xmpprelay.errors import StreamError

POLL_S: Final = 0.02


class PrivateServer(ABC):
    """A private server with one domain for people and one component beside it.

    `domain` is where accounts live, `component_domain` the relay's (`relay.` before the domain if
    None).

    Ports, secret and data stay the same through `stop`, `kill` and `start`. As a context manager it
    starts, and at the end stops and removes its folder unless `keep` is set. StreamError when it
    cannot be had.
    """

    name: ClassVar[str]  # what people call such a server
    stop_within_s: ClassVar[float]  # after that long a polite signal is followed by the other one
    logs: ClassVar[Sequence[str]] = ("console.log",)  # files of its folder, the oldest words first
    host = "127.0.0.1"
    ready_within_s: float

    def __init__(self, domain: str, component_domain: str | None) -> None:
        self.domain = domain
        self.component_domain = component_domain or f"relay.{domain}"
        self.component_secret = secrets.token_hex(16)
        self.c2s_port = free_port()
        self.component_port = free_port()
        self.keep = False
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._at_exit: weakref.finalize[..., Any] | None = None

    # What each kind of server has of its own

    @abstractmethod
    async def add_user(self, name: str, password: str) -> str:
        """Makes an account, or gives an existing one this password. Returns its bare JID.

        StreamError with the server's own words if it refuses the name.
        """

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The program and its arguments; StreamError with what to type if there is none."""

    @abstractmethod
    def _write_config(self) -> None:
        """Writes what it reads at its start."""

    def _options(self) -> Mapping[str, Any]:
        """What else its process is started with, as `subprocess` takes it."""
        return {}

    def _ports(self) -> Sequence[int]:
        """Where it listens."""
        return (self.c2s_port, self.component_port)

    def _make_folder(self) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"xmpprelay-{self.name.lower()}-"))

    def _tidy(self) -> None:
        if self._folder is not None and not self.keep:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    async def _answers(self) -> bool:
        """Whether both ports do what a ready server's do."""
        clients = "jabber:client", "</stream:features>", self.domain, self.c2s_port
        component = "jabber:component:accept", " id=", self.component_domain, self.component_port
        for namespace, answer, to, port in (clients, component):
            if not await _stream_answers(self.host, port, namespace, to, answer):
                return False
        return True

    # What all have

    @property
    def folder(self) -> Path:
        """The folder with configuration, data and log, made when it is first asked for."""
        if self._folder is None:
            self._folder = self._make_folder()
        return self._folder

    @property
    def running(self) -> bool:
        """Whether the process is there; a paused one is."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the running server; StreamError if it does not run."""
        if self._process is None or not self.running:
            raise StreamError(f"The private {self.name} does not run: start it first.")
        return self._process.pid

    async def __aenter__(self) -> Self:
        """Starts it."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops it, and removes what it has written, but not with `keep`."""
        try:
            await self.stop()
        finally:
            self._tidy()

    async def start(self) -> None:
        """Returns when clients and the component can connect. StreamError with the log's last
        lines if that does not come about; nothing is then left running. A cancellation neither.
        """
        if self.running:
            return
        try:
            for port in self._ports():
                claim_port(port)
            self._spawn()
            await self._until_ready()
        except BaseException:
            await self.kill()
            self._tidy()
            raise

    async def stop(self) -> None:
        """Ends it as a system would: a polite signal, and after some seconds the other one."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a paused one could not obey
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, self.stop_within_s)
        await self.kill()

    async def kill(self) -> None:
        """Ends it as a crash would (SIGKILL), and returns when it is gone."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)
            self._process = None
        if self._at_exit is not None:
            self._at_exit.detach()
            self._at_exit = None

    async def restart(self) -> None:
        """Stops it and starts it again, with the same ports and data."""
        await self.stop()
        await self.start()

    def pause(self) -> None:
        """Lets it hang: connections stay open, and nothing is answered until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Ends a `pause`."""
        self._signal(signal.SIGCONT)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log, and of what it printed before it had one."""
        if self._folder is None:
            return ""
        texts = []
        for name in self.logs:
            with contextlib.suppress(FileNotFoundError):
                texts += (self._folder / name).read_text(errors="replace").splitlines()
        return "\n".join(texts[-lines:])

    def _spawn(self) -> None:
        command = self._command()
        self._write_config()
        with (self.folder / "console.log").open("ab") as console:
            self._process = spawn_bound(command, console, cwd=self.folder, **self._options())
        self._at_exit = weakref.finalize(self, end_bound, self._process)

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(self.ready_within_s):
                while not await self._answers():
                    if not self.running:
                        raise StreamError(
                            f"The private {self.name} ended at once:\n{self.log_tail()}"
                        )
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise StreamError(
                f"The private {self.name} was not ready within {self.ready_within_s:.0f} s; the "
                f"end of its log:\n{self.log_tail()}"
            ) from None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)


def spawn_bound(command: Sequence[str], console: Any, **options: Any) -> subprocess.Popen[bytes]:
    """Starts a program in a session of its own that never outlives this process.

    That is the kernel's own promise, kept when this process is killed too. It is bound to the
    *thread* that calls, so never call this in a worker thread; and a program that changes its user
    by itself sheds the bond. Without `setpriv`, which every Debian has, there is no bond.
    """
    setpriv = shutil.which("setpriv")
    bond = () if setpriv is None else (setpriv, "--pdeathsig", "KILL", "--")
    return subprocess.Popen(  # noqa: S603  # found by name, no shell
        [*bond, *command],
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
        start_new_session=True,
        **options,
    )


def end_bound(process: subprocess.Popen[bytes]) -> None:
    """Kills a program if it still runs, and returns when it is gone."""
    if process.poll() is None:
        process.kill()
        process.wait()


_given: set[int] = set()
"""The ports that `free_port` has given to somebody, who may not listen there yet, or not now."""


PORTS = range(12_000, 32_000)
"""Where `free_port` looks; the kernel's range of outgoing connections begins at 32768.

Programs that look at the same time, as the test suite's processes do, had best each have a part.
"""


def free_port(preferred: int | None = None) -> int:
    """A TCP port of 127.0.0.1 that nobody uses now, below the range of outgoing connections.

    It is `preferred` if nobody uses that; else one that was never given before in this process. A
    port of the outgoing range could be lost while a server restarts, to any program that connects
    somewhere, and to the very client that tries to reconnect: TCP lets a socket meet itself.
    """
    if preferred is not None and _is_free(preferred):
        _given.add(preferred)
        return preferred
    for _attempt in range(200):
        port = random.choice(PORTS)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise StreamError(
        f"No free port on 127.0.0.1 between {PORTS.start} and {PORTS.stop}: end what uses them."
    )


def claim_port(port: int) -> None:
    """StreamError if another program listens on this port: it could be taken for ours."""
    if not _is_free(port):
        raise StreamError(
            f"Another program uses port {port}, which a private server needs: end it, or start "
            "anew to get other ports."
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: what remains of closed connections is no hindrance, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def _stream_answers(host: str, port: int, namespace: str, to: str, answer: str) -> bool:
    """Opens a stream, and says whether what comes back holds `answer`."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    opening = (
        f"<?xml version='1.0'?><stream:stream xmlns='{namespace}' to='{to}' version='1.0' "
        "xmlns:stream='http://etherx.jabber.org/streams'>"
    )
    try:
        writer.write(opening.encode())
        await reader.readuntil(answer.encode())
        writer.write(b"</stream:stream>")
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False
    finally:
        writer.close()
    return True
