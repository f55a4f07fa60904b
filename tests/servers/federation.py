"""Private servers that are federated with each other, for tests of what crosses domains.

    async with Federation(Prosody, Ejabberd) as both:
        alice = await new_account(both.first, "alice")  # alice-1@example.test
        bob = await new_account(both.second, "bob")  # bob-2@elsewhere.test
        …  # and everybody reaches the component of each: relay.example.test

What servers on the Internet do is done here too: a server asks a name server for the SRV record of
the domain, connects, starts TLS, and believes a certificate that an authority it trusts has issued
for that domain. There is no dialback, so nothing else is believed. The name server (dnsmasq) and
the authority (trustme) are the federation's own; they know these domains and no other, so nothing
leaves the machine. No privileges are needed.

Servers connect when the first stanza is to cross, and keep it meanwhile. Each pair of domains and
each direction has a stream of its own: the first stanza of a component waits for another one.

`second.kill()`, `second.pause()` and the like make the trouble that other servers make. With
`gated` there is a gate before each server besides, which makes the trouble of the way to it:

    await both.gates[1].shuts()  # nobody reaches the second server; itself it reaches the others
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme

from tests.servers.ejabberd import Ejabberd, S2s
from xmpprelay.errors import StreamError
from xmpprelay.quickstart.private_server import (
    POLL_S,
    claim_port,
    end_bound,
    free_port,
    spawn_bound,
)
from xmpprelay.quickstart.prosody import MODULES, Prosody

DOMAINS = ("example.test", "elsewhere.test", "faraway.test")


class Federation:
    """Two or three private servers that are federated with each other.

    What each is to be is told by its class. Their domains are `domains`, in order, and each has a
    component domain, `relay.` before it. With `strangers` each has its certificate from an
    authority of its own, which the others do not trust: then nothing crosses. With `gated` what the
    others send to a server comes through its gate, in `gates`.

    As a context manager it starts all, and at the end stops all and removes what they have written,
    but for a server with `keep`. StreamError if one cannot be had; nothing is then left running.
    """

    def __init__(
        self,
        first: type[Prosody | Ejabberd] = Prosody,
        second: type[Prosody | Ejabberd] = Prosody,
        *more: type[Prosody | Ejabberd],
        domains: Sequence[str] = DOMAINS,
        strangers: bool = False,
        gated: bool = False,
    ) -> None:
        self.gates: Sequence[Gate] = ()  # of the servers, in order
        self._gated = gated
        self.servers: Sequence[Prosody | Ejabberd] = ()  # in order, once it is entered
        self._kinds = (first, second, *more)
        self._domains = domains[: len(self._kinds)]
        self._strangers = strangers
        self._ending = AsyncExitStack()

    @property
    def first(self) -> Prosody | Ejabberd:
        """The server whose component the relay under test is."""
        return self.servers[0]

    @property
    def second(self) -> Prosody | Ejabberd:
        """The other server."""
        return self.servers[1]

    async def __aenter__(self) -> Self:
        """Starts everything."""
        async with AsyncExitStack() as starting:
            folder = Path(starting.enter_context(_folder_for_all()))
            ports = {domain: free_port() for domain in self._domains}
            told = ports
            if self._gated:
                gates = [Gate(port) for port in ports.values()]
                self.gates = [await starting.enter_async_context(gate) for gate in gates]
                told = dict(zip(ports, (gate.port for gate in gates), strict=True))
            names = await starting.enter_async_context(NameServer(told, folder / "dnsmasq.log"))
            self.servers = self._servers(ports, names.port, folder)
            try:
                async with asyncio.TaskGroup() as together:
                    for server in self.servers:
                        starting.push_async_exit(server)
                        together.create_task(server.start())
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
            self._ending = starting.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends everything, and tidies up."""
        # They lose nothing that is kept, and ejabberd takes seconds to stop.
        await asyncio.gather(*(server.kill() for server in self.servers if not server.keep))
        await self._ending.aclose()

    def _servers(
        self, ports: Mapping[str, int], dns_port: int, folder: Path
    ) -> Sequence[Prosody | Ejabberd]:
        """The servers, not started yet, each with a certificate for its domains."""
        authority = trustme.CA()
        servers: list[Prosody | Ejabberd] = []
        for kind, (domain, port) in zip(self._kinds, ports.items(), strict=True):
            if self._strangers:
                authority = trustme.CA()
            s2s = S2s(port, folder / f"{domain}.pem", folder / f"{domain}-trusts.pem", dns_port)
            # trustme's certificates last a thousand years, which kills ejabberd: it sets a timer.
            until = datetime.now(UTC) + timedelta(days=30)
            issued = authority.issue_cert(domain, f"relay.{domain}", not_after=until)
            issued.private_key_and_cert_chain_pem.write_to_path(s2s.certificate)
            authority.cert_pem.write_to_path(s2s.authority)
            if issubclass(kind, Ejabberd):
                servers.append(kind(domain, s2s=s2s))
            else:
                servers.append(kind(domain, extra_config=_prosody_config(s2s)))
        return servers


class Gate:
    """Where other servers come in: it passes on all that they send, until a test says otherwise.

    As a context manager it listens on `port` of 127.0.0.1, and leads to another port there. What
    comes back on the same connections is never held.
    """

    def __init__(self, to_port: int) -> None:
        self.port = free_port()
        self._to_port = to_port
        self._listener: asyncio.Server | None = None
        self._passes = asyncio.Event()
        self._passing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Opens it."""
        await self.opens()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Shuts it for good."""
        await self.shuts()

    async def opens(self) -> None:
        """Let pass whatever comes, and first what was held."""
        self._passes.set()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._enters, "127.0.0.1", self.port)

    def holds(self) -> None:
        """Let nothing pass until `opens`: connections are there and stay, as on a dead line."""
        self._passes.clear()

    async def shuts(self) -> None:
        """Cut all connections, with what is held on them, and refuse new ones until `opens`."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for task in self._passing:
            task.cancel()
        if self._passing:
            await asyncio.wait(self._passing)

    def _enters(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._leads(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        task.add_done_callback(lambda _: writer.close())  # it may end before it has begun

    async def _leads(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, both ways, until one side ends it."""
        try:
            inside, to_inside = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.transport.abort()
            return
        except asyncio.CancelledError:  # shut before it was through
            writer.transport.abort()
            raise
        ways = {
            asyncio.ensure_future(_pass_on(reader, to_inside, self._passes)),
            asyncio.ensure_future(_pass_on(inside, writer)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            for end in (writer, to_inside):
                end.close()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, when: asyncio.Event | None = None
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            if when is not None:
                await when.wait()
            writer.write(data)
            await writer.drain()


class NameServer:
    """A private dnsmasq that knows where some XMPP domains listen for other servers.

    `ports` has the port of each domain; `relay.` before the domain is at the same place. It is
    asked on 127.0.0.1, at `port`, while this context manager is open.
    """

    ready_within_s = 10.0  # it takes 0.02 s

    def __init__(self, ports: Mapping[str, int], log: Path) -> None:
        self.port = free_port()
        self._ports = ports
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._at_exit: weakref.finalize[..., Any] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running dnsmasq."""
        if self._process is None:
            raise StreamError("The private name server does not run: enter it first.")
        return self._process.pid

    async def __aenter__(self) -> Self:
        """Starts it; returns when it can be asked."""
        claim_port(self.port)
        with self._log.open("wb") as log:
            self._process = spawn_bound(self._command(), log)
        self._at_exit = weakref.finalize(self, end_bound, self._process)
        try:
            async with asyncio.timeout(self.ready_within_s):
                while not await self._listens():
                    if self._process.poll() is not None:
                        raise StreamError(f"The private name server ended: {self._said()}")
                    await asyncio.sleep(POLL_S)
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends it."""
        self._end()

    def _command(self) -> Sequence[str]:
        program = shutil.which("dnsmasq", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise StreamError(
                "There is no dnsmasq on this machine; type: "
                "sudo apt-get install --no-install-recommends dnsmasq-base"
            )
        # Where the host of a SRV record is, ejabberd asks the system, whatever name server it has:
        # so it is a host that every system knows.
        records = [
            f"--srv-host=_xmpp-server._tcp.{name},localhost,{port}"
            for domain, port in self._ports.items()
            for name in (domain, f"relay.{domain}")
        ]
        return [
            program,
            # In the foreground, and as who starts it: to change the user sheds the bond to us.
            "--no-daemon",
            "--conf-file=/dev/null",
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            f"--port={self.port}",
            # Nobody else is asked, and what is not known here does not exist.
            "--no-resolv",
            "--no-hosts",
            "--local=/test/",
            *records,
        ]

    async def _listens(self) -> bool:
        """Whether it can be asked: it listens on TCP a little later than on UDP."""
        try:
            _reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def _said(self) -> str:
        return self._log.read_text(errors="replace").strip()

    def _end(self) -> None:
        if self._at_exit is not None:
            self._at_exit()


def _folder_for_all() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder that every server can read: Prosody of root runs as somebody else. The
    keys in it are of no use to anybody.
    """
    folder = tempfile.TemporaryDirectory(prefix="xmpprelay-federation-")
    Path(folder.name).chmod(0o755)
    return folder


def _prosody_config(s2s: S2s) -> str:
    """What goes into the global part of Prosody's configuration; it replaces what stands before."""
    modules = ", ".join(f'"{name}"' for name in (*MODULES, "tls"))
    return f"""
modules_disabled = {{}}
modules_enabled = {{ {modules} }}
s2s_ports = {{ {s2s.port} }}
s2s_require_encryption = true
s2s_secure_auth = true
ssl = {{
    certificate = "{s2s.certificate}", key = "{s2s.certificate}", cafile = "{s2s.authority}",
}}
unbound = {{
    resolvconf = false, hoststxt = false, forward = "127.0.0.1@{s2s.dns_port}",
    options = {{
        ["local-zone:"] = "test. transparent", -- else it knows that there is no such domain
        ["do-not-query-localhost:"] = "no",
    }},
}}
"""
