"""A private ejabberd on the loopback, for the tests: the same for a test as `Prosody`.

`Ejabberd` runs the machine's ejabberd with a configuration, ports and data of its own:

    async with Ejabberd("example.test") as server:
        alice = await server.add_user("alice", "her password")
        …  # clients to server.host, server.c2s_port; the component to server.component_port

How it runs. Not by `ejabberdctl`, which wants its own user, a node name, and epmd on a fixed port:
the Erlang machine is started directly, without distribution, as whoever runs the tests. It has a
session of its own and never outlives the process that started it: the kernel kills it when its
parent dies, however the parent dies; the helper programs it has then end by themselves.

How it is spoken to. It has no HTTP and no port for it, but a door: a Unix socket in its folder,
which nobody else can enter, that evaluates Erlang (`ask`). Accounts are made by it, and only by it
can they be made to last: Mnesia keeps what it is given in memory for seconds, so that a kill right
after an account, a contact or an offline message was taken loses it. `add_user` waits until the
account is on disk; for everything else a test that kills the server calls `flush` first.

How it is known to be ready. Not by its log and not by waiting: the door must be open, the client
port must answer an opened stream with its features, and the component port one with a header.

Modules and limits are those of Debian's configuration where a test could tell the difference: 100
offline messages and 10 sessions a person. There are no shapers.
"""

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xmpprelay.errors import StreamError
from xmpprelay.quickstart.prosody import free_port

POLL_S = 0.02
STOP_WITHIN_S = 10.0  # it takes 1 s

MODULES: Mapping[str, Mapping[str, Any]] = {
    "mod_blocking": {},
    "mod_caps": {},
    "mod_carboncopy": {},
    "mod_disco": {},
    "mod_last": {},
    "mod_offline": {},
    "mod_ping": {},
    "mod_privacy": {},
    "mod_pubsub": {"plugins": ["flat", "pep"]},
    "mod_roster": {"versioning": True},
    "mod_stream_mgmt": {"resend_on_timeout": "if_offline"},
    "mod_vcard": {"search": False},
    "mod_version": {},
}
MAM: Mapping[str, Mapping[str, Any]] = {"mod_mam": {"default": "always", "assume_mam_usage": True}}

# Evaluates what a visitor sends, and answers with `+` and the value, or `-` and what went wrong.
# Each message has its length before it. One visitor after the other, so that nothing is done twice
# at a time; the backlog lets many wait.
DOOR = """
spawn(fun() ->
    {ok, Door} = gen_tcp:listen(0,
        [{ifaddr, {local, "door"}}, {backlog, 1024}, binary, {packet, 4}, {active, false}]),
    Answer = fun(Text) ->
        try
            {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Text)),
            {ok, Expressions} = erl_parse:parse_exprs(Tokens),
            {value, Value, _} = erl_eval:exprs(Expressions, erl_eval:new_bindings()),
            io_lib:format("+~0tp", [Value])
        catch _:Reason -> io_lib:format("-~0tp", [Reason]) end end,
    Serve = fun Again() ->
        {ok, Visitor} = gen_tcp:accept(Door),
        case gen_tcp:recv(Visitor, 0, 5000) of
            {ok, Text} -> gen_tcp:send(Visitor, unicode:characters_to_binary(Answer(Text)));
            _ -> gone end,
        gen_tcp:close(Visitor),
        Again() end,
    Serve() end).
"""

# Rosters, offline messages, vCards and accounts are dets tables: each has a cache of its own behind
# the log, and the log is thrown away when it was copied there.
FLUSH = """
mnesia:sync_log(),
[ok = dets:sync(Table) || Table <- mnesia:system_info(local_tables),
    mnesia:table_info(Table, storage_type) =:= disc_only_copies],
ok.
"""


@dataclass(frozen=True, slots=True)
class S2s:
    """What a private server needs to talk to other servers."""

    port: int  # where it listens for them
    certificate: Path  # its key and its certificate, PEM
    authority: Path  # the certificate of the only authority that it trusts, PEM
    dns_port: int  # of the only name server that it asks, on the loopback


class Ejabberd:
    """A private ejabberd with one domain for people and one component beside it.

    `domain` is where accounts live, `component_domain` the relay's (`relay.` before the domain if
    None); `components` are more components of the same port, each with its secret. `mam` turns on
    message archives, in Mnesia. `extra_config` has further top-level options of ejabberd.yml; of an
    option that is a mapping, such as `modules`, it says only what is added or put in its place.
    With `s2s` it is federated; otherwise nothing leaves the machine, and only 127.0.0.1 is listened
    on.

    Ports, secret and data stay the same through `stop`, `kill` and `start`. As a context manager it
    starts, and at the end stops and removes its folder unless `keep` is set. StreamError when it
    cannot be had.
    """

    host = "127.0.0.1"
    ready_within_s = 30.0  # it takes 1.5 s; a machine busy with tests needs several

    def __init__(
        self,
        domain: str = "example.test",
        *,
        component_domain: str | None = None,
        components: Mapping[str, str] | None = None,
        mam: bool = False,
        extra_config: Mapping[str, Any] | None = None,
        s2s: S2s | None = None,
    ) -> None:
        self.domain = domain
        self.component_domain = component_domain or f"relay.{domain}"
        self.component_secret = secrets.token_hex(16)
        self.c2s_port = free_port()
        self.component_port = free_port()
        self.keep = False
        self._components = {self.component_domain: self.component_secret, **(components or {})}
        self._modules = {**MODULES, **MAM} if mam else MODULES
        self._extra_config = extra_config or {}
        self._s2s = s2s
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._at_exit: weakref.finalize[..., Any] | None = None

    @property
    def folder(self) -> Path:
        """The folder with configuration, data and log, made when it is first asked for."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="xmpprelay-ejabberd-"))
        return self._folder

    @property
    def running(self) -> bool:
        """Whether the process is there; a paused one is."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the Erlang machine; StreamError if it does not run."""
        if self._process is None or not self.running:
            raise StreamError("The private ejabberd does not run: start it first.")
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
            for listener in self._listeners():
                claim_port(listener["port"])
            self._spawn()
            await self._until_ready()
        except BaseException:
            await self.kill()
            self._tidy()
            raise

    async def stop(self) -> None:
        """Ends it as a system would: a polite signal, and after 10 s the other one."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a paused one could not obey
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, STOP_WITHIN_S)
        await self.kill()

    async def kill(self) -> None:
        """Ends it as a crash would (SIGKILL), and returns when it is gone. What it was given in the
        last seconds may be lost (see `flush`).
        """
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

    async def add_user(self, name: str, password: str) -> str:
        """Makes an account that outlives a kill, or gives an existing one this password. Returns
        its bare JID.

        StreamError if it does not run, or with ejabberd's own words if it refuses the name.
        """
        who = f"{_erlang(name)}, {_erlang(self.domain)}, {_erlang(password)}"
        answer = await self.ask(
            f"Made = case ejabberd_auth:try_register({who}) of"
            f" {{error, exists}} -> ejabberd_auth:set_password({who}); Other -> Other end,"
            " ok = mnesia:sync_log(), ok = dets:sync(passwd), Made."
        )
        if answer != "ok":
            raise StreamError(
                f"ejabberd made no account {name}@{self.domain}; it says: {answer.strip()}"
            )
        return f"{name}@{self.domain}"

    async def flush(self) -> None:
        """Puts all that it has been given on disk; a kill after that does not lose it."""
        await self.ask(FLUSH)

    async def ask(self, expressions: str) -> str:
        """Evaluates Erlang inside it, such as `mnesia:table_info(offline_msg, size).`, and gives
        the value as Erlang writes it.

        StreamError if it does not run, is paused, or fails at it.
        """
        text = expressions.encode()
        try:
            async with asyncio.timeout(30):
                reader, writer = await asyncio.open_unix_connection(self.folder / "door")
                try:
                    writer.write(len(text).to_bytes(4, "big") + text)
                    size = int.from_bytes(await reader.readexactly(4), "big")
                    answer = (await reader.readexactly(size)).decode()
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise StreamError(
                "The private ejabberd does not answer at its door: start it, or resume it."
            ) from error
        if not answer.startswith("+"):
            raise StreamError(f"ejabberd could not evaluate {expressions!r}: {answer[1:]}")
        return answer[1:]

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log, and of what else it printed."""
        if self._folder is None:
            return ""
        # On its standard output is the log too, and what comes of it before it has a log.
        with contextlib.suppress(FileNotFoundError):
            printed = (self._folder / "console.log").read_text(errors="replace")
            return "\n".join(printed.splitlines()[-lines:])
        return ""

    def _spawn(self) -> None:
        libraries = _libraries()
        self._write_config()
        (self.folder / "door").unlink(missing_ok=True)  # of one that was killed
        # The folder is the working directory, so that no path needs quoting for Erlang.
        command = ["erl", "-noinput", "-mnesia", "dir", '"data"', "-s", "ejabberd", "-eval", DOOR]
        environment = {
            # Nothing else: ERL_FLAGS and the like of whoever runs the tests are for his own VMs.
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ERL_LIBS": libraries,
            "ERL_INETRC": str(self.folder / "inetrc"),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
        }
        with (self.folder / "console.log").open("ab") as console:
            self._process = spawn_bound(command, console, cwd=self.folder, env=environment)
        self._at_exit = weakref.finalize(self, end_bound, self._process)

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(self.ready_within_s):
                while not await self._answers():
                    if not self.running:
                        raise StreamError(f"The private ejabberd ended at once:\n{self.log_tail()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise StreamError(
                f"The private ejabberd was not ready within {self.ready_within_s:.0f} s; the end of"
                f" its log:\n{self.log_tail()}"
            ) from None

    async def _answers(self) -> bool:
        """Whether the door and both ports do what a ready server's do."""
        if not (self.folder / "door").exists():
            return False
        clients = "jabber:client", "</stream:features>", self.domain, self.c2s_port
        component = "jabber:component:accept", " id=", self.component_domain, self.component_port
        for namespace, answer, to, port in (clients, component):
            if not await stream_answers(self.host, port, namespace, to, answer):
                return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def _write_config(self) -> None:
        """Writes what it reads at its start: its configuration, and how it resolves names."""
        config = self._config()
        for key, value in self._extra_config.items():
            of_mapping = isinstance(value, Mapping) and isinstance(config.get(key), Mapping)
            config[key] = {**config[key], **value} if of_mapping else value
        # JSON is YAML, and its quoting needs no thought.
        (self.folder / "ejabberd.yml").write_text(json.dumps(config, indent=1))
        # Neither the machine's name servers nor the helper program that asks them.
        names = ["{lookup, [file, dns]}.", "clear_ns.", '{resolv_conf, ""}.', '{hosts_file, ""}.']
        if self._s2s is not None:
            names.append(f"{{nameserver, {{127,0,0,1}}, {self._s2s.dns_port}}}.")
        (self.folder / "inetrc").write_text("\n".join(names) + "\n")

    def _config(self) -> dict[str, Any]:
        config = {
            "hosts": [self.domain],
            "loglevel": "info",
            "listen": self._listeners(),
            "modules": self._modules,
            # As Debian has it; left out, there is no limit.
            "shaper_rules": {"max_user_sessions": 10, "max_user_offline_messages": 100},
        }
        if self._s2s is None:
            return config | {"s2s_access": "none"}
        return config | {
            # Without dialback a certificate is the only way in, and TLS the only way out.
            "s2s_use_starttls": "required",
            "certfiles": [str(self._s2s.certificate)],
            "ca_file": str(self._s2s.authority),
            # After a failure it refuses a domain for a random time up to this; 5 minutes otherwise.
            "s2s_max_retry_delay": 1,
        }

    def _listeners(self) -> Sequence[Mapping[str, Any]]:
        # The backlog is 5 otherwise: a crowd that logs in at once would be held up for seconds.
        loopback = {"ip": self.host, "backlog": 1024}
        services = {domain: {"password": secret} for domain, secret in self._components.items()}
        clients = {"port": self.c2s_port, "module": "ejabberd_c2s", **loopback}
        components = {"port": self.component_port, "module": "ejabberd_service", **loopback}
        if self._s2s is None:
            return (clients, {"hosts": services, **components})
        servers = {"port": self._s2s.port, "module": "ejabberd_s2s_in", **loopback}
        return (clients, {"hosts": services, **components}, servers)

    def _tidy(self) -> None:
        if self._folder is not None and not self.keep:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def claim_port(port: int) -> None:
    """StreamError if another program listens on this port: it could be taken for ours."""
    with socket.socket() as probe:
        # As servers do: what remains of closed connections is no hindrance, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise StreamError(
                f"Another program uses port {port}, which a private server needs: end it, or start "
                "anew to get other ports."
            ) from None


def spawn_bound(command: Sequence[str], console: Any, **options: Any) -> subprocess.Popen[bytes]:
    """Starts a program in a session of its own that never outlives this process.

    That is the kernel's own promise, kept when this process is killed too. It is bound to the
    *thread* that calls, so never call this in a worker thread; and a program that changes its user
    sheds the bond. StreamError if there is no such program.
    """
    try:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            **options,
        )
    except FileNotFoundError:
        raise StreamError(
            "There is no setpriv on this machine; type: sudo apt-get install util-linux"
        ) from None


def end_bound(process: subprocess.Popen[bytes]) -> None:
    """Kills a program if it still runs, and returns when it is gone."""
    if process.poll() is None:
        process.kill()
        process.wait()


async def stream_answers(host: str, port: int, namespace: str, to: str, answer: str) -> bool:
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


def _libraries() -> str:
    """Where ejabberd's Erlang code lies, as its package says."""
    script = shutil.which("ejabberdctl", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if script is not None and shutil.which("erl") is not None:
        said = re.search(r"^ERL_LIBS='([^']+)'$", Path(script).read_text(), re.MULTILINE)
        return said[1] if said else ""  # "": with the rest of Erlang, where it looks anyway
    raise StreamError(
        "There is no ejabberd on this machine; type: "
        "sudo apt-get install --no-install-recommends ejabberd"
    )


def _erlang(text: str) -> str:
    """A string as an Erlang binary, whatever characters it has."""
    return f"<<{','.join(map(str, text.encode()))}>>"
